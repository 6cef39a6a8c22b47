"""A small table whose archive agrees with it, and a stack that verifies it with many workers, all
in this process (distributed_world.py)."""

import json
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.table import require
from stream_backup.capture.state import state_of
from stream_backup.core.slice import cut_scan
from stream_backup.distributed.open_rows import read_open
from stream_backup.distributed.records import JobEnd
from stream_backup.distributed.run import DistributedRun
from stream_backup.distributed.verify import REQUESTS, STAGES, settings_of
from stream_backup.progress import Silent
from stream_backup.verify.run import Verification, Verified, order_of
from tests import states
from tests.distributed_world import RENDERED, DistributedWorld
from tests.drill_world import key
from tests.model import NAME, SCHEMA
from tests.restore_world import Machine

DEFINITION = RENDERED.resolve(RENDERED.resources["VerifyMachine"]["Properties"]["Definition"])
WORKER = DEFINITION["States"]["Collect"]["Parameters"]["FunctionName"]


class VerifyWorld(DistributedWorld):
    """`rows` rows, each of which the archive has as it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int = 40) -> None:
        super().__init__(monkeypatch, rows)
        self.locally()
        self.model.tick(3600)
        self.reach()
        machine: Any = Machine(self.execute)
        self.runs = DistributedRun(machine, self.bucket, "verify", NAME, 4)
        self.on_sleep: Callable[[], None] = lambda: None
        self._patch = monkeypatch
        self._use_clock()

    def _use_clock(self) -> None:
        """Verifications see the clock of this world's model."""
        clock = SimpleNamespace(monotonic=lambda: self.model.now, sleep=self._sleep)
        for module in ("verify.rounds", "verify.looks", "distributed.open_rows"):
            self._patch.setattr(f"stream_backup.{module}.time", clock)

    def _sleep(self, seconds: float) -> None:
        self.model.tick(seconds)
        self.on_sleep()

    def damage(self) -> None:
        """Makes rows that differ, are missing and are extra, and one that changes each time before
        it is compared again."""
        for number, value in ((1, "changed"), (100, "made"), (101, "made"), (2, None), (3, "0")):
            self.model.tick(10)
            self.model.write(key(number), value if value is None else {"v": {"S": value}})
        self.on_sleep = lambda: self.model.write(key(3), {"v": {"S": str(self.model.now)}})
        self.model.tick(3600)
        self.reach()

    def verification(self) -> Verification:
        """A verification on this machine."""
        self._use_clock()
        live, _ = require(self.dynamodb, NAME)
        budget, events = ReadBudget(None), Event()
        return Verification(self.connection, self.archive, live, 4, budget, events, Silent())

    def here(self) -> Verified:
        return self.verification().run(lambda _: None)

    def start(self, segments: int = 4, **more: Any) -> str:
        """Starts a distributed verification and returns the name of its job."""
        status = state_of(self.connection, NAME).status
        settings = settings_of(order_of(status), SCHEMA, status.now)
        slices = cut_scan(segments)
        return self.runs.start("run", slices, settings, stages=STAGES, **more).job

    def distribute(self, segments: int = 4, **more: Any) -> tuple[str, JobEnd | None]:
        """Starts a distributed verification and executes it."""
        job = self.start(segments, **more)
        return self.execute(job), self.bucket.end(job)

    def execute(self, job: str) -> str:
        """Executes a job that was started, and returns the status of the execution."""
        machine: Any = self.runs.machine
        self.run = states.Run(DEFINITION, {WORKER: self.call}, self._read)
        try:
            return self.run.execute(json.loads(machine.started[job]))
        except states.AbortedError:
            return "ABORTED"

    def ended(self, end: JobEnd) -> Verified:
        """Compares again what the workers have left open, as the command does."""
        work = self.verification()
        findings, left = read_open(self.bucket, end)
        requests = {kind: end.counts.get(kind, 0) for kind in REQUESTS}
        state = state_of(self.connection, NAME)
        return work.end(findings, left, end.counts["rows"], state, requests)

    def verify(self, segments: int = 4) -> Verified:
        """A distributed verification to its end."""
        status, end = self.distribute(segments)
        assert status == "SUCCEEDED"
        assert end
        return self.ended(end)

    def on_slice(self, act: Callable[[dict[str, Any]], None]) -> None:
        """Calls `act` with the event of each slice before it is worked on."""
        self.on_call = lambda event: act(event) if event["step"] == "slice" else None
