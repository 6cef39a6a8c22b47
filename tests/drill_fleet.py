"""The table of drill_world.py and a stack that drills it with many workers, all in this process
(distributed_world.py)."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup.core.drill import DrillRecord
from stream_backup.distributed.drill_start import settled, start_drill
from stream_backup.distributed.machine import ABORTED, RUNNING, Execution
from stream_backup.distributed.run import DistributedRun
from stream_backup.drill.run import DrillRequest
from tests import states
from tests.distributed_world import RENDERED, DistributedWorld
from tests.drill_world import CALLER, Notes
from tests.model import NAME

DEFINITION = RENDERED.resolve(RENDERED.resources["DrillMachine"]["Properties"]["Definition"])
WORKER = DEFINITION["States"]["Collect"]["Parameters"]["FunctionName"]

RESTORE, SCAN, COMPARE, REWIND, SCAN_AGAIN, COMPARE_AGAIN = STAGES = (
    *("restore", "scan", "compare", "rewind", "scan again", "compare again"),
)


class Nth:
    """Does something the time of this number that it is called, from whatever thread."""

    def __init__(self, number: int, what: Callable[[], None]) -> None:
        self.number, self.what = number, what
        self._numbers = count(1)

    def __call__(self) -> None:
        if next(self._numbers) == self.number:
            self.what()


class Machine:
    """A state machine that executes a job when it is first looked at."""

    def __init__(self, world: "DrillFleet") -> None:
        self.world = world
        self.given: dict[str, str] = {}
        self.ended: dict[str, str] = {}

    def start(self, job: str, given: str) -> Execution:
        self.given[job] = given
        return Execution(job, job, RUNNING)

    def executions(self, start: str, status: str | None = None) -> Iterator[Execution]:
        for job in reversed(self.given):
            found = Execution(job, job, self.ended.get(job, RUNNING))
            if job.startswith(start) and status in (None, found.status):
                yield found

    def describe(self, execution: Execution) -> Execution:
        job = execution.job
        if job not in self.ended:
            self.ended[job] = self.world.execute(self.given[job])
        return execution._replace(status=self.ended[job])

    def progress(self, _: Execution) -> None:
        return None

    def stop(self, execution: Execution) -> None:
        self.ended[execution.job] = ABORTED


class DrillFleet(DistributedWorld):
    """A table of `items` rows with a history of hours, on two workers. Every write that does not
    go to a scratch table is an error of the fake."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, items: int = 12) -> None:
        super().__init__(monkeypatch, items=items)
        # Few and large pieces: each costs this process some milliseconds.
        monkeypatch.setattr("stream_backup.distributed.parts.FIRST_PARTS", 2)
        sts = SimpleNamespace(get_caller_identity=lambda: {"Arn": CALLER})
        client = lambda name, **_: sts if name == "sts" else self.shelf  # noqa: E731
        self.connection.__dict__["session"] = SimpleNamespace(client=client)
        machine: Any = Machine(self)
        self.machine = machine
        self.runs = DistributedRun(machine, self.bucket, "drill", NAME, 2)
        self.notes = Notes()

    def start(self, **more: Any) -> Execution:
        """Starts a drill. It is executed when it is first looked at."""
        workers = more.pop("workers", None)
        request = DrillRequest(**{"table": NAME, "seed": 5, **more})
        return start_drill(self.connection, self.runs, request, workers, self.notes)

    def distribute(self, **more: Any) -> Any:
        """Starts a drill, executes it, and returns the status of the execution and the record."""
        execution = self.machine.describe(self.start(**more))
        return execution.status, self.settle(execution)

    def settle(self, execution: Execution) -> DrillRecord:
        """Returns the record of a drill that was executed, as the command does."""
        return settled(self.connection, self.runs, execution)

    def execute(self, given: str) -> str:
        self.run = states.Run(DEFINITION, {WORKER: self.call}, self._read)
        try:
            return self.run.execute(json.loads(given))
        except states.AbortedError:
            return ABORTED

    def stage_of(self, event: dict[str, Any]) -> str:
        """The name of the stage that a call of the function belongs to."""
        number = event["round"]
        stage = self.bucket.standing(event["job"], number - 1).stage if number else 0
        return STAGES[stage]
