"""The rule of time: how the second at which something happened relates to the seconds that AWS's
clocks reported.

Every margin of the project is defined here, and only the functions of this module compute with one.
They answer what the rest of the code asks about a version that has only been listed, so that its
stamp is not known yet:

    stamp ≤ written + SKEW                     nothing is written before it happened
    stamp ≥ written - SKEW - LATE - lateness   a stream keeps a record for 24 hours

`lateness` is the number of seconds by which a version may have been written later than a stream
delivers: a redrive of old batches records it before it writes. Seconds are whole epoch seconds,
UTC.
"""

from typing import NamedTuple

from stream_backup.core.version import Version

SKEW = 5
"""Seconds by which the clocks of two AWS services may differ: a stamp may be this far ahead of S3's
clock."""

LATE = 24 * 3600 + 15 * 60
"""Seconds a streamed change may be written after it happened: retention of the stream (Amazon
DynamoDB Developer Guide, "Change data capture for DynamoDB Streams") and the longest run of a
function that read it in the last second."""

MARGIN = 5
"""Seconds by which the interval of a scan is widened on both sides, against skew between AWS's
clocks. Widening is always safe."""

SETTLE = 2
"""Seconds after which a change is expected to be readable from its stream."""

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
    stream switched on.

    The record holds the end of a scan interval; the same distance again allows for the skew of the
    clocks.
    """
    return answered - 2 * (scan_interval(0, 0).seen)


def latest_stamp(version: Version) -> int:
    """Returns the latest second that the stamp of this version can hold."""
    return version.written + 1 + SKEW


def earliest_stamp(version: Version, lateness: int = 0) -> int:
    """Returns the earliest second that the stamp of this version can hold."""
    return version.written - SKEW - LATE - lateness


def may_matter(version: Version, moment: int, lateness: int = 0) -> bool:
    """Returns whether the stamp of this version can be at or before `moment`."""
    return earliest_stamp(version, lateness) <= moment


def settled(version: Version, moment: int) -> bool:
    """Returns whether everything this version can be, even a scan, was over at `moment`, so that it
    counts then."""
    return scan_interval(0, latest_stamp(version)).seen <= moment


def written_by(version: Version, moment: int) -> bool:
    """Returns whether S3's clock allows that this version was written by `moment`."""
    return version.written <= moment + SKEW


def lateness_of(at: int, written: int) -> int:
    """Returns the lateness to record before a change stamped `at` is written at `written`; 0 when a
    stream could have delivered it then."""
    return max(0, written - at - LATE)


def readable(moment: int) -> int:
    """Returns the last second whose changes are all expected to be readable from their stream at
    `moment`."""
    return moment - SETTLE
