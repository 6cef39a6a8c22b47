"""How much of a table's read capacity a scan may use, shared among its segments in all
processes."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized

from stream_backup.core.records import Live

NEW_READ, NEW_WRITE = 12_000, 4_000
"""Units per second that a new on-demand table takes (Amazon DynamoDB Developer Guide, "DynamoDB
on-demand capacity mode", "Initial throughput and scaling properties")."""

READ_SHARE = 0.5
"""The share of a provisioned table's read capacity that a scan uses by default."""


class ReadBudget:
    """A budget of `units` read capacity units a second, None for no limit. It is told what each
    page consumed.

    It can be passed to a process that is being spawned. `clock` must be the same for all of them,
    as the monotonic clock is: seconds since the machine was started (Linux: CLOCK_MONOTONIC, macOS:
    mach_absolute_time).
    """

    def __init__(self, units: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._units = units
        self._clock = clock
        self._free_at: Synchronized[float] | None = (
            get_context("spawn").Value("d", clock()) if units else None
        )

    def spend(self, consumed: float) -> float:
        """Books a page's ConsumedCapacity and returns the seconds that its segment must wait before
        the next page."""
        if not self._units or self._free_at is None:
            return 0.0
        with self._free_at.get_lock():
            now = self._clock()
            self._free_at.value = max(self._free_at.value, now) + consumed / self._units
            return self._free_at.value - now


def units_of(live: Live, share: float) -> float | None:
    """Returns `share` of a provisioned table's read capacity units a second; None, no limit, for an
    on-demand table."""
    found = live.description
    if found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return None
    return float(found["ProvisionedThroughput"]["ReadCapacityUnits"]) * share or None
