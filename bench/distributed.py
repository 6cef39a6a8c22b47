"""Distributed runs of many rows on an emulator that executes Distributed Map, with the packaged
worker, against runs on this machine: a backfill, and a restore into a new table.

    python -m bench.distributed --rows 200000

In each, a worker is killed, a slice fails twice, and the execution is stopped, started again by the
same command, left, and attached again. In the end the archive must have the same items with the
same contents as that of a backfill on this machine, and the table the same rows as one restored by
this machine. Nothing that was done before the stop may be done again. It prints the times, which
the load of the machine decides.

All of it is ministack. The archive of the local backfill is in the S3 of a second one, because a
listing there takes as long as there are objects.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.trouble import UNLUCKY, Trouble
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.core.item import Item
from stream_backup.core.key import key_hash
from stream_backup.core.slice import NameSlice
from tests import servers
from tests.cli import SIMPLE, Shell, Table
from tests.fleet import Fleet
from tests.journal import SCHEMA

NAME, INTO, INTO_LOCAL = "large", "large-restored-1", "large-restored-2"

STOPPED_AT = 0.4
"""The share of the slices that are done when the execution is stopped."""

CANARIES = 5
"""Rows of each slice that is done which are changed before the rest is restored: whoever restored
the slice again would put them back."""


def main() -> None:
    """Runs the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--segments", type=int, default=16)
    parser.add_argument("--workers", type=int, default=4, help="workers at once")
    parser.add_argument("--only", choices=("backfill", "restore"))
    given = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        folders = [work / name for name in ("distributed", "local")]
        for each in folders:
            each.mkdir()
        url = stack.enter_context(servers.ministack(folders[0]))
        other = stack.enter_context(servers.ministack(folders[1]))
        os.environ.update(servers.environment(url))
        run = Comparison(servers.Aws(url), servers.Aws(other), given.rows, given.workers)
        with timed("everything"):
            run.fill()
            if given.only != "restore":
                moment = run.backfill(given.segments)
            else:
                moment = run.prepare(given.segments)
            if given.only != "backfill":
                run.restore(moment)


