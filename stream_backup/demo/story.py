"""The story of the demo: a table is backed up while it is written to, a release damages it, and it is put back."""

import gzip
import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3

from stream_backup.demo import reader, rows, terminal
from stream_backup.demo.embedded import MISLEADING, Embedded, environment, free_url, serve, settings
from stream_backup.demo.live import Table, scan
from stream_backup.demo.traffic import HUBS, Traffic, release
from stream_backup.demo.truth import Truth
from stream_backup.dynamodb import DynamoDB
from stream_backup.item import Item
from stream_backup.moment import iso
from stream_backup.talk import bar, say

TABLE = "airports"
BEFORE = "airports-before"

SECONDS = 21
"""Distinct seconds in which rows change after the backfill."""

CHANGES = 2100
"""How many of those changes there are at least."""

VICTIM = "YQB"
COUNTRIES = {"BR", "CA", "MX"}


def tell(*, keep: bool) -> None:
    """Tells the whole story. Raises StreamBackupError when a command fails, or when a restore differs from the truth."""
    started = time.monotonic()
    url = free_url()
    own = settings(url)
    foreign = sorted(name for name in os.environ if name.startswith(MISLEADING))
    with environment(own), serve(url) as server, TemporaryDirectory(prefix="stream-backup-demo-") as directory:
        table, traffic = _begin(server)
        named = reader.prepare()
        os.environ.update(named)
        file = Path(directory, "airports.json.gz")
        _heading(2, "Back it up, while it is written to")
        with reader.reading(TABLE) as follow:
            since = _back_up(traffic)
            moment = _damage(table, follow)
            busy = [second for second in table.truth.moments() if since < second < moment]
            other = busy[len(busy) // 2] if busy else moment
            _restore(moment, other, file)
        _check(table, moment, other, file)
        say(f"\nEverything is as it was. The demo took {time.monotonic() - started:.0f} s.")
        if keep:
            server.free()
            _go_on(own | named, foreign, server, moment)
        else:
            say("Nothing of it is left on this machine; with --keep the embedded AWS stays.")


def _begin(server: Embedded) -> tuple[Table, Traffic]:
    _heading(1, "A table, and an archive")
    say(f"ministack plays AWS at {server.url}, in a process of its own ({server.process.pid}). No account is touched.")
    table = Table(DynamoDB(boto3.Session()), TABLE, Truth(rows.KEY))
    table.create()
    every = list(rows.airports().items())
    closed = {name: item for name, item in every[1::2] if name not in (*HUBS, VICTIM)}
    there = {name: item for name, item in every if name not in closed}
    table.fill(there)
    say(
        f"Table {TABLE}: {len(there):,} rows, half of the real airports with an IATA code in the package "
        f"{rows.SOURCE} (licence: {rows.LICENCE}). The others may open."
    )
    return table, Traffic(table, closed, VICTIM)


def _back_up(traffic: Traffic) -> int:
    """Backfills while rows change, and lets them change for a while longer; the second when the backfill was through."""
    with _flowing(traffic) as writer:
        say(
            "\nRows that were there before the stream are read once. Flights, weather, openings and closures go on meanwhile."
        )
        terminal.run("backfill", TABLE)
        meanwhile, since = traffic.changes, int(time.time())
        say(f"{meanwhile:,} rows changed meanwhile. None of them is lost, and none is covered by an older value.")
        _heading(3, "An ordinary day")
        say(f"At least {CHANGES:,} changes more, over {SECONDS} seconds. Every one becomes a version of its object in S3.")
        _wait(traffic, writer)
    kinds = traffic.kinds
    say(
        f"{traffic.changes - meanwhile:,} changes more; in all {kinds['modify']:,} modified, {kinds['insert']:,} inserted, "
        f"{kinds['remove']:,} removed."
    )
    terminal.run("status", TABLE)
    return since


@contextmanager
def _flowing(traffic: Traffic) -> Iterator[Future[None]]:
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(traffic.flow)
        try:
            yield writer
        finally:
            traffic.stop.set()
    writer.result()


def _wait(traffic: Traffic, writer: Future[None]) -> None:
    """Returns when SECONDS and CHANGES more have passed, or the writer has failed."""
    first, second, told = traffic.changes, traffic.seconds, traffic.changes
    with bar("writes", "changes") as progress:
        while not writer.done():
            changes, seconds = traffic.changes - first, traffic.seconds - second
            progress.advance(changes + first - told, min(changes / CHANGES, seconds / SECONDS, 1.0))
            told = changes + first
            if changes >= CHANGES and seconds >= SECONDS:
                return
            time.sleep(0.25)


def _damage(table: Table, follow: terminal.Background | None) -> int:
    """The release that goes wrong, after a quiet second; that second."""
    _heading(4, "A release that goes wrong")
    table.wait_for(table.second + 2)
    moment = table.second - 1
    done = release(table, VICTIM, COUNTRIES)
    say("It swaps latitude and longitude in Brazil, Canada and Mexico, then deletes what now lies beyond the poles:")
    say(
        f"{done['overwritten']:,} rows overwritten, {done['deleted']:,} deleted. Québec ({VICTIM}) is in Antarctica. Since when?"
    )
    say(
        "CloudWatch here does not say how far behind the archive is, as on AWS it does. So its newest versions are compared with "
        f"the rows, until they are the same: {reader.catch_up(table, follow):.0f} s."
    )
    terminal.run("history", TABLE, json.dumps({rows.KEY: VICTIM}))
    say(f"\nThe last version is the damage. The second before it is {iso(moment)}.")
    return moment


def _restore(moment: int, other: int, file: Path) -> None:
    _heading(5, "Put it back")
    say("First only the plan, which writes nothing:")
    terminal.run("restore", TABLE, "--at", iso(moment), "--plan")
    say("\nInto a new table:")
    terminal.run("restore", TABLE, "--at", iso(moment), "--into", BEFORE)
    say("\nOr the live table, rewound: only what changed since is touched.")
    terminal.run("restore", TABLE, "--at", iso(moment), "--in-place", "--yes")
    say("\nAny other second will do as well, say one in the middle of the day, into a file:")
    terminal.run("restore", TABLE, "--at", iso(other), "--to", str(file))


def _check(table: Table, moment: int, other: int, file: Path) -> None:
    """Raises StreamBackupError when anything restored differs from the truth."""
    _heading(6, "Is it right?")
    say("Whoever wrote the rows kept a record of them, apart from the archive. All that was restored is compared with it:")
    restored: tuple[tuple[str, int, Iterable[Item]], ...] = (
        (f"table {BEFORE}", moment, scan(table.dynamodb, BEFORE)),
        (f"table {TABLE}", moment, scan(table.dynamodb, TABLE)),
        (f"file {file.name}", other, _lines(file)),
    )
    for what, second, found in restored:
        checked = table.truth.check(what, second, found)
        say(f"  {what:<22} {iso(second)}  {checked.rows:,} rows, {checked.values:,} values: no difference")


def _lines(file: Path) -> Iterator[Item]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["Item"]


def _go_on(own: dict[str, str], foreign: list[str], server: Embedded, moment: int) -> None:
    _heading(7, "Go on by hand")
    say("The embedded AWS stays. In this shell or another:\n")
    if foreign:
        say(f"unset {' '.join(foreign)}")
    for name, value in own.items():
        say(f"export {name}={shlex.quote(value)}")
    key = shlex.quote(json.dumps({rows.KEY: VICTIM}))
    say("\nThen, for example:\n")
    if not reader.is_function():
        say(f"stream-backup follow {TABLE} --once        # reads what happened since, and stops")
    say(f"stream-backup status {TABLE}")
    say(f"stream-backup history {TABLE} {key}")
    say(f"stream-backup restore {TABLE} --at {iso(moment)} --key {key} --to -")
    say(f"\nStop it, and all of it is gone: kill {server.process.pid}")


def _heading(number: int, title: str) -> None:
    say(f"\n{number}. {title}\n")
