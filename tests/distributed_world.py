"""A small table, its archive, a work bucket, and a stack with workers, all in this process. The
worker is the function's own handler, and the state machine is the template's (states.py)."""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backfill.run import Backfill
from backfill.segment import Counts
from stream_backup import worker
from stream_backup.aws.patience import PatientAttempts
from stream_backup.core.records import Run
from stream_backup.distributed.backfill import settings_of, slices_of
from stream_backup.distributed.limits import WorkTime
from stream_backup.distributed.machine import RUNNING, Execution
from stream_backup.distributed.records import JobEnd
from stream_backup.distributed.run import DistributedRun
from stream_backup.distributed.work_bucket import WorkBucket
from tests import states
from tests.drill_world import DrillWorld, key
from tests.model import NAME
from tests.policies import Rendered

WORK = "work"
RENDERED = Rendered(DistributedWorkers="4", ExistingBucket="backups", TablePattern=NAME)
RENDERED.values["WorkBucket"] = WORK
DEFINITION = RENDERED.resolve(RENDERED.resources["BackfillMachine"]["Properties"]["Definition"])
SLICE = DEFINITION["States"]["Round"]["ItemProcessor"]["States"]["Slice"]
ARN = SLICE["Parameters"]["FunctionName"]


class Killed(BaseException):
    """The process of a worker was killed."""


class ExitError(Exception):
    """What Lambda reports of a function that was killed."""


class Shelf:
    """The objects of the work bucket, behind the methods of boto3 that are used."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.ask: Callable[[str, str], None] = lambda *_: None

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> None:  # noqa: N803
        assert Bucket == WORK
        self.ask("s3:PutObject", f"arn:aws:s3:::{Bucket}/{Key}")
        assert IfNoneMatch in ("", "*")
        if IfNoneMatch and Key in self.objects:
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": Key}}, "Put")
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str, Range: str = "bytes=0-") -> Any:  # noqa: N803
        assert Bucket == WORK
        self.ask("s3:GetObject", f"arn:aws:s3:::{Bucket}/{Key}")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", Range)
        assert found, Range
        first, last = int(found[1]), int(found[2] or len(self.objects[Key]))
        assert first <= last, "S3 answers with the whole object"
        return {"Body": io.BytesIO(self.objects[Key][first : last + 1])}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_objects_v2"
        return SimpleNamespace(paginate=self._pages)

    def _pages(self, *, Bucket: str, Prefix: str) -> Iterator[Any]:  # noqa: N803
        self.ask("s3:ListBucket", f"arn:aws:s3:::{Bucket}")
        yield {
            "Contents": [{"Key": each} for each in sorted(self.objects) if each.startswith(Prefix)]
        }


class Executions:
    """A machine whose executions only remember their input."""

    def __init__(self) -> None:
        self.started: dict[str, str] = {}

    def executions(self, start: str, status: str | None = None) -> Iterator[Execution]:
        if status is None:
            yield from (
                Execution(name, name, "ABORTED")
                for name in reversed(self.started)
                if name.startswith(start)
            )

    def start(self, job: str, given: str) -> Execution:
        self.started[job] = given
        return Execution(job, job, RUNNING)


class DistributedWorld(DrillWorld):
    """`rows` rows in the table, none of them in the archive. `on_request` is called around every
    request of a worker to DynamoDB and to the archive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int = 24, items: int = 0) -> None:
        super().__init__(items=items)
        if not items:
            self._make(rows)
        self.shelf = Shelf()
        self.connection.__dict__["session"] = SimpleNamespace(client=lambda *_, **__: self.shelf)
        self.bucket = WorkBucket(self.shelf, WORK)
        machine: Any = Executions()
        self.runs = DistributedRun(machine, self.bucket, "backfill", NAME, 4)
        self.on_call: Callable[[dict[str, Any]], None] = lambda _: None
        self.after_call: Callable[[], None] = lambda: None
        self.time = WorkTime()
        self.calls: list[dict[str, Any]] = []
        self.raised: list[Exception] = []
        self.run: states.Run
        monkeypatch.setattr(worker, "Connection", lambda *_, **__: self.connection)
        monkeypatch.setattr(worker, "working_time", self._time)
        monkeypatch.setattr("backfill.run.time", SimpleNamespace(sleep=self.model.tick))
        monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups")
        monkeypatch.setenv("STREAM_BACKUP_WORK_BUCKET", WORK)

    def _make(self, rows: int) -> None:
        """Makes rows that are not in the archive, as after the stream was switched on."""
        for number in range(rows):
            self.model.write(key(number), {"v": {"S": str(number)}})
        self.model.tick(60)
        self.reach()
        for path in [path for path in self.store.objects if "/meta/runs/" in path]:
            del self.store.objects[path]

    @contextmanager
    def _time(self, _: float) -> Iterator[tuple[PatientAttempts, WorkTime]]:
        self.time = WorkTime()
        yield PatientAttempts(print), self.time

    def call(self, event: dict[str, Any]) -> Any:
        """Calls the function, as Lambda does."""
        self.calls.append(event)
        try:
            self.on_call(event)
            context = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)
            return worker.handler(event, context)
        except Killed:
            raise ExitError("Runtime exited") from None
        except Exception as error:
            self.raised.append(error)
            raise
        finally:
            self.after_call()

    def backfill(self) -> Backfill:
        """A backfill on this machine."""
        return Backfill(self.dynamodb, self.archive, 4, None, lambda _: None, Event())

    def locally(self) -> tuple[Run, Counts]:
        run, _ = self.backfill().begin(without_stream=False)
        return self.backfill().execute(run)

    def distribute(self, **more: Any) -> tuple[str, JobEnd | None]:
        """Starts a distributed backfill, or resumes one, and executes it. Returns the status of the
        execution, and how the job ended."""
        work = self.backfill()
        run, resumed = work.begin(without_stream=False)
        share = work.share(run)
        assert self.archive.schema
        settings = settings_of(share, self.archive.schema, resumed=resumed)
        execution = self.runs.start(run.name, slices_of(share), settings, **more)
        machine: Any = self.runs.machine
        self.run = states.Run(DEFINITION, {ARN: self.call}, self._read)
        try:
            status = self.run.execute(json.loads(machine.started[execution.job]))
        except states.AbortedError:
            status = "ABORTED"
        return status, self.bucket.end(execution.job)

    def _read(self, bucket: str, path: str) -> Any:
        assert bucket == WORK
        return json.loads(self.shelf.objects[path])

    def items(self) -> dict[str, list[bytes]]:
        """Returns the contents of every version of every item of the archive."""
        return {
            path: [each.payload for each in versions]
            for path, versions in self.store.objects.items()
            if "/meta/" not in path
        }

    def unfinished(self, run: Run) -> set[int]:
        """Returns the segments of a run that are not done."""
        kept = self.catalog.segment_checkpoints(run.name)
        return {
            number
            for number in range(run.counts["segments"])
            if number not in kept or kept[number].next is not None
        }
