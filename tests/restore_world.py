"""A small table whose archive is complete, and a stack that restores it with many workers, all in
this process (distributed_world.py)."""

import json
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from restore.destination import Work
from restore.new_table import NewTable
from restore.order import RestoreOrder
from restore.plan import Rebuild, Tally
from restore.target import Target, prepare
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.aws.table import RESTORED, RESTORING, require
from stream_backup.core.key import key_hash
from stream_backup.core.time_rule import Lateness
from stream_backup.distributed.machine import Execution
from stream_backup.distributed.records import JobEnd
from stream_backup.distributed.restore import run_of, settings_of, slices_of
from stream_backup.distributed.run import DistributedRun
from stream_backup.progress import Silent
from tests import states
from tests.distributed_world import RENDERED, DistributedWorld, Executions
from tests.drill_world import key
from tests.model import ARN, NAME, SCHEMA

INTO = f"{NAME}-restored-1"
IDENTITY = f"0123 {NAME}"
DEFINITION = RENDERED.resolve(RENDERED.resources["RestoreMachine"]["Properties"]["Definition"])
WORKER = DEFINITION["States"]["Collect"]["Parameters"]["FunctionName"]


class Machine(Executions):
    """A machine that executes a job when it is first looked at."""

    def __init__(self, execute: Callable[[str], str]) -> None:
        super().__init__()
        self.execute, self.ended = execute, dict[str, str]()

    def describe(self, execution: Execution) -> Execution:
        if execution.job not in self.ended:
            self.ended[execution.job] = self.execute(execution.job)
        return execution._replace(status=self.ended[execution.job])


class RestoreWorld(DistributedWorld):
    """`rows` rows in the archive, every fourth of which was deleted since, as is known there. No
    table is restored yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int = 40) -> None:
        super().__init__(monkeypatch, rows)
        self.locally()
        self.model.tick(600)
        for number in range(0, rows, 4):
            self.model.tick(10)
            self.write(number, None)
        self.model.tick(600)
        self.moment = int(self.model.now)
        self.model.tick(600)
        for number in range(0, rows, 3):
            self.model.tick(10)
            self.write(number, "later")
        self.model.tick(600)
        self.reach()
        self.rows = rows
        machine: Any = Machine(self.execute)
        self.runs = DistributedRun(machine, self.bucket, "restore", NAME, 4)
        (stream,) = self.catalog.streams()
        self.floor = stream.floor
        description = self.catalog.description()
        assert description
        self.description = description

    def expected(self) -> dict[str, Any]:
        """The rows at the moment."""
        found = self.model.at(self.moment)
        assert found
        return {name: json.loads(body) for name, body in found.items()}

    def delete_table(self) -> None:
        """Deletes the restored table."""
        self.dynamodb.call("delete_table", {"TableName": INTO})

    def on_batch(self, look: Callable[[list[Any]], None]) -> None:
        """Shows `look` the items of every batch before it is written."""
        plain = self.dynamodb.call

        def call(operation: str, request: Any) -> Any:
            if operation == "batch_write_item":
                ((_, requests),) = json.loads(request)["RequestItems"].items()
                look([each["PutRequest"]["Item"] for each in requests])
            return plain(operation, request)

        self.dynamodb.call = call  # type: ignore[method-assign]

    def restored(self) -> dict[str, Any]:
        return self.dynamodb.others[INTO]

    def tags(self) -> dict[str, str]:
        return self.dynamodb.tags[ARN.replace(NAME, INTO)]

    @property
    def finished(self) -> bool:
        """Whether the table is marked as restored, and no longer as being filled."""
        return RESTORED in self.tags() and RESTORING not in self.tags()

    def restore_here(self) -> tuple[Any, Tally]:
        """Restores on this machine."""
        destination = NewTable(
            INTO, self.description, IDENTITY, None, overwrite=False, stream=False
        )
        with RequestPool() as pool:
            chosen = Selection(self.archive, ())

            work = Work(self.dynamodb, chosen, pool, Tally(), Event(), Silent())
            outcome = destination.execute(work, Rebuild(self.archive, self.moment, self.floor))
        return outcome, work.tally

    def prepare(self) -> Target:
        return prepare(
            self.dynamodb, INTO, self.description, IDENTITY, overwrite=False, stream=False
        )

    def distribute(self, *, incomplete_ok: bool = False, **more: Any) -> tuple[str, JobEnd | None]:
        """Starts a distributed restore, or resumes one, and executes it."""
        target = self.prepare()
        live, _ = require(self.dynamodb, INTO)
        run = run_of(target, live)
        slices = slices_of(self.runs, run, target, self.rows)
        order = RestoreOrder(INTO, self.moment, self.floor, Lateness(), patience=0)
        settings = settings_of(order, SCHEMA, target, {}, incomplete_ok=incomplete_ok)
        execution = self.runs.start(run, slices, settings, **more)
        return self.execute(execution.job), self.bucket.end(execution.job)

    def execute(self, job: str) -> str:
        """Executes a job that was started, and returns the status of the execution."""
        machine: Any = self.runs.machine
        self.run = states.Run(DEFINITION, {WORKER: self.call}, self._read)
        try:
            return self.run.execute(json.loads(machine.started[job]))
        except states.AbortedError:
            return "ABORTED"


def name_of(number: int) -> str:
    """The name of a row in the archive."""
    return key_hash(key(number))
