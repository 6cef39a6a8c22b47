"""Finds the value that an item had at a moment, with as few requests as possible.

A listing shows when S3 wrote a version, but not its stamp, which decides the result. The rule of
time (`time_rule`) bounds the stamp by the time of writing. Versions are therefore read in order,
the newest written first, until no version written earlier can rank higher. The result is the same
as if every version were read. The number of versions read is not bounded when many were written
within seconds of each other, or shortly after the moment.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import earliest_stamp, latest_stamp, may_matter
from stream_backup.core.version import Version


class Stamped(Protocol):
    """A version that was read, at least as far as its stamp."""

    @property
    def stamp(self) -> Stamp:
        """The stamp of the version."""
        ...


Read = TypeVar("Read", bound=Stamped)


def item_at(
    versions: Sequence[Version],
    moment: int,
    floor: int,
    read: Callable[[Version], Read],
    lateness: int = 0,
) -> Read | None:
    """Returns the highest-ranked version with `floor ≤ at` and `seen ≤ moment`, as `read` returns
    it. Returns None when there is no such version, or when the listing alone proves that it is a
    tombstone.

    `versions` is the complete history of one item in any order. `moment` and `floor` are epoch
    seconds. `lateness` is the number of seconds beyond LATE by which a version may have been
    written late, after a redrive of old batches. Errors that `read` raises are not caught.
    """
    best: Read | None = None
    newest_first = sorted(versions, key=attrgetter("written"), reverse=True)
    for index, version in enumerate(newest_first):
        if latest_stamp(version) < (best.stamp.at if best else floor):
            break
        if not may_matter(version, moment, lateness):
            continue
        if best is None and _surely_removed(
            version, newest_first[index + 1 :], moment, floor, lateness
        ):
            return None
        found = read(version)
        counts = floor <= found.stamp.at and found.stamp.seen <= moment
        if counts and (best is None or found.stamp.rank > best.stamp.rank):
            best = found
    return best


def _surely_removed(
    version: Version, older: Sequence[Version], moment: int, floor: int, lateness: int
) -> bool:
    """Returns whether the listing proves that `version` is a tombstone and the result: it has zero
    bytes, it counts at `moment`, and no version written earlier can rank higher."""
    earliest = earliest_stamp(version, lateness)
    counts = version.size == 0 and latest_stamp(version) <= moment and floor <= earliest
    return counts and (not older or latest_stamp(older[0]) < earliest)
