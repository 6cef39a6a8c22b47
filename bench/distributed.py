"""A distributed backfill of many rows on an emulator that executes Distributed Map, with the
packaged worker, against a local backfill of the same table.

    python -m bench.distributed --rows 200000

A worker is killed, a slice fails twice, and the execution is stopped and started again. The archive
must then have the same items with the same contents as that of the local backfill, no segment that
was done before the stop may be scanned again, and the record of the run must be complete. It prints
the times, which the load of the machine decides.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from tests import servers
from tests.cli import SIMPLE, Shell, Table
from tests.fleet import Fleet
from tests.journal import SCHEMA

NAME = "large"

UNLUCKY = """
import os, signal, threading, time
import boto3
from stream_backup import worker

def handler(event, context):
    if event["step"] == "slice":
        client, bucket = boto3.client("s3"), os.environ["STREAM_BACKUP_WORK_BUCKET"]
        segment = event["slice"]["segment"]
        start = f"unlucky/{segment}/"
        calls = client.list_objects_v2(Bucket=bucket, Prefix=start).get("KeyCount", 0)
        client.put_object(Bucket=bucket, Key=f"{start}{calls}", Body=b"")
        if segment == 1 and calls < 2:
            raise RuntimeError("it fails twice")
        if segment == 2 and calls < 1:
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGKILL)).start()
        go = {"Bucket": bucket, "Prefix": "go"}
        while segment == 3 and not client.list_objects_v2(**go).get("KeyCount"):
            time.sleep(1)
    return worker.handler(event, context)
"""
"""Segment 1 fails twice; the worker of segment 2 is killed after a second; that of segment 3 begins
when there is an object `go`, so that it is not done when the execution is stopped."""


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--segments", type=int, default=12)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="bench-") as work, servers.ministack(Path(work)) as url:
        os.environ.update(servers.environment(url))
        compare(servers.Aws(url), given.rows, given.segments)


def compare(aws: servers.Aws, rows: int, segments: int) -> None:
    """Makes the table and both archives, and compares them."""
    table = Table.create(aws, NAME, SIMPLE)
    with timed("the table was filled"):
        for first in range(0, rows, 2500):
            last = min(rows, first + 2500)
            table.put_many([row(number) for number in range(first, last)])
    fleet = Fleet.make(aws, "backfill", workers=segments, unlucky=UNLUCKY)
    bucket = fleet.deployed.archive_bucket
    local = Shell(aws, f"s3://{bucket}/local", {"STREAM_BACKUP_STACK": fleet.deployed.name})
    shell = fleet.deployed.shell
    for each in (local, shell):
        each.done("enable", NAME, "--stream-only")
    with timed("local backfill"):
        command(local, "backfill", NAME, "--workers", "2", "--segments", str(segments))
    with timed("distributed backfill, until it was stopped"):
        words = ("backfill", NAME, "--distributed", "--segments", str(segments), "--detach")
        command(shell, *words)
        wait_for_reports(fleet)
        stop(fleet)
    archive = Archive(aws.store(bucket), "production/", NAME, SCHEMA)
    settle(fleet, archive)
    done = finished(archive)
    print(f"{len(done)} of {segments} segments were done when it was stopped: {sorted(done)}")
    assert 0 < len(done) < segments, "stopped too early or too late"
    seen = calls(fleet)
    with timed("the same command again, detached, and attached"):
        command(shell, "backfill", NAME, "--distributed", "--detach")
        said = command(shell, "backfill", NAME, "--attach", "--json")
    again = {segment for segment, count in calls(fleet).items() if count > seen.get(segment, 0)}
    print(f"segments that were scanned again: {sorted(again)}")
    assert not again & done, "a segment that was done was scanned again"
    assert calls(fleet)[1] >= 3, "segment 1 did not fail twice"
    found = json.loads(said)
    assert found["complete"], found
    assert found["counts"]["read"] == rows, found
    assert found["counts"]["failed"] == 0, found
    with timed("both archives were listed"):
        ours = versions(archive)
        theirs = versions(Archive(aws.store(bucket), "local/", NAME, SCHEMA))
    assert len(ours) == rows
    assert ours == theirs, "the archives differ"
    print(f"equal: {rows:,} items, one version each; counts: {found['counts']}")


def row(number: int) -> dict[str, Any]:
    """Returns a row of about 300 bytes."""
    return {"id": {"S": f"row-{number}"}, "n": {"N": str(number)}, "text": {"S": "x" * 250}}


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how many seconds a block took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def command(shell: Shell, *words: str) -> str:
    """Runs a command without a limit of time, and returns its output."""
    with shell.running(*words) as running:
        out, err = running.process.communicate()
    assert running.process.returncode == 0, err.decode()[-2000:]
    print("  " + err.decode().strip().replace("\n", "\n  "))
    return out.decode()


def wait_for_reports(fleet: Fleet) -> None:
    """Waits until some slices are done."""
    while sum(each["slice"]["done"] for each in fleet.reports()) < 3:
        time.sleep(1)


def stop(fleet: Fleet) -> None:
    """Stops the execution, as Ctrl-C and a yes do."""
    client, s3 = (fleet.deployed.aws.client(name) for name in ("stepfunctions", "s3"))
    machine = fleet.machines["backfill"]
    (found,) = client.list_executions(stateMachineArn=machine)["executions"]
    s3.put_object(Bucket=fleet.work, Key=f"jobs/{found['name']}/stop", Body=b"{}")
    client.stop_execution(executionArn=found["executionArn"])
    s3.put_object(Bucket=fleet.work, Key="go", Body=b"")


def settle(fleet: Fleet, archive: Archive) -> None:
    """Waits until the workers have found that the job was stopped: all of them have reported."""
    while True:
        before = calls(fleet), checkpoints(archive)
        time.sleep(25)  # more than the seconds after which a worker looks
        if (calls(fleet), checkpoints(archive)) == before:
            return


def calls(fleet: Fleet) -> dict[int, int]:
    """Returns how often each segment was given to a worker."""
    client = fleet.deployed.aws.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=fleet.work, Prefix="unlucky/")
    paths = [each["Key"] for page in pages for each in page.get("Contents", [])]
    found: dict[int, int] = {}
    for path in paths:
        segment = int(path.split("/")[1])
        found[segment] = found.get(segment, 0) + 1
    return found


def checkpoints(archive: Archive) -> dict[int, Any]:
    """Returns how far the segments of the run have been scanned."""
    catalog = Catalog(archive)
    (run,) = catalog.runs()
    return {number: each.next for number, each in catalog.segment_checkpoints(run.name).items()}


def finished(archive: Archive) -> set[int]:
    """Returns the segments that are done."""
    return {number for number, following in checkpoints(archive).items() if following is None}


def versions(archive: Archive) -> dict[str, list[str]]:
    """Returns the contents of the versions of each item, by its name."""
    return {each.name: [version.etag for version in each.versions] for each in archive.histories()}


if __name__ == "__main__":
    main()
