"""A limit of items a second, shared by the threads that write, or by several processes."""

import time
from dataclasses import dataclass, field
from threading import Event, Lock

from stream_backup.aws.capacity import WriteBudget


@dataclass(slots=True)
class Pace:
    """At most `rate` items a second, None for no limit. Nobody waits once `stop` is set.
    Thread-safe."""

    rate: float | None = None
    stop: Event = field(default_factory=Event)
    _free_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def wait(self, items: int = 1) -> None:
        """Waits until so many items may be written."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            wait = self._free_at - now
            self._free_at = max(self._free_at, now) + items / self.rate
        if wait > 0:
            self.stop.wait(wait)


@dataclass(frozen=True, slots=True)
class SharedPace:
    """The same limit for all processes that have this `budget`."""

    budget: WriteBudget
    stop: Event

    def wait(self, items: int = 1) -> None:
        """Waits until so many items may be written."""
        wait = self.budget.spend(items) - self.budget.alone(items)
        if wait > 0:
            self.stop.wait(wait)
