"""What must have been lost, from the rows that a verification found wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stream_backup.archive.status import Status
from stream_backup.core.coverage import Epoch
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage
from stream_backup.core.spans import Span, without
from stream_backup.core.time_rule import FOREVER
from stream_backup.verify.compare import Wrong


@dataclass(frozen=True, slots=True)
class Gap:
    """What must have been lost: `rows` are the rows to write, of which so many are `unknown` that
    no version says since when. `outage` is what is put on record, None where an outage on record
    contains it. `lost` are the moments that are exact only until then, `exact` those that stay
    exact."""

    stream: str
    rows: int
    unknown: int
    outage: Outage | None
    exact: tuple[Span, ...]
    lost: tuple[Span, ...]

    def record(self) -> dict[str, Any]:
        """Returns the gap as a JSON object."""
        outage = self.outage
        return {
            "since": iso(outage.since) if outage else None,
            "until": iso(outage.until) if outage else None,
            "exact": [span.record() for span in self.exact],
            "lost": [span.record() for span in self.lost],
        }


def gap_of(status: Status, epoch: Epoch, wrong: Iterable[Wrong], known: int) -> Gap:
    """Returns what must have been lost. A row was right when its newest version was written, and
    when the last repair read it, so the change that is missing came later. Of a row without a
    version in the epoch, nobody knows when it was created. `known` is a second before which nothing
    was lost."""
    repaired = [each.asked for each in status.standing if each.stream == epoch.stream]
    least = max([known, *repaired])
    rows = unknown = 0
    first = FOREVER
    for row in {row.name: row for row in wrong}.values():
        rows += 1
        unknown += row.at is None
        first = min(first, max(epoch.start if row.at is None else row.at, least))
    since = first - 1
    if first == FOREVER or (epoch.end is not None and since >= epoch.end):
        spans = status.coverage.spans
        return Gap(epoch.stream, rows, unknown, None, spans, ())
    same = [each for each in status.outages if (each.stream, each.since) == (epoch.stream, since)]
    reason = f"verification found {rows:,} rows that the archive had wrong"
    outage = Outage(
        epoch.stream,
        since,
        max([status.now, *(each.until for each in same)]),
        "; ".join([*(each.reason for each in same), reason]),
    )
    after = status.coverage_after([outage]).spans
    return Gap(epoch.stream, rows, unknown, outage, after, without(status.coverage.spans, after))
