"""The chapters of the demo: back up a table, damage it, find the damage, and take it back, all
among good changes."""

import json
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from stream_backup.cli.console import bar, say
from stream_backup.core.item import Item
from stream_backup.core.moment import iso
from stream_backup.demo import deployment, reader, rows, terminal
from stream_backup.demo.deployment import Deployed
from stream_backup.demo.live import DemoTable, scan
from stream_backup.demo.traffic import Traffic
from stream_backup.errors import StreamBackupError

TABLE = "airports"
BEFORE = "airports-before"
"""The table that is restored next to the live one."""

ORDINARY = 6
"""Seconds of good changes between the backfill and the deployment."""

CLOSING = 3
"""Seconds from the deployment to the good changes of what it damaged."""

CONTINUED = 16
"""Seconds from the deployment to the commands that find it. The newest 11 seconds are not yet
certainly in the archive."""

CLOSED = ("YQB", "YYT")
"""The airports whose damaged attribute a good change sets again."""

SHUT: Item = {"open": {"BOOL": False}}
"""That change."""

CONFLICTS = Path("conflicts.jsonl")
"""The file in which `undo` lists the conflicts."""

CHOSEN = ("--where", "after.open == 'undefined'", "--changed", "open")
"""The options that choose the damage among all changes of its seconds."""


def back_up(traffic: Traffic) -> None:
    """Runs a backfill while rows change."""
    say(
        "",
        "The backfill reads existing rows once. Meanwhile, flights, weather reports, openings "
        "and closures change them.",
    )
    terminal.run("backfill", TABLE)
    say(
        f"{traffic.changes:,} changes were made during the backfill. None of them was lost or "
        "overwritten by an older value."
    )


def damage(table: DemoTable, traffic: Traffic, writer: Future[None]) -> Deployed:
    """Damages rows among good changes, which continue for CONTINUED seconds."""
    heading(3, "A bad deployment, among good changes")
    _wait(table.look() + ORDINARY, table, traffic, writer)
    done = deployment.deploy(table)
    say(
        f"In {done.rows:,} rows, the deployment changed the attribute open from true to "
        '"undefined". Good changes continue, in these rows too.'
    )
    _wait(done.last + CLOSING, table, traffic, writer)
    for name in CLOSED:
        table.update(name, SHUT)
    say(
        f"Two of the damaged airports, {' and '.join(CLOSED)}, now close because of snow: open "
        "becomes false. An undo must not overwrite that."
    )
    _wait(done.last + CONTINUED, table, traffic, writer)
    return done


def _wait(until: int, table: DemoTable, traffic: Traffic, writer: Future[None]) -> None:
    """Returns in second `until`, or when the writer has failed."""
    first, shown, start = traffic.changes, traffic.changes, table.look()
    with bar("writes", "changes") as progress:
        while not writer.done() and (now := table.look()) < until:
            progress.advance(traffic.changes - shown, (now - start) / (until - start))
            shown = traffic.changes
            time.sleep(0.25)
    say(f"{traffic.changes - first:,} good changes were made.")


def find(done: Deployed, table: DemoTable, follow: terminal.Background | None) -> None:
    """Shows the damage among the good changes."""
    heading(4, "Find the damage")
    seconds = reader.catch_up(table, follow)
    say(
        "On AWS, CloudWatch reports how far the archive is behind the table. Here it does not, so "
        "the demo waited until the archive had every change made before this chapter: "
        f"{seconds:.0f} s."
    )
    say("", "When did something unusual happen?")
    terminal.run("timeline", TABLE)
    say("", f"At {iso(done.first)}, many more rows changed than usual. What changed?")
    terminal.run("diff", TABLE, *done.window)


def take_back(done: Deployed) -> None:
    """Undoes the damage, and shows the two conflicts."""
    heading(5, "Take back the damage, and nothing else")
    say(
        'The damage is where open became "undefined". The other lines are good changes of the same '
        "seconds. Good changes continue during the undo. Without --yes, it asks after it has shown "
        "its plan, and --plan writes nothing."
    )
    words = (*done.window, *CHOSEN, "--conflicts", str(CONFLICTS), "--yes")
    terminal.run("undo", TABLE, *words, expected=3)
    say("", "The conflicts, each with its three values:")
    say(*CONFLICTS.read_text(encoding="utf-8").splitlines())


def restore(moment: int) -> None:
    """Restores `moment` into a new table."""
    heading(6, "Restore a moment")
    say("Any second can also be restored, for example into a new table:")
    terminal.run("restore", TABLE, "--at", iso(moment), "--into", BEFORE)


def check(table: DemoTable, moment: int) -> None:
    """Raises StreamBackupError if a row is not as the record of the truth says, or if other
    conflicts were listed than there are."""
    heading(7, "Check the result")
    say(
        "The writer of the good changes kept its own record of them, independent of the archive. "
        "The deployment is not in it. All rows are compared with it:"
    )
    now = table.look()
    for what, second in ((TABLE, now), (BEFORE, moment)):
        checked = table.truth.check(f"table {what}", second, scan(table.dynamodb, what))
        counts = f"{checked.rows:,} rows, {checked.values:,} values"
        say(f"  {what:<16} {iso(second)}  {counts}: no difference")
    check_conflicts(CONFLICTS)
    say(f"  {CONFLICTS}: {' and '.join(CLOSED)}, and no other")


def check_conflicts(path: Path) -> None:
    """Raises StreamBackupError if the conflicts in a file are not those of the airports CLOSED."""
    states: dict[str, Any] = {"before": {"BOOL": True}, "damaged": deployment.BAD["open"]}
    states["now"] = SHUT["open"]
    expected = [{"key": {rows.KEY: {"S": each}}, "path": ["open"]} | states for each in CLOSED]
    found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    listed = sorted(found, key=lambda each: str(each["key"]))
    if listed != expected:
        raise StreamBackupError(
            f"{path} lists {listed}, not {expected}.",
            "This is a defect. Report it with the complete output above.",
        )


def heading(number: int, title: str) -> None:
    """Prints the heading of a chapter."""
    say("", f"{number}. {title}", "")
