"""What needs attention: the rule of `status --check`, for a monitoring system.

A table needs attention when one of KINDS is found of it. A gap that a later backfill has closed is
no finding, because nothing can be done about it any more. A table that somebody disabled, or that
was deleted more than a day ago, is not expected to get any newer: only what is wrong with its
archive is a finding then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.capture.drilled import last_drills
from stream_backup.capture.state import State, state_of
from stream_backup.capture.stream import REPLACED
from stream_backup.capture.watch import newest_exact
from stream_backup.core.moment import iso
from stream_backup.core.retention import DAY

BEHIND = 3600
"""Seconds by which the newest exact second of a table may be old, as for the alarm of the stack: a
single error of the function makes it up to 20 minutes old."""

Kind = Literal[
    "unreadable",
    "not-enabled",
    "no-coverage",
    "gap",
    "no-table",
    "behind",
    "failed-batches",
    "danger",
    "unknown",
    "drill",
]

KINDS: dict[Kind, str] = {
    "unreadable": "The records of its archive cannot be read, or AWS does not answer.",
    "not-enabled": "It was never enabled, or the last attempt to enable it failed.",
    "no-coverage": "No backfill was completed while its stream was on: no moment is exact.",
    "gap": "Its coverage ended, although nobody disabled it: no later moment is exact.",
    "no-table": "It was deleted within the last day, and nobody disabled it before.",
    "behind": "Its newest exact second is older than the limit (--max-behind, 1 hour).",
    "failed-batches": "Changes wait in the failures bucket, or were lost from it.",
    "danger": "Something endangers its archive; `status` reports it as a problem.",
    "unknown": "A permission is missing, so that one of the above cannot be excluded.",
    "drill": "Drills are scheduled, and none has passed for too long.",
}
"""What is looked for, in the order in which it is reported, and when it is found."""


@dataclass(frozen=True, slots=True)
class AttentionFinding:
    """Something about a table that needs attention: one sentence, and what to do about it."""

    kind: Kind
    reason: str
    hint: str = ""

    def record(self) -> dict[str, Any]:
        """Returns the finding as a JSON object."""
        return {"kind": self.kind, "reason": self.reason, "hint": self.hint or None}


@dataclass(frozen=True, slots=True)
class AttentionLimits:
    """By how many seconds the newest exact second may be old, and for how many days no drill need
    have passed, None where drills are not scheduled. `drilled` are the tables that are drilled,
    None for every enabled one."""

    behind: int = BEHIND
    drill_days: int | None = None
    drilled: frozenset[str] | None = None


def attention(
    connection: Connection, table: str, limits: AttentionLimits
) -> tuple[AttentionFinding, ...]:
    """Returns everything about a table in the archive that needs attention. What keeps it from
    being looked at is a finding too."""
    try:
        catalog = Catalog(connection.archive(table))
        found = [*_of_attempt(catalog), *_of_state(catalog, state_of(connection, table), limits)]
    except Exception as error:
        if (known := translate(error)) is None:
            raise
        return (AttentionFinding("unreadable", str(known), known.hint),)
    order = list(KINDS)
    return tuple(sorted(found, key=lambda each: order.index(each.kind)))


def _of_attempt(catalog: Catalog) -> Iterator[AttentionFinding]:
    if attempt := catalog.enable_attempt():
        said = f"It could not be enabled at {iso(attempt.recorded)}: {attempt.reason}"
        yield AttentionFinding("not-enabled", said, attempt.hint)
    elif not catalog.streams():
        hint = f"Run: stream-backup enable {catalog.table}"
        yield AttentionFinding("not-enabled", "It was never enabled.", hint)


def _of_state(
    catalog: Catalog, state: State, limits: AttentionLimits
) -> Iterator[AttentionFinding]:
    table = state.table
    if is_expected(catalog, state):
        yield from _of_coverage(state, limits)
        yield from _of_drills(catalog, state, limits)
    if state.failed:
        since = iso(min(batch.since for batch in state.failed))
        said = f"{len(state.failed):,} failed batches have changes from {since} on."
        hint = f"Run: stream-backup redrive {table}"
        yield AttentionFinding("failed-batches", said, hint)
    for sentence in state.problems:
        yield AttentionFinding("danger", sentence, f"Run: stream-backup check {table}")
    for sentence in state.unseen:
        yield AttentionFinding("unknown", sentence, "Permit it to the role of this command.")


def is_expected(catalog: Catalog, state: State) -> bool:
    """Whether new moments of a table are expected to become exact: it was enabled, nobody disabled
    it since, and it was not deleted more than a day ago."""
    newest = state.status.stream
    if newest is None:
        return False
    end = catalog.recorded_ends().get(newest.label)
    on = state.live is not None and state.live.label == newest.label
    if end and not on and not end.reason.startswith(REPLACED):
        return False
    gone = state.live is None and state.described
    return not gone or state.now - newest_exact(state, newest) < DAY


def _of_coverage(state: State, limits: AttentionLimits) -> Iterator[AttentionFinding]:
    status, table = state.status, state.table
    newest, epochs = status.stream, status.coverage.epochs
    if newest is None:
        return
    again = f"Run: stream-backup enable {table}; then: stream-backup backfill {table}"
    if state.live is None and state.described:
        hint = f"To recreate it, run: stream-backup restore {table} --at WHEN"
        yield AttentionFinding("no-table", "The table does not exist any more.", hint)
    elif not epochs:
        said = "No backfill was completed while its stream was on, so no moment is exact."
        yield AttentionFinding("no-coverage", said, f"Run: stream-backup backfill {table}")
    elif (ended := epochs[-1].end) is not None:
        said = f"No moment after {iso(ended)} is exact. {epochs[-1].ended}"
        yield AttentionFinding("gap", said, again)
    else:
        age = max(0, state.now - newest_exact(state, newest))
        if age > limits.behind:
            said = f"The newest exact second is {age:,} s old; the limit is {limits.behind:,} s."
            yield AttentionFinding("behind", said, f"To see why, run: stream-backup status {table}")


def _of_drills(
    catalog: Catalog, state: State, limits: AttentionLimits
) -> Iterator[AttentionFinding]:
    if limits.drill_days is None or (limits.drilled and state.table not in limits.drilled):
        return
    days = (state.now - last_drills(catalog, state.status.streams).passed) / DAY
    if days > limits.drill_days:
        said = f"No drill has passed for {days:,.0f} days; the limit is {limits.drill_days:,} days."
        yield AttentionFinding("drill", said, f"Run: stream-backup drill {state.table}")
