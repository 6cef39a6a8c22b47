"""What a walk through the items of an archive asks about each: whether its newest version is on
top, whether a delete marker hides it, and whether a version keeps to what was announced.

The watcher and `check` ask the same.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from stream_backup.archive.layout import History, Stat
from stream_backup.archive.status import Status
from stream_backup.core.as_of import item_at
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import FOREVER, NEVER, Lateness, latest_stamp
from stream_backup.core.version import Version

Doubt = Literal["unannounced", "late"]
"""`unannounced`: the version has no mark, although its stream announces. `late`: it was written
later than its writer announced."""

Look = Callable[[Version], Stat]
"""Reads the stamp of a version."""


class Marked(NamedTuple):
    """A delete marker above a row, written at `since`. `until` is when the row was written again,
    None while the marker hides it."""

    since: int
    until: int | None


def without_markers(history: History) -> tuple[Version, ...]:
    """Returns the versions of an item that was listed with its delete markers."""
    return tuple(each for each in history.versions if not each.marker)


def marked(history: History, stat: Look) -> Iterator[Marked]:
    """Yields the delete markers above rows: not those above a tombstone, which a lifecycle rule may
    expire. It reads the stamp of at most one version."""
    above: Version | None = None
    for entry, below in pairwise(history.versions):
        if entry.marker and not below.marker and below.size:
            if above:
                yield Marked(entry.written, above.written)
            elif not stat(below).stamp.removes:
                yield Marked(entry.written, None)
        above = above if entry.marker else entry


def surely_in_order(versions: Sequence[Version], wide: Lateness) -> bool:
    """Returns whether the listing alone proves that the version written last is the newest."""
    return len(versions) < 2 or latest_stamp(versions[1]) < wide.surely_earliest(versions[0])


def not_on_top(history: History, stat: Look, wide: Lateness) -> Stat | None:
    """Returns the newest version of an item by stamp, unless it is certainly on top. A listing does
    not show for certain which of two versions of about the same second is the current one."""
    versions = without_markers(history)
    best = item_at(versions, FOREVER, NEVER, stat, wide)
    if best is None:
        return None  # The listing proves that the last version is the newest.
    under_marker = history.versions[0].marker  # on a tombstone, which a rule expires
    if best.version.version_id == versions[0].version_id and (
        under_marker or not about_same_time(versions)
    ):
        return None
    return best


def about_same_time(versions: Sequence[Version]) -> bool:
    """Returns whether the two versions written last were written in about the same second."""
    return len(versions) > 1 and versions[1].written >= versions[0].written - 1


def doubt(status: Status, version: Version, stamp: Stamp) -> Doubt | None:
    """Returns why a version that was read contradicts what its writer announced, None if it does
    not."""
    streams = [each for each in status.streams if each.floor <= stamp.at]
    if not streams or not streams[-1].announces:
        return None
    if not stamp.announced:
        return "unannounced"
    late = status.lateness.of_stream(announces=True).contradicts(version, stamp.at)
    return "late" if late else None
