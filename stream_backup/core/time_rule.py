"""The rule of time: how the second at which something happened relates to the seconds that AWS's
clocks reported.

Every margin of the project is defined here, and only the functions of this module compute with one.
They answer what the rest of the code asks about a version that has only been listed, so that its
stamp is not known yet:

    stamp ≤ written + SKEW             nothing is written before it happened
    stamp ≥ written - SKEW - LATE …    a stream keeps a record for 24 hours
    stamp ≥ written - SKEW - NORMAL …  a writer that is later than that announces it first

`Lateness` holds what was announced, and answers the last two. Seconds are whole epoch seconds, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import NamedTuple, Self

from stream_backup.core.version import Version

SKEW = 5
"""Seconds by which the clocks of two AWS services may differ: a stamp may be this far ahead of S3's
clock."""

RETENTION = 24 * 3600
"""Seconds for which a stream keeps a record (Amazon DynamoDB Developer Guide, "Change data capture
for DynamoDB Streams")."""

LATE = RETENTION + 15 * 60
"""Seconds a streamed change may be written after it happened: while the stream keeps it, and in the
longest run of a function that read it in the last second."""

NORMAL = 300
"""Seconds after its stamp in which a version is written without notice. A writer that announces is
never later, unless it announced that before."""

BUDGET = 120
"""Seconds that one PUT with its retries may take."""

LEAST = 512
"""The smallest number of seconds that is announced; the others are higher powers of two, so that
several writers announce the same."""

HOUR = 3600
"""Seconds for which one announcement is made: a whole hour of UTC."""

MARGIN = 5
"""Seconds by which the interval of a scan is widened on both sides, against skew between AWS's
clocks. Widening is always safe."""

SETTLE = 2
"""Seconds after which a change is expected to be readable from its stream."""

QUIET = 15
"""Seconds for which all reads of an open shard must be empty before it counts as read (`quiet`)."""

QUIET_READS = 20
"""Reads in these seconds, at least."""

NEVER = -(2**62)
"""A floor below every stamp."""

FOREVER = 2**62
"""A moment after every stamp."""


class Interval(NamedTuple):
    """Whole seconds: what a scan read held at some instant between the beginning of `at` and the
    end of `seen`."""

    at: int
    seen: int


def scan_interval(asked: int, answered: int) -> Interval:
    """Returns the interval of a scan that was asked and answered in these seconds of AWS's
    clock."""
    return Interval(asked - MARGIN, answered + 1 + MARGIN)


def seen_on(answered: int) -> int:
    """Returns the last second in which a backfill whose record says `answered` certainly saw its
    stream switched on: the record holds the end of a scan interval, and the same distance again
    allows for the skew of the clocks."""
    return answered - 2 * (scan_interval(0, 0).seen)


def on_until(moment: int) -> int:
    """Returns the last second all of whose changes a stream certainly has, that AWS's clock showed
    as on at `moment`, in whatever clock they are stamped."""
    return moment - SKEW - 1


def first_stamp(created: int) -> int:
    """Returns the earliest second that the stamp of a record can hold whose stream was created, or
    whose change was requested, in the second `created` of another clock of AWS."""
    return created - SKEW


def floor_of(created: int, *, empty: bool) -> int:
    """Returns the floor of a stream created in the second `created`: no record of an older stream
    is stamped at or after it. In an archive that is `empty` there is no such record, and no record
    of this stream is stamped before it."""
    return first_stamp(created) if empty else created + SKEW + 1


def latest_stamp(version: Version) -> int:
    """Returns the latest second that the stamp of this version can hold."""
    return version.written + 1 + SKEW


def is_ahead(version: Version, at: int) -> bool:
    """Returns whether a stamp is later than S3's clock allows for this version."""
    return at > latest_stamp(version)


def settled(version: Version, moment: int) -> bool:
    """Returns whether everything this version can be, even a scan, was over at `moment`, so that it
    counts then."""
    return scan_interval(0, latest_stamp(version)).seen <= moment


def written_by(version: Version, moment: int) -> bool:
    """Returns whether S3's clock allows that this version was written by `moment`."""
    return version.written <= moment + SKEW


def readable(moment: int) -> int:
    """Returns the last second whose changes are all expected to be readable from their stream at
    `moment` of another clock."""
    return moment - SETTLE - SKEW


def quiet(first: int, latest: Sequence[int]) -> int:
    """Returns the last second of which an open shard is expected to have nothing left, when every
    read since the one answered in the second `first` of AWS's clock was empty; NEVER when these are
    not enough. `latest` has seconds before the latest of these reads, at most QUIET_READS. AWS
    documents no bound, so this is an assumption (`docs/format.md`, "Coverage")."""
    began = min(latest[0], latest[-1] - QUIET)
    return readable(began) if len(latest) == QUIET_READS and first <= began else NEVER


def may_be_trimmed(read: int, now: int) -> bool:
    """Returns whether a stream that was read up to the second `read` may have removed later records
    by `now`."""
    return now - read > RETENTION - SKEW


def oldest_kept(seconds: int, now: int) -> int:
    """Returns the earliest moment of which, at `now`, every version still exists in a bucket that
    keeps superseded versions for so many seconds: the version of a moment is superseded by a change
    that happened later, and S3 counts from the second in which it wrote that change."""
    return now - seconds + SKEW


def superseded_from(moment: int) -> int:
    """Returns the earliest second, by the clock that retention is counted with, in which a version
    written at or after `moment` of another clock can have been superseded."""
    return moment - 2 * SKEW


def in_order_from(ended: int) -> int:
    """Returns the first moment whose version was certainly on top when it was superseded, where a
    pass that ended at `ended` put every item in order."""
    return ended + 2 * SKEW + 1


def delivered_by(floor: int) -> int:
    """Returns the last second in which a change stamped before `floor` can be written, unless its
    writer announces it."""
    return floor + SKEW + LATE


def written_until(answered: int) -> int:
    """Returns the last second in which a backfill that ended at `answered` can have written."""
    return answered + BUDGET


def late_hour(hour: int, seconds: int, floor: int) -> Interval | None:
    """Returns when versions stamped before `floor` can have been written after it, where so many
    seconds are announced for the hour that begins in this second; None when they cannot."""
    written = Interval(max(hour - SKEW, floor), hour + HOUR + SKEW)
    return written if hour - SKEW - seconds < floor < written.seen else None


def failed_interval(written: int) -> Interval:
    """Returns the seconds in which the changes of a failed batch can have happened that Lambda gave
    up on at `written`: it reads no older records than a stream keeps."""
    return Interval(written - SKEW - LATE, written + 1 + SKEW)


def tombstone_exists(at: int, now: int, kept: int) -> bool:
    """Returns whether a tombstone stamped at or after `at` certainly still exists at `now`, where
    tombstones are kept for `kept` seconds after they were written."""
    return at - 1 - SKEW + kept > now


def hours_of(first: float, last: float) -> range:
    """Returns the hours, by their first seconds, from that of `first` to that of `last`."""
    return range(int(first // HOUR) * HOUR, int(last) + 1, HOUR)


def rounded_up(seconds: float) -> int:
    """Returns the number of seconds that is announced where so many are needed."""
    return max(LEAST, 1 << (ceil(seconds) - 1).bit_length())


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late versions may have been written, as far as it is on record.

    `announced` holds the largest number of seconds announced for each hour, by its first second.
    `listed` is a second of AWS's clock before the announcements were listed: nothing is known about
    what was written after it. `redriven` is the largest lateness recorded by a redrive of a release
    that did not announce. `announces` says that every writer of the stream announces; the others
    are bounded by LATE.
    """

    announced: Mapping[int, int] = field(default_factory=dict)
    listed: int = FOREVER
    redriven: int = 0
    announces: bool = False
    _widest: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        widest = max(self.announced.values(), default=0)
        object.__setattr__(self, "_widest", SKEW + LATE + max(self.redriven, widest))

    def of_stream(self, *, announces: bool) -> Self:
        """Returns the same for a stream whose writers announce, or do not."""
        return replace(self, announces=announces)

    def earliest(self, version: Version) -> int:
        """Returns the earliest second that the stamp of this version can hold, by what its writer
        announced. It serves only to pass a version over (`docs/format.md`, "Contradictions")."""
        if not self.announces:
            return self.surely_earliest(version)
        written = version.written
        if written >= self.listed - SKEW:
            return NEVER
        hours = hours_of(written - SKEW, written + SKEW)
        announced = (self.announced.get(hour, 0) for hour in hours)
        return written - SKEW - max(NORMAL, *announced)

    def surely_earliest(self, version: Version) -> int:
        """Returns the earliest second that the stamp of this version can hold, whether or not its
        writer announced it: a tombstone can be believed unread, and a content that is written last
        can be taken for the latest, only by this bound."""
        if version.written >= self.listed - SKEW:
            return NEVER
        return version.written - self._widest

    def may_matter(self, version: Version, moment: int) -> bool:
        """Returns whether the stamp of this version can be at or before `moment`."""
        return self.earliest(version) <= moment

    def contradicts(self, version: Version, at: int) -> bool:
        """Returns whether a version stamped `at` was written later than its writer announced."""
        return at < self.earliest(version)
