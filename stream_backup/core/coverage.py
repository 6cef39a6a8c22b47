"""Coverage: the moments that the archive can restore exactly, computed from the records under
`meta/`.

History is complete only while one stream of one table is read without a gap, and only from the end
of the first complete backfill on: before that, an item without a version may still have existed.
Each stream, and each stretch after an outage, which a repair can begin too, has one epoch at most:

    floor   versions stamped before it do not count, so data of an earlier table with the same name
            is never restored
    start   the earliest exact moment: the end of the first complete backfill or repair
    end     the latest exact moment; None while the stream is on and read

Changes in a failed batch are a hole: from the first of them on, no moment of their epoch is exact
until they are redriven. A moment in a hole or outside every epoch is refused. No clock is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from stream_backup.core.moment import iso
from stream_backup.core.order import Disorder
from stream_backup.core.records import End, Outage, Run, Stream
from stream_backup.core.repair import Repair
from stream_backup.core.retention import ALL, Bound
from stream_backup.core.spans import Span, spoken
from stream_backup.errors import CoverageError

OVERRIDE = "or pass --incomplete-ok to use the versions that exist; the result may not be exact."
"""What the hint of a refused moment ends with. Undo has no such option."""


class Hole(NamedTuple):
    """Changes of this stream in a failed batch, stamped from `since` to `until`, in epoch seconds.
    They are not in the archive yet, but are not lost."""

    stream: str
    since: int
    until: int


class Epoch(NamedTuple):
    """A period of exact moments of one stream, given by its label; the module describes `floor`,
    `start` and `end`, in epoch seconds. `ended` is one sentence about why it ended."""

    stream: str
    floor: int
    start: int
    end: int | None
    ended: str = ""


class Stretch(NamedTuple):
    """A part of one stream without an outage. `lost` are the outages before it. `end` is the last
    second of the stretch, None while the stream is on and read, and `ended` one sentence about why
    it ended."""

    stream: Stream
    lost: tuple[Outage, ...]
    end: int | None
    ended: str = ""

    @property
    def healed_from(self) -> int | None:
        """The second in which the last outage ended, None at the beginning of the stream."""
        return max((each.until for each in self.lost), default=None)


def stretches(
    streams: Iterable[Stream], ends: Mapping[str, End], outages: Iterable[Outage]
) -> list[Stretch]:
    """Returns the stretches in order of time. `ends` are those of the streams that ended, by label.
    A stream with a later one but no recorded end is closed where it began: nothing witnesses
    more."""
    ordered = sorted(streams, key=lambda stream: stream.floor)
    found = []
    for stream, successor in zip_longest(ordered, ordered[1:]):
        bound = _end_of(stream, successor, ends.get(stream.label))
        before: tuple[Outage, ...] = ()
        for outage in sorted(outage for outage in outages if outage.stream == stream.label):
            lost = Bound(outage.since, f"Changes may have been lost: {outage.reason}.")
            closed = min([each for each in (bound, lost) if each], key=lambda each: each.moment)
            found.append(Stretch(stream, before, *closed))
            before = (*before, outage)
        found.append(Stretch(stream, before, *(bound or (None, ""))))
    return found


def _end_of(stream: Stream, successor: Stream | None, end: End | None) -> Bound | None:
    """The end of a stream, None while it is on."""
    if end is None:
        if successor is None:
            return None
        return Bound(stream.floor, "The end of the stream is not on record.")
    bound = Bound(end.end, f"The stream ended: {end.reason}.")
    if successor and successor.floor <= end.end:
        return Bound(successor.floor - 1, "The stream was replaced by another one.")
    return bound


def epochs(
    pieces: Iterable[Stretch], runs: Iterable[Run], repairs: Iterable[Repair] = ()
) -> list[Epoch]:
    """Returns the epochs in order of time: each stretch from the end of its first complete run or
    repair on, if it has one. `repairs` are those that count."""
    runs, repairs = list(runs), list(repairs)
    found = []
    for piece in pieces:
        label, since = piece.stream.label, max(piece.stream.floor, piece.healed_from or 0)
        fit: list[Run | Repair] = [run for run in runs if run.complete and run.floor >= since]
        fit += [each for each in repairs if piece.lost and each.heals(piece.lost)]
        for first in sorted(fit, key=lambda each: each.answered):
            if first.stream == label and (piece.end is None or first.answered <= piece.end):
                floor = first.floor if piece.lost else piece.stream.floor
                found.append(Epoch(label, floor, first.answered, piece.end, piece.ended))
                break
    return found


@dataclass(frozen=True, slots=True)
class Coverage:
    """The exact moments of one table: its epochs in order of time, less their holes, and less what
    the bucket no longer keeps. `witness` is the second up to which the newest stream, `newest`, has
    certainly been read: the last exact moment of an epoch that has no end yet, and no epoch of this
    stream is exact for longer. `kept` is the earliest moment of which the bucket still has every
    version that was covered in order; `disorders` are when that order may have been wrong."""

    epochs: tuple[Epoch, ...]
    witness: Bound
    holes: tuple[Hole, ...] = ()
    kept: Bound = ALL
    disorders: tuple[Disorder, ...] = ()
    newest: str = ""

    @property
    def latest(self) -> int:
        """The second up to which the stream has certainly been read."""
        return self.witness.moment

    def epoch_at(self, moment: int) -> Epoch | None:
        """Returns the epoch in which `moment` is exact, None when it is not exact."""
        return next((epoch for epoch in self.epochs if self._holds(epoch, moment)), None)

    def _holds(self, epoch: Epoch, moment: int) -> bool:
        return self.start_of(epoch).moment <= moment <= self.end_of(epoch).moment

    def start_of(self, epoch: Epoch) -> Bound:
        """Returns the first exact moment of an epoch, and why it is not earlier."""
        begun = "The first complete backfill or repair of this epoch ended then."
        expired = [
            each.bound
            for each in self.disorders
            if (each.stream, each.floor) == (epoch.stream, epoch.floor)
            and self.kept.moment > each.since
        ]
        first = Bound(epoch.start, begun)
        return max([first, self.kept, *expired], key=lambda bound: bound.moment)

    def end_of(self, epoch: Epoch) -> Bound:
        """Returns the last exact moment of an epoch, and why it is not later. It is before the
        start of the epoch when no moment of it is exact."""
        ends = [] if epoch.end is None else [Bound(epoch.end, epoch.ended)]
        if epoch.end is None or epoch.stream == self.newest:
            ends.append(self.witness)
        holes = [
            Bound(hole.since - 1, f"A failed batch has changes from {iso(hole.since)} on.")
            for hole in self.holes_in(epoch)
        ]
        return min([*ends, *holes], key=lambda bound: bound.moment)

    def holes_in(self, epoch: Epoch) -> list[Hole]:
        """Returns the holes that affect this epoch. Changes stamped before its floor do not count
        in it, so a hole that ends before the floor does not affect it."""
        return [
            hole for hole in self.holes if hole.stream == epoch.stream and hole.until >= epoch.floor
        ]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The exact moments, in order of time."""
        found = [
            Span(self.start_of(epoch).moment, self.end_of(epoch).moment) for epoch in self.epochs
        ]
        return tuple(span for span in found if span.first <= span.last)

    @property
    def bounds(self) -> tuple[Bound, Bound] | None:
        """The earliest and the latest exact moment of the newest epoch, None when there is no
        epoch. The latest is before the earliest when no moment of the epoch is exact."""
        if not self.epochs:
            return None
        newest = self.epochs[-1]
        return self.start_of(newest), self.end_of(newest)

    def require(self, moment: int, table: str) -> Epoch:
        """Returns the epoch in which `moment` is exact. Raises CoverageError when it is not exact,
        with the exact moments of `table` and a hint that names the command to run."""
        if epoch := self.epoch_at(moment):
            return epoch
        if not self.epochs:
            raise CoverageError(
                f"The archive of {table} covers no moment yet: no backfill was completed while the"
                " stream was on.",
                f"Run: stream-backup backfill {table}; {OVERRIDE}",
            )
        why = self._why(moment)
        raise CoverageError(
            f"{iso(moment)} is outside the coverage of {table}: the archive is exact"
            f" {self._spans()}.{why and f' {why}'}",
            f"{self._remedy(moment, table)}; {OVERRIDE}",
        )

    def _why(self, moment: int) -> str:
        """The bound that keeps `moment` out of the epoch it would be in."""
        for epoch in self.epochs:
            if epoch.start <= moment < self.start_of(epoch).moment:
                return self.start_of(epoch).why
            end = self.witness.moment if epoch.end is None else epoch.end
            if (epoch.end is None and moment > end) or self.end_of(epoch).moment < moment <= end:
                return self.end_of(epoch).why
        return ""

    def _remedy(self, moment: int, table: str) -> str:
        """Returns what to do about a moment that is not exact, without a final period."""
        newest = self.epochs[-1]
        holes = [each for epoch in self.epochs for each in self.holes_in(epoch)]
        if any(hole.since <= moment for hole in holes) and moment >= newest.start:
            return f"Run: stream-backup redrive {table}"
        behind = newest.end is None or (newest.stream == self.newest and moment <= newest.end)
        if behind and moment > self.latest:
            return (
                f"The stream has been read up to {iso(self.latest)}. Wait until the function has"
                f" read further. Without a function, run: stream-backup follow {table} --once"
            )
        return "Choose a moment within the coverage"

    def _spans(self) -> str:
        return spoken(self.spans) or "at no moment yet"
