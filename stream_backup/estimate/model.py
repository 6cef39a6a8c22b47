"""The calculation: facts about a table → requests, capacity, duration of each operation.

The operations are a backfill, a month of capture, and a restore. Requests are those that the
code sends, counted one by one.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt
from statistics import NormalDist

from backfill.run import SEGMENTS
from restore.writer import BATCH
from stream_backup.archive.slices import SLICES
from stream_backup.aws.capacity import NEW_WRITE
from stream_backup.estimate import rates
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.sizes import KB


@dataclass(frozen=True, slots=True)
class Part:
    """The estimate of one operation.

    `requests` and `capacity` are counts by name of request and by unit of capacity. `priced` are
    counts by name of price. `limit` names what determines the duration, empty if nothing is
    compared. `stored` is the number of bytes that the operation adds to the archive.
    """

    requests: dict[str, float]
    capacity: dict[str, float]
    priced: dict[str, float]
    seconds: float = 0.0
    limit: str = ""
    stored: float = 0.0


def pages(total: float, parts: int, page: float, spread: float = 1.0) -> float:
    """Returns the expected number of requests to read `total` page by page, at least one a part.

    `total` is distributed randomly over `parts`, in units of the size `spread`.
    """
    mean = total / parts
    if not mean:
        return parts
    share = NormalDist(mean, sqrt(mean * spread))
    first = max(1, int((mean - 6 * share.stdev) / page))
    last = ceil((mean + 6 * share.stdev) / page)
    return parts * (first + sum(1 - share.cdf(number * page) for number in range(first, last + 1)))


def backfill(facts: Facts) -> Part:
    """Estimates a backfill: one PUT for each item, and one for the checkpoint of each page.

    A page holds 1 MB at most, and its read units are rounded up.
    """
    size, items, meta = facts.sizes, facts.items, rates.BACKFILL_META
    scans = pages(
        items * size.mean, SEGMENTS * facts.workers, rates.MB - size.spread / 2, size.spread
    )
    read = items * size.mean / (4 * KB) + scans / 2
    puts = items + scans + meta["PUT"]
    prefix_limit = f"the {rates.S3_PUTS:,} PUT requests per second that S3 accepts at first"
    seconds, limit = _slowest(
        {
            "the speed of this program": items / (rates.BACKFILL_RATE * facts.workers),
            prefix_limit: items / rates.S3_PUTS,
            "the table's read capacity": read / facts.capacity.read if facts.capacity.read else 0.0,
            "the network": items * max(size.mean, facts.version) / rates.BANDWIDTH,
        }
    )
    return Part(
        requests={"PUT": puts, "LIST": meta["LIST"], "GET": meta["GET"], "Scan": scans},
        capacity={"RCU": read},
        priced={
            "s3-put": puts,
            "s3-list": meta["LIST"],
            "s3-get": meta["GET"],
            "dynamodb-read": read * facts.capacity.on_demand,
        },
        seconds=seconds,
        limit=limit,
        stored=items * facts.version,
    )


def capture(facts: Facts) -> Part:
    """Estimates a month of capture: one PUT for each change, and one call for each batch.

    Changes arrive evenly. A batch holds what arrives in the batching window after its first
    change. `seconds` is the time from a change until it is in the archive.
    """
    changes, function = facts.changes or 0.0, facts.function
    each = changes / rates.MONTH / (facts.shards * function.factor)
    most = max(1.0, rates.PAYLOAD / (2 * facts.sizes.body + KB))  # a record holds both images
    together = min(float(function.batch), most, 1 + each * function.window)
    calls = changes / together
    busy = calls * rates.CALL_SECONDS + changes * rates.CHANGE_SECONDS
    gigabyte_seconds = busy * function.memory / KB
    return Part(
        requests={"PUT": changes, "Lambda": calls},
        capacity={"GB-s": gigabyte_seconds},
        priced={
            "s3-put": changes,
            "lambda-requests": calls,
            "lambda-seconds": gigabyte_seconds,
            "cloudwatch-metrics": rates.METRICS,
            "cloudwatch-logs": calls * rates.CALL_LOG / rates.GB,
        },
        seconds=function.window + rates.CALL_SECONDS + together * rates.CHANGE_SECONDS,
        stored=changes * facts.version,
    )


def warm_throughput(facts: Facts) -> int | None:
    """Returns the write units per second with which a new on-demand table does not slow down its
    restore, in thousands, as far as AWS allows; None where it does not do so anyway."""
    capacity = facts.capacity
    if not capacity.on_demand:
        return None
    seconds = restore(replace(facts, capacity=replace(capacity, write=None)), to_file=False).seconds
    needed = facts.items * facts.sizes.units / seconds if seconds else 0.0
    units = min(ceil(needed / 1000) * 1000, capacity.warmest)
    return units if needed > NEW_WRITE and units > NEW_WRITE else None


def warm_restore(facts: Facts, units: int) -> Part:
    """Estimates a restore into a new on-demand table that supports so many write units per second
    at once. AWS charges once for those beyond the usual ones, of the table and of each index."""
    part = restore(replace(facts, capacity=replace(facts.capacity, write=units)), to_file=False)
    warmed = (units - NEW_WRITE) * (1 + facts.indexes)
    priced = part.priced | {"dynamodb-write-hours": warmed}
    return replace(part, priced=priced)


def restore(facts: Facts, *, to_file: bool) -> Part:
    """Estimates a restore: one GET for each item, and one LIST for each page of each slice."""
    items = facts.items
    lists = pages(facts.versions, len(SLICES), rates.LISTED) + rates.RESTORE_META["LIST"]
    gets = items + rates.RESTORE_META["GET"]
    requests, priced = {"LIST": lists, "GET": gets}, {"s3-list": lists, "s3-get": gets}
    times = {
        "the speed of this program": items / (rates.FILE_RATE if to_file else rates.TABLE_RATE),
        "the listing of versions": facts.versions / rates.LISTING_RATE,
        "the network": items * max(facts.sizes.mean, facts.version) / rates.BANDWIDTH,
    }
    if to_file:
        return Part(requests, {}, priced, *_slowest(times))
    return _into_table(facts, requests, priced, times)


def _into_table(
    facts: Facts, requests: dict[str, float], priced: dict[str, float], times: dict[str, float]
) -> Part:
    """Adds the writes to a restore of `requests`, `priced` and `times`."""
    items, capacity = facts.items, facts.capacity
    units = items * facts.sizes.units
    if capacity.write:
        times = times | {"the new table's write capacity": units / capacity.write}
    seconds, limit = _slowest(times)
    hours = ceil(seconds / 3600)
    written = units + items * facts.index_units
    writes = {
        "dynamodb-write": written * capacity.on_demand,
        "dynamodb-read-hours": hours * capacity.hourly_read,
        "dynamodb-write-hours": hours * capacity.hourly_write,
    }
    return Part(
        requests=requests | {"BatchWriteItem": ceil(items / BATCH)},
        capacity={"WCU": written},
        priced=priced | writes,
        seconds=seconds,
        limit=limit,
    )


def storage(facts: Facts, months: int) -> float:
    """Returns the bytes that S3 stores after this number of months."""
    return (facts.items + (facts.changes or 0.0) * months) * facts.version


def _slowest(times: dict[str, float]) -> tuple[float, str]:
    limit = max(times, key=lambda name: times[name])
    return times[limit], limit
