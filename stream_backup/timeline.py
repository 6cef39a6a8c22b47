"""What was this item at that moment?  The one question the archive answers, at the fewest requests.

A listing shows when S3 wrote a version, never the stamp that decides. But the two are bound together:

    at ≤ written + SKEW                     nothing is written before it happened
    at ≥ written - LATE - lateness          a stream keeps a record 24 hours, and then it is gone

So versions are read newest written first, and the walk stops as soon as nothing older in writing can rank higher. It
answers exactly what reading every version would; it does not promise to read few of them when many were written within
seconds of each other, or shortly after the moment.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

from stream_backup.stamp import Stamp
from stream_backup.store import Version

SKEW = 5
"""Seconds by which a change's stamp may be ahead of S3's clock."""

LATE = 24 * 3600 + 15 * 60
"""Seconds a streamed change may be written after it happened: retention of the stream (Amazon DynamoDB Developer Guide,
"Change data capture for DynamoDB Streams") and the longest run of a function that read it in the last second."""

NEVER = -(2**62)
"""A floor below every stamp."""

FOREVER = 2**62
"""A moment after every stamp."""


class Stamped(Protocol):
    @property
    def stamp(self) -> Stamp: ...


Read = TypeVar("Read", bound=Stamped)


def item_at(
    versions: Sequence[Version],
    moment: int,
    floor: int,
    read: Callable[[Version], Read],
    lateness: int = 0,
) -> Read | None:
    """The highest-ranked version with `floor ≤ at` and `seen ≤ moment`, as `read` gives it; None when there is none, or
    when the listing alone shows that it is a tombstone.

    `versions` is one item's whole history in any order. `lateness` is by how many seconds more than LATE a version may
    have been written late (a redrive of old batches).
    """
    best: Read | None = None
    newest_first = sorted(versions, key=attrgetter("written"), reverse=True)
    for index, version in enumerate(newest_first):
        if latest_at(version) < (best.stamp.at if best else floor):
            break
        if earliest_at(version, lateness) > moment:
            continue
        if best is None and _surely_removed(version, newest_first[index + 1 :], moment, floor, lateness):
            return None
        found = read(version)
        counts = floor <= found.stamp.at and found.stamp.seen <= moment
        if counts and (best is None or found.stamp.rank > best.stamp.rank):
            best = found
    return best


def latest_at(version: Version) -> int:
    """The latest second this version can be stamped with."""
    return version.written + 1 + SKEW


def earliest_at(version: Version, lateness: int = 0) -> int:
    """The earliest second this version can be stamped with."""
    return version.written - SKEW - LATE - lateness


def _surely_removed(version: Version, older: Sequence[Version], moment: int, floor: int, lateness: int) -> bool:
    """Whether a zero-byte version must be the answer: it counts, and nothing older in writing can outrank it."""
    earliest = earliest_at(version, lateness)
    counts = version.size == 0 and latest_at(version) <= moment and floor <= earliest
    return counts and (not older or latest_at(older[0]) < earliest)
