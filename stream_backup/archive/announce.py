"""Announces what is written late, so that a reader of a recent moment need not expect every version
written since to be old.

A writer that puts a version more than minutes after its change first puts a record of how late it
is, for every hour in which the put may be done (`docs/format.md`, "Late changes"). Without the
record there is no put. When nothing is late, this costs a look at the clock before a put and one
after it.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from stream_backup.archive.store import Attempts, once
from stream_backup.core.announcement import (
    NO_PERMIT,
    announcement,
    hours_between,
    hours_of_put,
    is_late,
    late_announcement,
    permit,
    timely,
    took_too_long,
)
from stream_backup.core.moment import from_iso, iso

Result = TypeVar("Result")

_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)/([1-9]\d*)")


def record_of(hour: int, seconds: int) -> tuple[str, dict[str, Any]]:
    """Returns the name under `meta/late/` and the content of the record that versions written in
    the hour that begins in this second may be so many seconds late. Writers that announce the same
    write the same record."""
    return f"{iso(hour)[:13]}/{seconds}", {"hour": iso(hour), "seconds": seconds}


def announced(name: str) -> tuple[int, int]:
    """Returns the hour and the seconds of the record with this name. Raises ValueError."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError("its name does not say how late versions of which hour may be")
    return from_iso(f"{found[1]}:00:00Z"), int(found[2])


class Announcer:
    """Announces for the writers of one table in this process.

    `record` writes the announcement of some seconds for an hour, given by its first second. `clock`
    is AWS's clock in epoch seconds. Each hour is announced once for as many seconds as are needed,
    which is known only after its record was written. A put that `attempts` makes again is announced
    again: how late it is depends on when it begins. Thread-safe: two threads may write the same
    record, which is harmless.
    """

    def __init__(
        self,
        record: Callable[[int, int], None],
        clock: Callable[[], float],
        attempts: Attempts = once,
    ) -> None:
        self._record = record
        self._clock = clock
        self._attempts = attempts
        self._announced: dict[int, int] = {}
        self._permit = NO_PERMIT  # what the last call of prepare found

    def put(self, at: int, put: Callable[..., Result], *arguments: object) -> Result:
        """Returns `put(*arguments)`, a put of a version stamped `at`, once it is announced if it is
        late. Whatever the put or a record raises is raised, after as many attempts as are made."""
        if self._attempts is once:  # the function makes no closure for each of its puts
            return self._put(at, put, *arguments)
        return self._attempts("S3 PutObject", lambda: self._put(at, put, *arguments))

    def _put(self, at: int, put: Callable[..., Result], *arguments: object) -> Result:
        clock = self._clock
        began = clock()
        oldest, since, until = self._permit
        if at < oldest or not since <= began < until:
            began = self.prepare(at)
        try:
            return put(*arguments)
        finally:
            if took_too_long(began, ended := clock()):
                seconds = late_announcement(at, ended)
                for hour in hours_between(began, ended):
                    self._announce(hour, seconds)

    def prepare(self, at: int) -> float:
        """Announces puts of versions stamped `at` or later that start now, and returns the time at
        which everything was announced. The records take time themselves, so the clock is read again
        until nothing is left to announce."""
        while is_late(at, now := self._clock()):
            seconds = announcement(at, now)
            missing = [hour for hour in hours_of_put(now) if self._lacks(hour, seconds)]
            if not missing:
                self._permit = permit(at, now)
                return now
            for hour in missing:
                self._announce(hour, seconds)
        self._permit = timely(at, now)
        return now

    def _lacks(self, hour: int, seconds: int) -> bool:
        return self._announced.get(hour, 0) < seconds

    def _announce(self, hour: int, seconds: int) -> None:
        if self._lacks(hour, seconds):
            self._record(hour, seconds)
            self._announced[hour] = max(seconds, self._announced.get(hour, 0))
