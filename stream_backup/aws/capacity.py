"""How much of a table's capacity a scan or a restore may use, shared among its threads in all
processes."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from threading import Lock

from stream_backup.core.records import Live

NEW_READ, NEW_WRITE = 12_000, 4_000
"""Units per second that a new on-demand table takes (Amazon DynamoDB Developer Guide, "DynamoDB
on-demand capacity mode", "Initial throughput and scaling properties")."""

READ_SHARE = 0.5
"""The share of a provisioned table's read capacity that a scan uses by default."""


class Budget:
    """A budget of `units` a second, None for no limit. It is told what each request consumed.

    It can be passed to a process that is being spawned. `clock` must be the same for all of them,
    as the monotonic clock is: seconds since the machine was started (Linux: CLOCK_MONOTONIC, macOS:
    mach_absolute_time).
    """

    def __init__(self, units: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._clock = clock
        self._free_at: Synchronized[float] | _OneProcess | None = (
            _shared(clock()) if units else None
        )

    def spend(self, consumed: float) -> float:
        """Books what a request consumed and returns the seconds that whoever made it must wait
        before the next one."""
        if not self._units or self._free_at is None:
            return 0.0
        with self._free_at.get_lock():
            now = self._clock()
            self._free_at.value = max(self._free_at.value, now) + consumed / self._units
            return self._free_at.value - now

    def alone(self, consumed: float) -> float:
        """Returns the seconds that the budget needs for so much, if nobody else uses it."""
        return consumed / self._units if self._units else 0.0


class ReadBudget(Budget):
    """A budget of read capacity units: it is told the ConsumedCapacity of each page of a scan."""


class WriteBudget(Budget):
    """A budget of items that are written."""


class _OneProcess:
    """What a `Synchronized` float is, for one process alone."""

    def __init__(self, value: float) -> None:
        self.value = value
        self._lock = Lock()

    def get_lock(self) -> Lock:
        return self._lock


def _shared(value: float) -> "Synchronized[float] | _OneProcess":
    """A float for all processes. Lambda has no shared memory for semaphores (AWS Compute Blog,
    "Parallel Processing in Python with AWS Lambda"), and its functions start no processes."""
    try:
        return get_context("spawn").Value("d", value)
    except (OSError, ImportError):
        return _OneProcess(value)


def units_of(live: Live, share: float) -> float | None:
    """Returns `share` of a provisioned table's read capacity units a second; None, no limit, for an
    on-demand table."""
    found = live.description
    if found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return None
    return float(found["ProvisionedThroughput"]["ReadCapacityUnits"]) * share or None