@dataclass(frozen=True)
class Comparison:
    """One table of so many rows, and a stack with so many workers."""

    aws: servers.Aws
    other: servers.Aws
    rows: int
    workers: int

    @cached_property
    def fleet(self) -> Fleet:
        tasks = ("backfill", "restore")
        return Fleet.make(
            self.aws, *tasks, workers=self.workers, at_once=self.workers, unlucky=UNLUCKY
        )

    @cached_property
    def archive(self) -> Archive:
        bucket = self.fleet.deployed.archive_bucket
        return Archive(self.aws.store(bucket), "production/", NAME, SCHEMA)

    def fill(self) -> None:
        """Makes the table."""
        table = Table.create(self.aws, NAME, SIMPLE)
        with timed("the table was filled"):
            for first in range(0, self.rows, 2500):
                last = min(self.rows, first + 2500)
                table.put_many([row(number) for number in range(first, last)])

    def backfill(self, segments: int) -> str:
        """Backs the table up both ways, compares the archives, and returns a moment that can be
        restored."""
        shell, bucket = self.fleet.deployed.shell, self.other.bucket()
        more = {**shell.more, "AWS_ENDPOINT_URL_S3": self.other.url}
        local = Shell(self.aws, f"s3://{bucket}/local", more)
        for each in (local, shell):
            each.done("enable", NAME, "--stream-only")
        words = ("backfill", NAME, "--segments", str(segments))
        with timed("local backfill"):
            command(local, *words, "--workers", "2")
        trouble = Trouble(self.fleet, "backfill", NAME)
        with timed("distributed backfill, until it was stopped and no worker was at work"):
            command(shell, *words, "--distributed", "--detach")
            first = trouble.stop(STOPPED_AT)
        done = finished(self.archive)
        print(f"  {len(done)} of {segments} segments were done then: {sorted(done)}")
        assert 0 < len(done) < segments, "stopped too early or too late"
        with timed("distributed backfill, resumed and attached"):
            command(shell, "backfill", NAME, "--distributed", "--detach")
            found = json.loads(command(shell, "backfill", NAME, "--attach", "--json"))
        second = trouble.job()
        print(trouble.said(first), trouble.said(second), sep="\n")
        again = {each["segment"] for each in trouble.items(second).values()} & done
        print(f"  segments that were done and scanned again: {len(again)}")
        assert not again, again
        assert found["complete"], found
        assert (found["counts"]["read"], found["counts"]["failed"]) == (self.rows, 0), found
        with timed("both archives were listed"):
            ours = versions(self.archive)
            theirs = versions(Archive(self.other.store(bucket), "local/", NAME, SCHEMA))
        assert len(ours) == self.rows
        assert ours == theirs, "the archives differ"
        print(f"EQUAL: {self.rows:,} items, one version each; counts: {found['counts']}")
        command(shell, "follow", NAME, "--once")  # nothing reads the stream of the table
        return str(found["witness"])

    def prepare(self, segments: int) -> str:
        """Backs the table up on this machine, for a restore alone."""
        shell = self.fleet.deployed.shell
        shell.done("enable", NAME, "--stream-only")
        words = ("--segments", str(segments), "--workers", "2", "--json")
        with timed("local backfill"):
            found = json.loads(command(shell, "backfill", NAME, *words))
        command(shell, "follow", NAME, "--once")
        return str(found["witness"])

    def restore(self, moment: str) -> None:
        """Restores the moment both ways, and compares the tables."""
        shell, trouble = self.fleet.deployed.shell, Trouble(self.fleet, "restore", NAME)
        table = Table(self.aws, INTO)
        words = ("restore", NAME, "--at", moment, "--into")
        with timed("distributed restore, until it was stopped and no worker was at work"):
            command(shell, *words, INTO, "--distributed", "--detach")
            first = trouble.stop(STOPPED_AT)
        slices = [each.slice for each in trouble.reports(first).values()]
        names = {key_hash(key(number)): number for number in range(self.rows)}
        canaries = [number for each in slices for number in chosen(each, names)]
        table.put_many([row(number) | {"canary": {"BOOL": True}} for number in canaries])
        done, total = len(trouble.done(first)), len(trouble.items(first))
        print(f"  {done} of {total} slices were done then; {len(canaries)} canaries")
        assert 0 < done < total, "stopped too early or too late"
        with timed("distributed restore, resumed and attached"):
            command(shell, *words, INTO, "--distributed", "--detach")
            found = json.loads(command(shell, "restore", NAME, "--attach", "--json"))
        print(trouble.said(first), trouble.said(trouble.job()), sep="\n")
        lost = [
            number
            for number in canaries
            if "canary" not in table.client.get_item(TableName=INTO, Key=key(number))["Item"]
        ]
        print(f"  rows that were done and restored again: {len(lost)} of {len(canaries)}")
        assert not lost, lost
        assert found["resumed"], found
        assert (found["left"], found["unreadable"]) == ([], 0), found
        table.put_many([row(number) for number in canaries])
        with timed("local restore"):
            command(shell, *words, INTO_LOCAL, "--workers", "2")
        with timed("the tables were compared"):
            ours, theirs, source = (
                digest(Table(self.aws, name)) for name in (INTO, INTO_LOCAL, NAME)
            )
        assert ours == theirs == source, "the tables differ"
        assert ours[0] == self.rows
        print(f"EQUAL: {ours[0]:,} rows, SHA-256 of all rows {ours[1][:16]}")


def key(number: int) -> Item:
    return {"id": {"S": f"row-{number}"}}


def row(number: int) -> Item:
    """Returns a row of about 300 bytes."""
    return key(number) | {"n": {"N": str(number)}, "text": {"S": "x" * 250}}


def chosen(part: Any, names: dict[str, int]) -> list[int]:
    """Returns the numbers of a few rows that are done of a slice: of the first, and the last."""
    assert isinstance(part, NameSlice)
    done = sorted(name for name in names if part.holds(name) and not part.is_open(name))
    few = [*done[:CANARIES], *done[-CANARIES:]]
    return sorted({names[name] for name in few})


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
    print("  " + "\n  ".join(err.decode().strip().splitlines()[-4:]), flush=True)
    return out.decode()


def finished(archive: Archive) -> set[int]:
    """Returns the segments that are done."""
    catalog = Catalog(archive)
    (run,) = catalog.runs()
    kept = catalog.segment_checkpoints(run.name)
    return {number for number, each in kept.items() if each.next is None}


def versions(archive: Archive) -> dict[str, list[str]]:
    """Returns the contents of the versions of each item, by its name."""
    return {each.name: [version.etag for version in each.versions] for each in archive.histories()}


def digest(table: Table) -> tuple[int, str]:
    """Returns how many rows a table has, and the digest of all of them."""
    rows = table.rows()
    return len(rows), sha256(b"\n".join(rows)).hexdigest()


if __name__ == "__main__":
    main()
