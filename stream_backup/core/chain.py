"""The changes of one item as a chain: the stream says what the item was before each change, and the
version before it must have left just that.

Where the two differ, a change was lost. Only a moment that coverage calls exact can prove that:

    a streamed change   what the archive says of the second before it, or an earlier change of the
                        same second, must be what the change found
    a scan              what it found must be what the archive says of the second before it, or what
                        a change of its interval found or left

Elsewhere versions may be missing for a known reason: an outage, a failed batch, a bucket that has
expired them, a stream that nobody read. A first version of an epoch has no known predecessor. A
lost change that was taken back by another lost one leaves no trace.

A version may stand for several changes of one second (`core/second`). It found what the first of
them found. What the item was between them is not known, so a scan of that second may have seen
anything, and a change that was delivered again from there on may have found anything.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from stream_backup.core.second import distinct
from stream_backup.core.stamp import NOTHING, Stamp


class Link(NamedTuple):
    """A version of an item: its stamp, and the digest of its content; None for a removal."""

    stamp: Stamp
    content: str | None


class Claim(NamedTuple):
    """In the epoch with this floor, every moment from `first` to `last` is exact."""

    floor: int
    first: int
    last: int


class Loss(NamedTuple):
    """A change was lost after the second `after` and no later than in the second `until`."""

    after: int
    until: int


UNKNOWN = "?"
"""The content of an item that existed, where the stream does not say what it was."""


def losses(links: Iterable[Link], claim: Claim) -> Iterator[Loss]:
    """Yields the changes of one item that were lost within a claim, in no particular order. `links`
    are all of its versions, copies among them, in any order."""
    known = [link for link in links if link.stamp.at >= claim.floor]
    changes, scans = _changes(known), _Scans(known)
    for before, change in _pairs(changes, scans):
        at = change.stamp.at
        if claim.first < at <= claim.last and not _fits(before, change):
            yield Loss(before.stamp.at if before else claim.first, at)
    seconds = [each.stamp.at for each in changes]
    for scan in scans.links:
        stamp = scan.stamp
        if not (claim.first < stamp.at and stamp.seen <= claim.last):
            continue
        first = bisect_left(seconds, stamp.at)
        during = changes[first : bisect_left(seconds, stamp.seen + 1)]
        if any(each.stamp.merged > 1 for each in during):
            continue
        before = scans.latest(stamp.at - 1, changes[first - 1] if first else None)
        possible = [before.content if before else None, *(each.content for each in during)]
        possible += [found_by(each.stamp) for each in during]
        if not any(_agree(each, scan.content) for each in possible):
            yield Loss(before.stamp.at if before else claim.first, stamp.seen)


def breaks(links: Sequence[Link]) -> Iterator[Loss]:
    """Yields where a streamed change did not find what the version before it left, whatever is
    claimed. That proves nothing: the reason may be known."""
    for before, change in _pairs(_changes(links), _Scans(links)):
        if before and not _fits(before, change):
            yield Loss(before.stamp.at, change.stamp.at)


def found_by(stamp: Stamp) -> str | None:
    """Returns what a streamed change found: the digest of the content, None for no item, UNKNOWN
    where the stream has no old images."""
    if stamp.kind == "insert" or stamp.before == NOTHING:
        return None
    return stamp.before or UNKNOWN


def _fits(before: Link | None, change: Link) -> bool:
    return _agree(before.content if before else None, found_by(change.stamp))


def _agree(left: str | None, right: str | None) -> bool:
    return left == right or (UNKNOWN in (left, right) and None not in (left, right))


def _changes(links: Iterable[Link]) -> list[Link]:
    """The streamed changes in order, each once, without those for which another one stands."""
    found = {link.stamp: link for link in links}
    return [found[stamp] for stamp in distinct(found)]


def _pairs(changes: Sequence[Link], scans: "_Scans") -> Iterator[tuple[Link | None, Link]]:
    """Yields each streamed change with the version before it: an earlier change of the same second,
    or what the item was in the second before. Of one that began within another, that is not
    known."""
    previous: Link | None = None
    for change in changes:
        at = change.stamp.at
        if previous is None or previous.stamp.at != at:
            yield scans.latest(at - 1, previous), change
        elif previous.stamp.sequence < change.stamp.begins:
            yield previous, change
        previous = change


def _later(one: Link, two: Link) -> Link:
    return two if two.stamp.at > one.stamp.at else one


class _Scans:
    """The scans of an item, by the second until which each was answered."""

    def __init__(self, links: Iterable[Link]) -> None:
        scans = [link for link in links if not link.stamp.streamed]
        self.links = sorted(scans, key=lambda link: (link.stamp.seen, link.stamp.at))
        self._seen = [link.stamp.seen for link in self.links]
        self._latest = list(accumulate(self.links, _later))

    def latest(self, moment: int, change: Link | None) -> Link | None:
        """Returns the version at a moment, where `change` is the last streamed one by then."""
        count = bisect_left(self._seen, moment + 1)
        scan = self._latest[count - 1] if count else None
        if scan is None or (change and change.stamp.rank >= scan.stamp.rank):
            return change
        return scan
