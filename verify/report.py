"""What a verification says at its end."""

import json
from typing import Any

from stream_backup.errors import ArchiveError
from stream_backup.moment import iso
from stream_backup.survey import FRESH, Survey
from stream_backup.talk import data, say
from verify.tally import NAMED, Example, Tally

_TOLD = {
    "differs": "differs in the archive",
    "missing": "missing from the archive",
    "extra": "only in the archive",
    "unreadable": "unreadable in the archive",
    "busy": "changing all the time, not judged",
}


def report(table: str, tally: Tally, requests: dict[str, int], *, covered: bool, as_json: bool) -> None:
    """The counts, and some keys of each kind that is not equal; as JSON on stdout with `as_json`."""
    counts = {kind: tally.counts[kind] for kind in ("equal", *NAMED)}
    examples = sorted(tally.examples, key=lambda example: (NAMED.index(example.kind), example.key))
    if as_json:
        named = [_record(example) for example in examples]
        told = {"table": table, "covered": covered, **counts, "examples": named}
        data(told | {"versions_listed": tally.versions, "requests": requests})
        return
    for example in examples:
        say(f"  {_TOLD[example.kind]}: {example.key or example.reason}")
    left = ", ".join(f"{counts[kind]:,} {_TOLD[kind]}" for kind in NAMED if counts[kind])
    say(f"{table}: {counts['equal']:,} rows are in the archive as they are in the table{left and f', {left}'}.")
    say(
        f"{tally.versions:,} versions listed; {requests['list']:,} LIST, {requests['get']:,} GET, {requests['head']:,} HEAD."
    )


def complain(table: str, tally: Tally, found: Survey, failed_batches: int, *, covered: bool) -> None:
    """Raises ArchiveError when something is wrong, with what to do first."""
    if not tally.wrong:
        return
    if _left_alone(found) and found.checkpoint:
        say(f"Nobody has read its stream since {found.checkpoint['caught_up']}: what changed later is among this.")
    raise ArchiveError(
        f"{tally.wrong:,} rows of {table} are not in the archive as they are in the table.",
        _way_out(table, tally, found, failed_batches, covered=covered),
    )


def uncovered(table: str, found: Survey) -> str:
    """Why the archive does not claim to know the table as it is now."""
    if not found.coverage.epochs:
        return f"The archive does not cover {table}: no complete backfill was made while its stream was on."
    return (
        f"The archive does not cover {table} as it is now: its coverage ended at {iso(found.coverage.epochs[-1].end or 0)}."
    )


def _way_out(table: str, tally: Tally, found: Survey, failed_batches: int, *, covered: bool) -> str:
    if not covered:
        return f"Run: stream-backup enable {table}, and a backfill; then verify again."
    if failed_batches:
        return f"{failed_batches:,} failed batches wait with changes; put them back: stream-backup redrive {table}"
    if _left_alone(found) and (found.lag or 0) > FRESH:
        return f"Read its stream first: stream-backup follow {table} --once; then verify again."
    if tally.counts["missing"] == tally.wrong:
        return f"A backfill writes what the archive never saw: stream-backup backfill {table}"
    key = next((example.key for example in tally.examples if example.key and example.kind != "busy"), "KEY")
    return f"What the archive knows of one: stream-backup history {table} '{key}'"


def _left_alone(found: Survey) -> bool:
    """Whether `follow` reads this table's stream, and is not running."""
    return bool(found.checkpoint and not found.checkpoint["drained"] and not found.following)


def _record(example: Example) -> dict[str, Any]:
    told = {"kind": example.kind, "key": json.loads(example.key) if example.key else None}
    return told | {"reason": example.reason} if example.reason else told
