"""Trouble for the workers of a distributed run on the emulator: one is killed, a slice fails twice,
and the execution is stopped. `Trouble` then says what each worker was given and which of it ended.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from stream_backup.distributed.machine import Machine
from stream_backup.distributed.records import Report
from stream_backup.distributed.run import DistributedRun
from stream_backup.distributed.work_bucket import WorkBucket
from tests.fleet import Fleet

FAILS, KILLED = "1", "2"
"""Names of slices in the first round of a run: the first fails twice, and the worker of the second
is killed."""

ITEMS = 300
"""Items of its slice after which a worker is killed."""

HELD = 0.75
"""Slices after this part of the first round wait until the execution is stopped."""

UNLUCKY = f"""
import itertools, os, signal, time
import boto3
from stream_backup import worker
from stream_backup.archive.s3 import S3Store

def die():
    numbers = itertools.count(1)
    for name in ("create", "get"):
        def call(*words, plain=getattr(S3Store, name)):
            if next(numbers) == {ITEMS}:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*words)
        setattr(S3Store, name, call)

def handler(event, context):
    if event["step"] != "slice":
        return worker.handler(event, context)
    client, bucket = boto3.client("s3"), os.environ["STREAM_BACKUP_WORK_BUCKET"]
    job, number, name = event["job"], event["round"], event["slice"]["name"]
    start = f"calls/{{job}}/{{number}}/{{name}}/"
    calls = client.list_objects_v2(Bucket=bucket, Prefix=start).get("KeyCount", 0)
    client.put_object(Bucket=bucket, Key=f"{{start}}{{calls}}", Body=b"")
    first = number == 0 and job.endswith("-0")
    try:
        if first and name == "{FAILS}" and calls < 2:
            raise RuntimeError("it fails twice")
        if first and name == "{KILLED}" and calls < 1:
            die()
        late = int(name) >= {HELD} * event["slice"]["of"]
        go = {{"Bucket": bucket, "Prefix": f"go/{{job}}"}}
        while first and late and not client.list_objects_v2(**go).get("KeyCount"):
            time.sleep(1)
        return worker.handler(event, context)
    finally:
        path = f"ends/{{job}}/{{number}}/{{name}}/{{calls}}"
        client.put_object(Bucket=bucket, Key=path, Body=b"")
"""
"""A module whose `handler` writes down each call and each end of a worker. A worker that is killed
has no end. The last slices of the first round wait until the execution is stopped, because a small
run would be over before."""

LOOK = 2.0
"""Seconds between two looks at a run."""


class Call(NamedTuple):
    """A call of a worker: the job, the number of the round, the name of the slice in it, and how
    often it was given to a worker before."""

    job: str
    round: int
    slice: str
    before: int


@dataclass(frozen=True)
class Trouble:
    """The trouble of the runs of one task and table."""

    fleet: Fleet
    task: Any
    table: str

    @cached_property
    def bucket(self) -> WorkBucket:
        return WorkBucket(self.fleet.deployed.aws.client("s3"), self.fleet.work)

    @cached_property
    def runs(self) -> DistributedRun:
        client = self.fleet.deployed.aws.client("stepfunctions")
        machine = Machine(client, self.fleet.machines[self.task])
        return DistributedRun(machine, self.bucket, self.task, self.table, 1)

    def job(self) -> str:
        """Returns the job that was started last."""
        return self.runs.last().job

    def calls(self, job: str) -> list[Call]:
        """Returns the calls of the workers of a job."""
        return self._of("calls", job)

    def items(self, job: str, number: int = 0) -> dict[str, Any]:
        """Returns the slices of a round by their names."""
        return {each["name"]: each for each in self.bucket.list_of(job, number)}

    def rounds(self, job: str) -> int:
        """Returns how many rounds a job has had."""
        return 1 + max((each.round for each in self.calls(job)), default=0)

    def done(self, job: str) -> set[str]:
        """Returns the slices of the first round that are done, as their workers have reported."""
        return {name for name, each in self.reports(job).items() if each.slice.done}

    def reports(self, job: str) -> dict[str, Report]:
        """Returns what became of the slices of the first round, by their names."""
        return self.bucket.reports(job, 0, self.bucket.finished(job, 0))

    def stop(self, share: float) -> str:
        """Waits until this share of the slices is done and every trouble has happened, stops the
        execution as Ctrl-C and a yes do, and waits until no worker is at work. Returns the job."""
        job = self.job()
        slices = len(self.items(job))
        while len(self.done(job)) < share * slices or not self._has_happened(job):
            assert self.bucket.end(job) is None, "it ended before it could be stopped"
            time.sleep(LOOK)
        self.runs.stop(self.runs.last())
        self.bucket.client.put_object(Bucket=self.fleet.work, Key=f"go/{job}", Body=b"")
        while self._at_work(job):
            time.sleep(LOOK)
        return job

    def _has_happened(self, job: str) -> bool:
        """Whether the slice that fails was given to a third worker, and that of the worker that is
        killed to a second one."""
        given = Counter(each.slice for each in self.calls(job) if each.round == 0)
        return given[FAILS] > 2 and given[KILLED] > 1

    def _at_work(self, job: str) -> bool:
        """Whether a worker is at work, or the emulator, which does not end the map of an execution
        that was stopped, still has slices for one. Without a report, the last call of each slice
        counts."""
        ended = {*self._of("ends", job)}
        last = {(each.round, each.slice): each for each in sorted(self.calls(job))}
        every = {(0, name) for name in self.items(job)}
        return bool(every - {*last}) or any(each not in ended for each in last.values())

    def _of(self, kind: str, job: str) -> list[Call]:
        client = self.fleet.deployed.aws.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self.fleet.work, Prefix=f"{kind}/{job}/"
        )
        found = [each["Key"].split("/") for page in pages for each in page.get("Contents", [])]
        return [Call(job, int(number), name, int(calls)) for _, job, number, name, calls in found]

    def said(self, job: str) -> str:
        """Returns a sentence about what became of a job."""
        calls, reports = self.calls(job), self.reports(job)
        again = Counter((each.round, each.slice) for each in calls)
        twice = {name: count for (number, name), count in again.items() if count > 1 and not number}
        return (
            f"  job {job}: {self.rounds(job)} rounds, {len(self.items(job))} slices,"
            f" {len(calls)} calls, {sum(each.slice.done for each in reports.values())} slices of"
            f" the first round done; calls of those that were called again: {json.dumps(twice)}"
        )
