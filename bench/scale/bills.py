"""The bill of stream-backup next to those of AWS's own backups, day by day."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, exp

from stream_backup.aws.capacity import NEW_READ, NEW_WRITE
from stream_backup.capture.mapping import BATCH, WINDOW
from stream_backup.estimate import model
from stream_backup.estimate.facts import Facts, Function, TableCapacity
from stream_backup.estimate.lookup import MEMORY, overhead_of
from stream_backup.estimate.rates import CALL_SECONDS, GB, LISTED
from stream_backup.estimate.sizes import Sizes
from stream_backup.estimate.table import PARTITION, PARTITION_WRITE

ITEM = 1000
"""Bytes of an item in the table."""

MONTH, YEAR = 30, 365
"""Days."""

HORIZON = 10 * YEAR
"""Days that are compared."""

KEPT = 35
"""Days for which PITR keeps changes at most, and for which daily backups are kept here."""

LOOKS = 21 * 12 * 24
"""LIST requests of the watcher for one table in a day (README.md, "What it costs"). Once a day it
also lists every version."""

Prices = dict[str, float]
Bill = Callable[[int], float]
"""What a day costs in US dollars, by its number from 0."""


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of table: its size in GB, which stays the same, and its changes per month."""

    name: str
    gigabytes: float
    changes: float

    def facts(self) -> Facts:
        """Returns what `estimate` would find out about the table."""
        return Facts(
            items=round(self.gigabytes * GB / ITEM),
            sizes=Sizes.of_mean(ITEM),
            changes=self.changes,
            capacity=TableCapacity(True, NEW_READ, NEW_WRITE),
            function=Function(BATCH, WINDOW, factor=1, memory=MEMORY),
            shards=max(NEW_WRITE // PARTITION_WRITE, ceil(self.gigabytes * GB / PARTITION)),
            overhead=overhead_of(None, "orders"),
        )


TABLES = (
    Table("10 GB, hot", 10, 100e6),
    Table("1 TB, slow", 1024, 10e6),
    Table("1 TB, hot", 1024, 1e9),
)


BACKFILLED, PUTS, FUNCTION = "backfill", "PUT of changes", "function, logs, metrics"
STORED, WATCHED = "storage", "daily listing and watcher"


def parts(table: Table, prices: Prices, kept: int = HORIZON) -> Callable[[int], dict[str, float]]:
    """Returns what each part of stream-backup costs on a day, by its name.

    History is kept for `kept` days (`NoncurrentDays`). The backfill is on day 0.
    """
    facts = table.facts()
    once, month = _cost(model.backfill(facts).priced, prices), model.capture(facts).priced
    puts = month.pop("s3-put") * prices["s3-put"] / MONTH
    called, changed = _cost(month, prices) / MONTH, table.changes / MONTH

    def day(number: int) -> dict[str, float]:
        versions = facts.items + changed * min(number + 1, kept)
        return {
            BACKFILLED: 0.0 if number else once,
            PUTS: puts,
            FUNCTION: called,
            STORED: versions * facts.version / GB * prices["s3-storage"] / MONTH,
            WATCHED: (LOOKS + versions / LISTED) * prices["s3-list"],
        }

    return day


def ours(table: Table, prices: Prices, kept: int = HORIZON) -> Bill:
    """Returns the bill of stream-backup; see `parts`."""
    day = parts(table, prices, kept)
    return lambda number: sum(day(number).values())


def _cost(priced: dict[str, float], prices: Prices) -> float:
    return sum(count * prices[name] for name, count in priced.items())


def pitr(table: Table, prices: Prices) -> Bill:
    """Returns the bill of point-in-time recovery: every second of the last 35 days."""
    return lambda _: table.gigabytes * prices["pitr"] / MONTH


def daily(table: Table, prices: Prices) -> Bill:
    """Returns the bill of a daily backup that is kept for 35 days: each is a full copy."""
    each = table.gigabytes * prices["native-backup"] / MONTH
    return lambda number: min(number + 1, KEPT) * each


def monthly(table: Table, prices: Prices) -> Bill:
    """Returns the bill of PITR, and of a backup each month that is kept forever by AWS Backup: for
    a month in warm storage, and then in cold storage."""
    warm, cold = prices["native-backup"], prices["cold-backup"]
    every = pitr(table, prices)
    return lambda number: (
        every(number) + table.gigabytes * (warm + cold * (number // MONTH)) / MONTH
    )


OTHERS: dict[str, Callable[[Table, Prices], Bill]] = {
    "PITR": pitr,
    "daily backups, kept 35 days": daily,
    "PITR, and monthly backups kept in AWS Backup": monthly,
}


def total(bill: Bill, days: int) -> float:
    """Returns the sum of a bill over so many days, from the first."""
    return sum(map(bill, range(days)))


def cheaper(bill: Bill, other: Bill) -> tuple[int, int] | None:
    """Returns the days, from 1, from and until which `bill` costs less than `other` in sum. The
    second is HORIZON if that lasts; None if there is no such day."""
    days = range(HORIZON)
    sums = zip(accumulate(map(bill, days)), accumulate(map(other, days)), strict=True)
    found = [number + 1 for number, (mine, theirs) in enumerate(sums) if mine < theirs]
    return (found[0], found[-1]) if found else None


BATCH_SECONDS = WINDOW + CALL_SECONDS
"""Seconds of changes in a batch, at least: those of the window, and of the call before it."""


def written(rate: float, batch: float = BATCH_SECONDS, seconds: int = 1000) -> float:
    """Returns the share of an item's changes that are written with `KeepEveryChange=false`.

    The item changes at random, `rate` times per second. In each second of each batch, only the last
    change is written. A batch holds the changes of `batch` seconds.
    """
    cuts = {float(second) for second in range(seconds + 1)}
    cuts |= {number * batch for number in range(int(seconds / batch) + 1)}
    ordered = sorted(cuts)
    lengths = [end - start for start, end in pairwise(ordered)]
    return sum(1 - exp(-rate * length) for length in lengths) / (rate * seconds)
