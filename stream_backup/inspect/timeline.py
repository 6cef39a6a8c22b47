"""The changes of a table, counted by interval and by what they did.

`placing` says which change is in which interval. This module walks over the archive, and finds the
stretch that stands out.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

from stream_backup.archive.chunks import read_chunks
from stream_backup.archive.layout import History
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, merge_slices
from stream_backup.errors import ArchiveError
from stream_backup.inspect.placing import SORTS, Placed, Range, Sort
from stream_backup.inspect.window import Examined
from stream_backup.progress import Progress


class ChangeCounts(NamedTuple):
    """The numbers of changes in one interval."""

    insert: int = 0
    modify: int = 0
    remove: int = 0
    expiry: int = 0

    def more(self, sort: Sort) -> "ChangeCounts":
        """Returns the same with one more change."""
        counts = list(self)
        counts[SORTS.index(sort)] += 1
        return ChangeCounts(*counts)

    @property
    def total(self) -> int:
        """All changes."""
        return sum(self)


@dataclass(slots=True)
class Timeline:
    """`intervals` has the counts by the first second of each interval, without those that have
    none. `listed` changes were placed by the listing alone, `read` by their stamps."""

    since: int
    until: int
    every: int
    intervals: dict[int, ChangeCounts]
    listed: int = 0
    read: int = 0

    @property
    def total(self) -> ChangeCounts:
        """The counts of the whole range."""
        columns = zip(*self.intervals.values(), strict=True)
        return ChangeCounts(*map(sum, columns)) if self.intervals else ChangeCounts()

    def rows(self) -> Iterator[tuple[int, ChangeCounts]]:
        """Yields every interval of the range in order, also those without changes."""
        for start in range(self.since - self.since % self.every, self.until + 1, self.every):
            yield start, self.intervals.get(start, ChangeCounts())

    def busiest(self) -> tuple[int, int] | None:
        """Returns the first and the last second of the stretch around the busiest interval that
        stands out from the rest, None when there was no change."""
        if not self.intervals:
            return None
        peak = max(self.intervals, key=lambda start: (self.intervals[start].total, -start))
        number = (self.until - self.since) // self.every + 1
        counts = sorted(each.total for each in self.intervals.values())
        middle = number // 2 - (number - len(counts))
        usual = counts[middle] if 0 <= middle < len(counts) else 0
        least = usual + (self.intervals[peak].total - usual) / 10

        def stands_out(start: int) -> bool:
            found = self.intervals.get(start)
            return found is not None and found.total > least

        first = last = peak
        while stands_out(first - self.every):
            first -= self.every
        while stands_out(last + self.every):
            last += self.every
        return max(first, self.since), min(last + self.every - 1, self.until)


def timeline(
    span: Range, chosen: Selection, pool: Executor, examined: Examined, progress: Progress
) -> Timeline:
    """Counts the changes of a range. Memory grows with the number of intervals that have changes,
    not with the table. An item that cannot be read is counted in `examined` instead."""
    found = Timeline(span.since, span.until, span.every, {})
    fraction = HashFraction(len(chosen.slices))

    def one(history: History) -> list[Placed]:
        try:
            return span.placed(history)
        except ArchiveError as error:
            examined.unreadable.append(error)
            return []

    with progress.task("Examining the archive", "versions") as task:

        def candidates(part: str) -> Iterator[History]:
            for history in examined.walk(chosen.histories(part), part, task, fraction):
                if span.may_contain(history):
                    yield history

        def find(part: str) -> Iterator[list[Placed]]:
            return read_chunks(one, candidates(part), pool)

        for placed in merge_slices(find, chosen.slices):
            for interval, sort, by_stamp in placed:
                counts = found.intervals.get(interval, ChangeCounts())
                found.intervals[interval] = counts.more(sort)
                found.read += by_stamp
                found.listed += not by_stamp
    return found
