"""What a writer announces before it writes late: the half of the rule of time that concerns writers
(`docs/format.md`, "Late changes"). Seconds are epoch seconds, UTC.
"""

from typing import NamedTuple

from stream_backup.core.time_rule import (
    BUDGET,
    FOREVER,
    HOUR,
    NEVER,
    NORMAL,
    SKEW,
    hours_of,
    rounded_up,
)
from stream_backup.core.version import Version


def is_late(at: int, now: float) -> bool:
    """Returns whether a PUT that starts `now` of a version stamped `at` must be announced first."""
    return now + BUDGET - at > NORMAL


def announcement(at: int, now: float) -> int:
    """Returns the number of seconds to announce for such a PUT."""
    return rounded_up(now + BUDGET - at)


class Permit(NamedTuple):
    """Nothing more need be announced for a PUT of a version stamped at or after `at` that starts at
    or after `since` and before `until`."""

    at: int
    since: float
    until: float


NO_PERMIT = Permit(FOREVER, FOREVER, NEVER)


def timely(at: int, now: float) -> Permit:
    """Returns for how long a PUT of a version stamped `at` that starts `now` is not late."""
    return Permit(at, now, at + NORMAL - BUDGET)


def permit(at: int, now: float) -> Permit:
    """Returns for how long `announcement(at, now)` suffices, made for `hours_of_put(now)`."""
    enough = at + announcement(at, now)
    return Permit(at, now, min(enough, hours_of_put(now)[-1] + HOUR) - BUDGET)


def hours_of_put(now: float) -> range:
    """Returns the hours, by their first seconds, in which a PUT that starts `now` may be done."""
    return hours_of(now, now + BUDGET)


def written_by(moment: int) -> int:
    """Returns a second of AWS's clock from which on no version stamped at or before `moment` is
    written, unless it was announced."""
    return moment + NORMAL + 2 * SKEW + 1


def took_too_long(began: float, ended: float) -> bool:
    """Returns whether a PUT took longer than it was announced for."""
    return ended - began > BUDGET


def late_announcement(at: int, ended: float) -> int:
    """Returns the number of seconds to announce after a PUT that took too long, 0 for none."""
    return rounded_up(ended - at) if ended - at > NORMAL else 0


def hours_between(began: float, ended: float) -> range:
    """Returns the hours, by their first seconds, in which such a PUT may have been done."""
    return hours_of(began - SKEW, ended)


def missing(version: Version, at: int) -> tuple[int, int]:
    """Returns the hour, by its first second, and the seconds to announce for a version stamped `at`
    that contradicts its bound."""
    hour = hours_of(version.written, version.written)[0]
    return hour, rounded_up(version.written + 1 + SKEW - at)
