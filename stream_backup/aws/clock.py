"""AWS's clock in a command: read from a `Date` header once in a while, and counted on from there.

The clock of the machine is never believed: how late a version is depends on it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

STEP = 1.0
"""Seconds by which the machine's two clocks may drift apart before AWS is asked again: the machine
was asleep, or somebody set its clock."""

SLOW = 2.0
"""Seconds that an answer may take; the time of one that took longer is asked again."""

TRIES = 3
"""How often the time is asked when answers are slow."""

AGED = 3600.0
"""Seconds after which AWS is asked again anyway."""


class _Asked(NamedTuple):
    aws: float
    wall: float
    steady: float


@dataclass(slots=True)
class AwsClock:
    """Returns AWS's time in epoch seconds when it is called. `ask` reads it from AWS. It is behind
    by less than a second, and ahead by no more than the answer took."""

    ask: Callable[[], int]
    _asked: _Asked | None = field(default=None, init=False)

    def __call__(self) -> float:
        """Returns the time in epoch seconds."""
        asked, wall, steady = self._asked, time.time(), time.monotonic()
        if asked is not None:
            elapsed = steady - asked.steady
            if elapsed < AGED and abs(wall - asked.wall - elapsed) < STEP:
                return asked.aws + elapsed
        self._asked = asked = self._read()
        return asked.aws + time.monotonic() - asked.steady

    def _read(self) -> _Asked:
        for _ in range(TRIES):
            # Taken before the question, so that a slow answer makes the time late, never early.
            wall, steady = time.time(), time.monotonic()
            asked = _Asked(self.ask(), wall, steady)
            if time.monotonic() - steady < SLOW:
                break
        return asked
