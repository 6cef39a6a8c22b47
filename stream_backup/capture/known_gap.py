"""A known gap put on record: seconds whose changes may be missing from the archive, although
nothing that AWS reports shows it.

It ends the coverage of each stream that was on then, and only a backfill that begins an epoch of
its own starts it again: one that belongs to an earlier epoch left alone what the archive had of it,
and so did not repair what the gap had lost.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.status import Status
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage
from stream_backup.core.spans import Span, without
from stream_backup.core.time_rule import FOREVER
from stream_backup.errors import UsageError

REASON = "an operator recorded a known gap"


@dataclass(frozen=True, slots=True)
class KnownGap:
    """The gap from second `since` to second `until`, both included, of one table. `outages` are the
    records to write, none if they are written already; `exact` are the moments that are exact once
    they are, and `lost` those that are exact only until then. `backfill` says that no new moment
    becomes exact before the next backfill."""

    table: str
    since: int
    until: int
    outages: tuple[Outage, ...]
    exact: tuple[Span, ...]
    lost: tuple[Span, ...]
    backfill: bool

    def record(self) -> dict[str, Any]:
        """Returns the gap as a JSON object."""
        return {
            "table": self.table,
            "since": iso(self.since),
            "until": iso(self.until),
            "recorded": bool(self.outages),
            "streams": [outage.stream for outage in self.outages],
            "exact": [span.record() for span in self.exact],
            "lost": [span.record() for span in self.lost],
            "backfill": self.backfill,
        }

    def write(self, catalog: Catalog) -> None:
        """Puts the gap on record."""
        for outage in self.outages:
            catalog.write_outage(outage)


def known_gap(table: str, status: Status, since: int, until: int) -> KnownGap:
    """Returns what a gap from second `since` to second `until` would do to the coverage of a table.

    Raises UsageError when the gap is not over, ends before it begins, or lies where no stream was
    on.
    """
    if since > until:
        raise UsageError(
            f"The gap ends before it begins: --since is {iso(since)}, --until is {iso(until)}.",
            "Exchange them.",
        )
    if until > status.now:
        raise UsageError(
            f"{iso(until)} is in the future: the time is {iso(status.now)}.",
            "Record the gap up to now, and the rest of it when it is over.",
        )
    found = [_of_stream(label, span, since, until) for label, span in _lives(status)]
    touched = [outage for outage in found if outage]
    if not touched:
        raise UsageError(
            f"No stream of {table} was on from {iso(since)} to {iso(until)}, so no moment in it is"
            " exact anyway.",
            f"To see what is exact, run: stream-backup status {table}",
        )
    new = tuple(outage for outage in touched if not _is_known(outage, status.outages))
    named = tuple(_named(outage, status.outages) for outage in new)
    after = status.coverage_after(named)
    lost = without(status.coverage.spans, after.spans)
    ongoing = bool(after.epochs) and after.epochs[-1].end is None
    return KnownGap(table, since, until, named, after.spans, lost, backfill=not ongoing)


def _lives(status: Status) -> Iterable[tuple[str, Span]]:
    """For each stream the seconds in which it was on, as far as is known."""
    for stream, successor in zip(status.streams, [*status.streams[1:], None], strict=True):
        ended = status.ends.get(stream.label)
        last = ended.end if ended else FOREVER
        yield (
            stream.label,
            Span(stream.floor, min(last, successor.floor if successor else FOREVER)),
        )


def _of_stream(label: str, life: Span, since: int, until: int) -> Outage | None:
    """The part of the gap in the life of a stream. An outage begins after its `since`."""
    if until < life.first or since > life.last:
        return None
    return Outage(label, max(since, life.first) - 1, min(until, life.last), REASON)


def _is_known(outage: Outage, recorded: Iterable[Outage]) -> bool:
    """Whether one recorded outage contains this one."""
    return any(
        each.stream == outage.stream and each.since <= outage.since and outage.until <= each.until
        for each in recorded
    )


def _named(outage: Outage, recorded: Iterable[Outage]) -> Outage:
    """The record to write. It replaces a shorter one that begins in the same second, because the
    two share a name, and keeps the reason of that one."""
    same = [each for each in recorded if (each.stream, each.since) == (outage.stream, outage.since)]
    return replace(outage, reason="; ".join([*(each.reason for each in same), outage.reason]))
