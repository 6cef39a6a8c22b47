"""Which change of an item is in which interval, from as few requests as possible.

The listing alone places a change where it is exact: where everything that the stamp of a version
can be lies in one interval, and the versions listed around it leave no doubt what it is. Every
other stamp is read:

- of a version that may lie in two intervals, or outside the range, or before the epoch;
- of one that may be another version of the item written again, or that is not in certain order with
  it;
- of a tombstone, because only its stamp says whether the item expired;
- of a version that a backfill may have written.

What a version can be stamped is bounded by what its writer announced. Scans are not changes, and a
change counts once, however often it was written. Changes that were merged count as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, NamedTuple, get_args

from stream_backup.archive.layout import Archive, History
from stream_backup.core.as_of import require_announced
from stream_backup.core.records import Run
from stream_backup.core.repair import Repair
from stream_backup.core.second import distinct
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import FOREVER, Lateness, latest_stamp
from stream_backup.core.version import Version

Sort = Literal["insert", "modify", "remove", "expiry"]
"""What a change did; an expiry is a removal by the table's time to live."""

SORTS: tuple[Sort, ...] = get_args(Sort)


class Placed(NamedTuple):
    """One change: the first second of its interval, what it did, and whether its stamp was read."""

    interval: int
    sort: Sort
    by_stamp: bool


class _Bounded(NamedTuple):
    """A version, with the first and the last second that its stamp can hold. `apart` says that no
    version after it, in order of these last seconds, can be stamped as early."""

    version: Version
    first: int
    last: int
    apart: bool

    @property
    def is_item(self) -> bool | None:
        """Whether it is an item and no tombstone, None where the listing leaves that open: the body
        is the key alone, whose MD5 is the name of the object."""
        if not self.version.size:
            return False
        return None if self.version.path.endswith(self.version.etag) else True


@dataclass(frozen=True, slots=True)
class Range:
    """The seconds from `since` to `until`, both included, in intervals of `every` seconds, each of
    which begins at a multiple of it.

    `floor` is that of the epoch, `runs` are all backfills and repairs, and `lateness` is how late
    versions may have been written.
    """

    archive: Archive
    since: int
    until: int
    every: int
    floor: int
    runs: Sequence[Run | Repair]
    lateness: Lateness

    def interval(self, moment: int) -> int:
        """Returns the first second of the interval of a moment."""
        return moment - moment % self.every

    def may_contain(self, history: History) -> bool:
        """Returns whether the listing allows that this item changed in the range."""
        for version in history.versions:  # the newest written first
            if latest_stamp(version) < self.since:
                return False
            if self.lateness.may_matter(version, self.until):
                return True
        return False

    def placed(self, history: History) -> list[Placed]:
        """Returns the changes of one item in the range, in no particular order. Raises ArchiveError
        when a stamp that it needs cannot be read."""
        found, stamps = [], list[Stamp]()
        bounded = self._bounded(history)
        for index, each in enumerate(bounded):
            if each.last < self.since or each.first > self.until or each.last < self.floor:
                continue
            sort = self._listed(bounded, index)
            if sort:
                found.append(Placed(self.interval(each.first), sort, by_stamp=False))
                continue
            stamp = self.archive.stat(each.version).stamp
            if stamp.at >= self.floor:
                require_announced(each.version, stamp, self.lateness)
                stamps.append(stamp)
        found += [
            Placed(self.interval(stamp.at), _sort(stamp), by_stamp=True)
            for stamp in distinct(stamps)
            if self.since <= stamp.at <= self.until
        ]
        return found

    def _bounded(self, history: History) -> list[_Bounded]:
        """The versions of an item in order of the last second that their stamps can hold."""
        spans = sorted(
            (latest_stamp(version), self.lateness.earliest(version), version)
            for version in history.versions
        )
        found: list[_Bounded] = []
        later = FOREVER  # the first second that a version after this one can be stamped
        for last, first, version in reversed(spans):
            found.append(_Bounded(version, first, last, apart=last < later))
            later = min(later, first)
        return found[::-1]

    def _listed(self, bounded: Sequence[_Bounded], index: int) -> Sort | None:
        """What the version at `index` did, as far as the listing proves it, None otherwise."""
        each = bounded[index]
        inside = self.since <= each.first and each.last <= self.until and each.first >= self.floor
        if not (each.apart and inside and self.interval(each.first) == self.interval(each.last)):
            return None
        if not each.is_item or self._may_be_scan(each):
            return None
        if not index:
            return "insert"
        newest = bounded[index - 1]
        if not newest.apart or newest.first < self.floor or newest.is_item is None:
            return None
        before = (bounded[number] for number in range(index - 1, -1, -1))
        near = takewhile(lambda other: other.last >= newest.first, before)
        if any(other.is_item != newest.is_item for other in near):
            return None  # Any of these may be the latest.
        return "modify" if newest.is_item else "insert"

    def _may_be_scan(self, each: _Bounded) -> bool:
        ends = ((run.asked, run.answered if run.complete else FOREVER) for run in self.runs)
        return any(asked <= each.last and each.first <= answered for asked, answered in ends)


def _sort(stamp: Stamp) -> Sort:
    match stamp.kind:
        case "insert" | "modify":
            return stamp.kind
    return "expiry" if stamp.by == "ttl" else "remove"
