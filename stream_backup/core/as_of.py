"""Finds the value that an item had at a moment, with as few requests as possible.

A listing shows when S3 wrote a version, but not its stamp, which decides the result. The rule of
time (`time_rule`) bounds the stamp by the time of writing. Versions are therefore read in order,
the newest written first, until no version written earlier can rank higher. The result is the same
as if every version were read. A version that was read and contradicts its bound is an error. The
number of versions read is not bounded when many were written
within seconds of each other, or shortly after the moment.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import Lateness, is_ahead, latest_stamp, settled
from stream_backup.core.version import Version
from stream_backup.errors import LatenessError, StampError

_WIDE = Lateness()


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
    lateness: Lateness = _WIDE,
) -> Read | None:
    """Returns the highest-ranked version with `floor ≤ at` and `seen ≤ moment`, as `read` returns
    it. Returns None when there is no such version, or when the listing alone proves that it is a
    tombstone.

    `versions` is the complete history of one item in any order. `moment` and `floor` are epoch
    seconds. `lateness` is how late a version may have been written. Errors that `read` raises are
    not caught.

    Raises LatenessError when a version that was read is later than its writer announced, or when
    its writer does not announce although its stream says so. Others like it may have been passed
    over. Raises StampError when a version counts that is stamped later than it was written.
    """
    best: Read | None = None
    newest_first = sorted(versions, key=attrgetter("written"), reverse=True)
    for index, version in enumerate(newest_first):
        if latest_stamp(version) < (best.stamp.at if best else floor):
            break
        if not lateness.may_matter(version, moment):
            continue
        if best is None and _surely_removed(
            version, newest_first[index + 1 :], moment, floor, lateness
        ):
            return None
        found = read(version)
        if floor <= found.stamp.at:
            require_announced(version, found.stamp, lateness)
        counts = floor <= found.stamp.at and found.stamp.seen <= moment
        if counts and is_ahead(version, found.stamp.at):
            raise from_the_future(version, found.stamp)
        if counts and (best is None or found.stamp.rank > best.stamp.rank):
            best = found
    return best


def _surely_removed(
    version: Version, older: Sequence[Version], moment: int, floor: int, lateness: Lateness
) -> bool:
    """Returns whether the listing proves that `version` is a tombstone and the result: it has zero
    bytes, it counts at `moment`, and no version written earlier can rank higher."""
    earliest = lateness.surely_earliest(version)
    counts = version.size == 0 and settled(version, moment) and floor <= earliest
    return counts and (not older or latest_stamp(older[0]) < earliest)


def from_the_future(version: Version, stamp: Stamp) -> StampError:
    """Returns the error for a version that is stamped later than any clock of AWS said when S3
    wrote it, so that no writer of this project wrote it."""
    ahead = stamp.at - version.written
    return StampError(
        f"{version.path} (version {version.version_id}) is stamped {ahead:,} seconds after S3 wrote"
        " it, so its stamp is false."
    )


def require_announced(version: Version, stamp: Stamp, lateness: Lateness) -> None:
    """Raises LatenessError when a version that was read does not keep to what its stream's writers
    announce."""
    if not lateness.announces:
        return
    if not stamp.announced:
        raise LatenessError(
            f"{version.path} was written by a release that does not announce late changes, although"
            " its stream was enabled for one that does."
        )
    if lateness.contradicts(version, stamp.at):
        raise LatenessError(
            f"{version.path} was written {version.written - stamp.at:,} seconds after its change,"
            " which its writer did not announce."
        )
