"""What the archive claims about its history, as far as a check holds it against the versions."""

from collections.abc import Callable
from dataclasses import dataclass

from stream_backup.archive.status import Status
from stream_backup.core.chain import Claim, Loss
from stream_backup.core.moment import iso
from stream_backup.core.retention import DAY, Bound
from stream_backup.core.spans import Span
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import NEVER
from stream_backup.core.version import Version

UNSETTLED = 900
"""Seconds for which an older version on top is not reported as wrong: whoever wrote it may be
about to write the newer one again."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Of an archive with this status. `clock` is AWS's: while a check goes on, a bucket may expire
    more."""

    status: Status
    clock: Callable[[], float]

    @property
    def exact(self) -> tuple[Claim, ...]:
        """The exact moments of each epoch, as far as no version of them may have expired by now."""
        coverage = self.status.coverage
        kept = self._kept()
        found = []
        for epoch in coverage.epochs:
            first = max(coverage.start_of(epoch).moment, kept.moment)
            last = coverage.end_of(epoch).moment
            if first <= last:
                found.append(Claim(epoch.floor, first, last))
        return tuple(found)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The exact moments, in order of time."""
        return tuple(Span(claim.first, claim.last) for claim in self.exact)

    def reason(self, loss: Loss) -> str:
        """Returns why a change may be missing between two seconds that are not claimed, as far as
        that is on record; empty where it is not."""
        label = self._stream(loss)
        if label is None or loss.until <= self._kept().moment:
            return ""
        for outage in self.status.outages:
            overlaps = outage.since < loss.until and loss.after <= outage.until
            if outage.stream == label and overlaps:
                span = f"from {iso(outage.since)} to {iso(outage.until)}"
                return f"The outage {span} is on record: {outage.reason}."
        for hole in self.status.coverage.holes:
            if hole.stream == label and hole.since <= loss.until and loss.after <= hole.until:
                return "A failed batch has changes of this time."
        return ""

    def _stream(self, loss: Loss) -> str | None:
        """The label of the stream that both versions beside a lost change are of, None where they
        may be of two: what happened to an item between two streams is in neither."""
        for stream in reversed(self.status.streams):
            if stream.floor <= loss.after:
                end = self.status.ends.get(stream.label)
                return stream.label if end is None or loss.until <= end.end else None
        return None

    def settles(self, newest: Version, best: Stamp) -> str:
        """Returns why `newest`, an older version on top of the one stamped `best`, does no harm or
        ends without action; empty where it does not."""
        now = int(self.clock())
        if best.seen > self.status.coverage.latest:
            return "Nobody knows that the stream was read up to then: changes may be on their way."
        if newest.written > now - UNSETTLED:
            return "It was written just now, so a writer may be about to correct this."
        if self.status.floor_now == NEVER:
            return "No present moment is exact: a backfill begins a new epoch, and order with it."
        disorders = self.status.coverage.disorders
        if any(each.until is None and not each.is_due(now - DAY) for each in disorders):
            return "The watcher puts versions in order within a day."
        return ""

    def _kept(self) -> Bound:
        kept = self.status.coverage.kept
        if kept.moment == NEVER:
            return kept
        passed = max(0, int(self.clock()) - self.status.now)
        return kept._replace(moment=kept.moment + passed)
