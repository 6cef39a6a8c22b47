"""The chapters of the demo: back up a table during writes, damage it, restore it, and check it."""

import gzip
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

from stream_backup.cli.console import bar, say
from stream_backup.core.item import Item
from stream_backup.core.moment import iso
from stream_backup.demo import reader, rows, terminal
from stream_backup.demo.live import DemoTable, scan
from stream_backup.demo.release import release
from stream_backup.demo.traffic import Traffic

TABLE = "airports"
BEFORE = "airports-before"
"""The table that is restored next to the live one."""

SECONDS = 21
"""Seconds in which rows change after the backfill."""

CHANGES = 2100
"""Changes in these seconds, at least."""

VICTIM = "YQB"
"""The airport whose history is shown."""

COUNTRIES = {"BR", "CA", "MX"}
"""The countries whose airports are damaged."""


def back_up(traffic: Traffic) -> int:
    """Runs a backfill while rows change, and continues the changes for some seconds.

    Returns the second in which the backfill ended.
    """
    with traffic.flowing() as writer:
        say(
            "\nThe backfill reads existing rows once. Meanwhile, flights, weather reports, "
            "openings and closures change them."
        )
        terminal.run("backfill", TABLE)
        meanwhile, since = traffic.changes, int(time.time())
        say(
            f"{meanwhile:,} changes were made during the backfill. None of them was lost or "
            "overwritten by an older value."
        )
        heading(3, "An ordinary day")
        say(
            f"At least {CHANGES:,} more changes follow, over {SECONDS} seconds. Each of them "
            "becomes a version of an object in S3."
        )
        _wait(traffic, writer)
    kinds = traffic.kinds
    say(
        f"{traffic.changes - meanwhile:,} more changes were made. In total, there were "
        f"{kinds['modify']:,} modifications, {kinds['insert']:,} insertions, and "
        f"{kinds['remove']:,} deletions."
    )
    terminal.run("status", TABLE)
    return since


def _wait(traffic: Traffic, writer: Future[None]) -> None:
    """Returns after SECONDS and CHANGES more, or when the writer has failed."""
    first, second, shown = traffic.changes, traffic.seconds, traffic.changes
    with bar("writes", "changes") as progress:
        while not writer.done():
            changes, seconds = traffic.changes - first, traffic.seconds - second
            fraction = min(changes / CHANGES, seconds / SECONDS, 1.0)
            progress.advance(changes + first - shown, fraction)
            shown = changes + first
            if changes >= CHANGES and seconds >= SECONDS:
                return
            time.sleep(0.25)


def damage(table: DemoTable, follow: terminal.Background | None) -> int:
    """Makes the faulty release after a second without writes; returns that second."""
    heading(4, "A faulty release")
    table.wait_for(table.second + 2)
    moment = table.second - 1
    done = release(table, VICTIM, COUNTRIES)
    say(
        "The release swaps latitude and longitude in Brazil, Canada and Mexico, and deletes the "
        "airports whose latitude is then beyond 90 degrees."
    )
    say(
        f"{done['overwritten']:,} rows were overwritten and {done['deleted']:,} deleted. Québec "
        f"({VICTIM}) is in Antarctica. When did that happen?"
    )
    seconds = reader.catch_up(table, follow)
    say(
        "On AWS, CloudWatch reports how far the archive is behind the table. Here it does not, so "
        "the demo waited until the newest versions in the archive matched the current rows: "
        f"{seconds:.0f} s."
    )
    terminal.run("history", TABLE, json.dumps({rows.KEY: VICTIM}))
    say(f"\nThe last version is the damage. The second before it is {iso(moment)}.")
    return moment


def restore(moment: int, other: int, file: Path) -> None:
    """Restores `moment` into a new table and the live one, and `other` to a file."""
    heading(5, "Restore")
    say("First, show the plan. This writes nothing.")
    terminal.run("restore", TABLE, "--at", iso(moment), "--plan")
    say("\nRestore into a new table:")
    terminal.run("restore", TABLE, "--at", iso(moment), "--into", BEFORE)
    say("\nOr rewind the live table, which writes only the rows that have changed since:")
    terminal.run("restore", TABLE, "--at", iso(moment), "--in-place", "--yes")
    say("\nAny other second can be restored too. This one, in the middle of the day, to a file:")
    terminal.run("restore", TABLE, "--at", iso(other), "--to", str(file))


def check(table: DemoTable, moment: int, other: int, file: Path) -> None:
    """Raises StreamBackupError if restored rows differ from the record of the truth."""
    heading(6, "Check the result")
    say(
        "The writer of the rows kept its own record of them, independent of the archive. All "
        "restored rows are compared with it:"
    )
    restored: tuple[tuple[str, int, Iterable[Item]], ...] = (
        (f"table {BEFORE}", moment, scan(table.dynamodb, BEFORE)),
        (f"table {TABLE}", moment, scan(table.dynamodb, TABLE)),
        (f"file {file.name}", other, _lines(file)),
    )
    for what, second, found in restored:
        checked = table.truth.check(what, second, found)
        counts = f"{checked.rows:,} rows, {checked.values:,} values"
        say(f"  {what:<22} {iso(second)}  {counts}: no difference")


def _lines(file: Path) -> Iterator[Item]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["Item"]


def heading(number: int, title: str) -> None:
    """Prints the heading of a chapter."""
    say(f"\n{number}. {title}\n")
