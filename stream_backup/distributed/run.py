"""The parent of a distributed run: it starts the execution, follows it, and reads how it ended. The
run goes on without it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from stream_backup.aws.connection import Connection
from stream_backup.aws.stack import Stack
from stream_backup.core.slice import Slice
from stream_backup.distributed.machine import (
    ABORTED,
    RUNNING,
    SUCCEEDED,
    Execution,
    Machine,
    MapProgress,
    name_of,
)
from stream_backup.distributed.records import DistributedJob, JobEnd, TaskName, again, noun_of
from stream_backup.distributed.work_bucket import WorkBucket, open_work_bucket
from stream_backup.distributed.worker import start_of
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.progress import Task

POLL = 2.0
"""Seconds between two looks at an execution."""


@dataclass(frozen=True, slots=True)
class DistributedRun:
    """The distributed runs of one task and table. At most `workers` slices are worked on at once,
    as the stack allows."""

    machine: Machine
    bucket: WorkBucket
    task: TaskName
    table: str
    workers: int

    def start(
        self,
        run: str,
        slices: Sequence[Slice],
        settings: Mapping[str, Any],
        *,
        workers: int | None = None,
        read_units: float | None = None,
        write_units: float | None = None,
        stages: int = 1,
    ) -> Execution:
        """Starts the execution that does these slices of the run of this name: those of the first
        of so many stages. Raises UsageError when one of the table is under way."""
        self.require_none()
        start = name_of(self.table, run)
        name = f"{start}{sum(1 for _ in self.machine.executions(start))}"
        most = min(workers or self.workers, self.workers)
        job = DistributedJob(
            name=name,
            task=self.task,
            table=self.table,
            slices=len(slices),
            at_once=most,
            read_units=None if read_units is None else float(read_units),
            write_units=None if write_units is None else float(write_units),
            settings=settings,
            stages=stages,
        )
        self.bucket.write_job(job)
        given = start_of(self.bucket, job, 0, slices)
        started = self.machine.start(name, json.dumps(given))
        if started is None:
            raise self._under_way()
        return started

    def require_none(self) -> None:
        """Raises UsageError when an execution of the table is under way."""
        if next(self.machine.executions(name_of(self.table), RUNNING), None):
            raise self._under_way()

    def last(self) -> Execution:
        """Returns the execution of the table that is under way, or the one that was started last.
        Raises UsageError when there is none."""
        start = name_of(self.table)
        found = next(self.machine.executions(start, RUNNING), None)
        if found := found or next(self.machine.executions(start), None):
            self._require_kept(found)
            return found
        raise UsageError(
            f"No distributed {self.what} was started with this stack in the last 90 days.",
            f"To start one, run: stream-backup {self.task} {self.table} --distributed",
        )

    def _require_kept(self, execution: Execution) -> None:
        if not self.bucket.has_list(execution.job, 0):
            raise UsageError(
                f"The results of the last distributed {self.what} were removed from the work bucket"
                f" {self.bucket.bucket}, which keeps them for some days (WorkDays).",
                f"To start another one, run: stream-backup {self.task} {self.table} --distributed",
            )

    def newest(self, run: str) -> str | None:
        """Returns the job that was started last for the run of this name, unless it has done all of
        it or was removed from the work bucket."""
        for each in self.machine.executions(name_of(self.table, run)):
            end = self.bucket.end(each.job)
            done = end is not None and end.failure is None
            return each.job if not done and self.bucket.has_list(each.job, 0) else None
        return None

    def follow(self, execution: Execution, progress: Task) -> JobEnd:
        """Waits until an execution has ended, and returns how. Raises what ended it."""
        shown = _Shown(self.bucket, self.bucket.job(execution.job), progress)
        while (found := self.machine.describe(execution)).status == RUNNING:
            if now := self.machine.progress(execution):
                shown.advance(now)
            Event().wait(POLL)
        end = self.bucket.end(execution.job)
        if found.status == SUCCEEDED and end:
            return end
        if found.status == ABORTED:
            raise IncompleteError(
                f"The distributed {self.what} was stopped.",
                self._again,
            )
        if end and end.failure:
            raise end.failure.error()
        reason = " ".join(f"{found.error} {found.cause}".split())
        raise IncompleteError(
            f"The distributed {self.what} ended: {found.status} {reason[:500]}.",
            self._again,
        )

    def stop(self, execution: Execution) -> None:
        """Stops an execution, and makes its workers end soon."""
        self.bucket.stop(execution.job)
        self.machine.stop(execution)

    @property
    def what(self) -> str:
        """What the runs do and of which table, for a sentence."""
        return f"{noun_of(self.task)} of {self.table}"

    @property
    def _again(self) -> str:
        return f"Nothing was lost. {again(self.task)}"

    def _under_way(self) -> UsageError:
        return UsageError(
            f"A distributed {self.what} is under way.",
            f"To return to it, run: stream-backup {self.task} {self.table} --attach",
        )


def runs_of(connection: Connection, task: TaskName, table: str) -> DistributedRun:
    """Returns the distributed runs of a table that the stack can do. Raises UsageError when it
    cannot, or when the archive is not the stack's."""
    stack, noun = connection.stack, noun_of(task)
    if stack is None:
        raise UsageError(
            f"There is no stack {connection.stack_name!r}, which a distributed {noun} needs.",
            "Deploy the template with DistributedWorkers, or pass the name of the deployed stack:"
            " --stack NAME",
        )
    found = stack.distributed
    if found is None or task not in found.machines:
        raise UsageError(
            f"Stack {stack.name!r} has no workers for a distributed {noun}.",
            "Deploy it with: sam build && sam deploy --parameter-overrides DistributedWorkers=100."
            f" Or run the {noun} on this machine, without --distributed.",
        )
    _require_archive(connection, stack)
    session = connection.session
    machine = Machine(session.client("stepfunctions"), found.machines[task])
    bucket = open_work_bucket(session, found.bucket)
    return DistributedRun(machine, bucket, task, table, found.workers)


def _require_archive(connection: Connection, stack: Stack) -> None:
    ours = str(connection.location).rstrip("/")
    if ours != stack.archive.rstrip("/"):
        raise UsageError(
            f"The workers of stack {stack.name!r} use the archive {stack.archive}, not {ours}.",
            "Leave out --archive, or pass the name of another stack: --stack NAME",
        )


class _Shown:
    """What the progress bar shows of a job: the slices that have ended, and the share of all stages
    that this is, as if each of them took as long as the others."""

    def __init__(self, bucket: WorkBucket, job: DistributedJob, progress: Task) -> None:
        self._bucket, self._job, self._progress = bucket, job, progress
        self._before = MapProgress("", 0, 0)
        self._stage, self._slices = 0, job.slices

    def advance(self, now: MapProgress) -> None:
        """Reports the slices that have ended since the last call."""
        before = self._before
        if now.round != before.round:
            self._find_stage()
        ended = now.ended - (before.ended if now.round == before.round else 0)
        done = min(1.0, max(0.0, 1 - (now.slices - now.ended) / max(1, self._slices)))
        self._progress.advance(max(0, ended), min(0.99, (self._stage + done) / self._job.stages))
        self._before = now

    def _find_stage(self) -> None:
        while self._stage + 1 < self._job.stages:
            found = self._bucket.stage(self._job.name, self._stage + 1)
            if found is None:
                return
            self._stage, self._slices = self._stage + 1, found.slices
