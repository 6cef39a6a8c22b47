"""How much of a table's read capacity a backfill may use, shared among its segments."""

import time
from collections.abc import Callable
from threading import Lock


class Capacity:
    """A budget of `units` read capacity units a second; None is no limit. Fed with what each page says it consumed."""

    def __init__(self, units: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._clock = clock
        self._lock = Lock()
        self._free_at = clock()

    def spend(self, consumed: float) -> float:
        """Books a page's ConsumedCapacity; the seconds its segment must wait before the next."""
        if not self._units:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + consumed / self._units
            return self._free_at - now
