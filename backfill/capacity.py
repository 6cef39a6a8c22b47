"""How much of a table's read capacity a backfill may use, shared among its segments in whatever processes they are scanned."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized


class Capacity:
    """A budget of `units` read capacity units a second; None is no limit. Fed with what each page says it consumed.

    It can be handed to a process that is being spawned. `clock` must be one for all of them, as the monotonic one is: since
    the machine was started (Linux: CLOCK_MONOTONIC, macOS: mach_absolute_time).
    """

    def __init__(self, units: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._clock = clock
        self._free_at: Synchronized[float] | None = get_context("spawn").Value("d", clock()) if units else None

    def spend(self, consumed: float) -> float:
        """Books a page's ConsumedCapacity; the seconds its segment must wait before the next."""
        if not self._units or self._free_at is None:
            return 0.0
        with self._free_at.get_lock():
            now = self._clock()
            self._free_at.value = max(self._free_at.value, now) + consumed / self._units
            return self._free_at.value - now
