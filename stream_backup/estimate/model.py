"""The arithmetic: facts about a table → requests, capacity and seconds of a backfill, a month of capture and a restore.

Requests are those that the code sends, one by one; `rates` has the numbers it reckons with.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from stream_backup.archive import SHARDS
from stream_backup.estimate import rates
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.sizes import KB


@dataclass(frozen=True, slots=True)
class Part:
    """Counts by name of request and of capacity, and what is paid by name of price. `limit` says what takes the time,
    `stored` are bytes added to the archive."""

    requests: dict[str, float]
    capacity: dict[str, float]
    priced: dict[str, float]
    seconds: float = 0.0
    limit: str = ""
    stored: float = 0.0


def pages(total: float, parts: int, page: float, spread: float = 1.0) -> float:
    """Requests to page through `total` that lies in so many parts by chance, in lumps of `spread`: one a part at least."""
    mean = total / parts
    if not mean:
        return parts
    share = NormalDist(mean, sqrt(mean * spread))
    first = max(1, int((mean - 6 * share.stdev) / page))
    last = ceil((mean + 6 * share.stdev) / page)
    return parts * (first + sum(1 - share.cdf(number * page) for number in range(first, last + 1)))


def backfill(facts: Facts) -> Part:
    """One PUT an item, one PUT a page to keep how far it is; a page is 1 rates.MB or less, charged by the started 4 KB."""
    size, items = facts.sizes, facts.items
    scans = pages(items * size.mean, rates.SEGMENTS * facts.workers, rates.MB - size.spread / 2, size.spread)
    read = items * size.mean / (4 * KB) + scans / 2
    puts = items + scans + rates.BACKFILL_META["PUT"]
    seconds, limit = _slowest(
        {
            "this program": items / (rates.BACKFILL_RATE * facts.workers),
            "S3, which takes 3,500 PUT a second of a prefix at first": items / rates.S3_PUTS,
            "the table's read capacity": read / facts.capacity.read if facts.capacity.read else 0.0,
            "the network": items * max(size.mean, facts.version) / rates.BANDWIDTH,
        }
    )
    return Part(
        requests={"PUT": puts, "LIST": rates.BACKFILL_META["LIST"], "GET": rates.BACKFILL_META["GET"], "Scan": scans},
        capacity={"RCU": read},
        priced={
            "s3-put": puts,
            "s3-list": rates.BACKFILL_META["LIST"],
            "s3-get": rates.BACKFILL_META["GET"],
            "dynamodb-read": read * facts.capacity.on_demand,
        },
        seconds=seconds,
        limit=limit,
        stored=items * facts.version,
    )


def capture(facts: Facts) -> Part:
    """A month of changes that come evenly: one PUT each, and a call for as many as come within the window after the first."""
    changes, function = facts.changes or 0.0, facts.function
    each = changes / rates.MONTH / (facts.shards * function.factor)
    most = max(1.0, rates.PAYLOAD / (2 * facts.sizes.body + KB))  # a record holds both images
    together = min(float(function.batch), most, 1 + each * function.window)
    calls = changes / together
    busy = calls * rates.CALL_SECONDS + changes * rates.CHANGE_SECONDS
    return Part(
        requests={"PUT": changes, "Lambda": calls},
        capacity={"rates.GB-s": busy * function.memory / KB},
        priced={
            "s3-put": changes,
            "lambda-requests": calls,
            "lambda-seconds": busy * function.memory / KB,
            "cloudwatch-metrics": rates.METRICS,
            "cloudwatch-logs": calls * rates.CALL_LOG / rates.GB,
        },
        seconds=function.window + rates.CALL_SECONDS + together * rates.CHANGE_SECONDS,
        stored=changes * facts.version,
    )


def restore(facts: Facts, *, to_file: bool) -> Part:
    """One GET an item; one LIST for 1,000 versions, of each shard by itself; into a table 25 items a request."""
    size, items, capacity = facts.sizes, facts.items, facts.capacity
    lists = pages(facts.versions, len(SHARDS), rates.LISTED) + rates.RESTORE_META["LIST"]
    gets = items + rates.RESTORE_META["GET"]
    times = {
        "this program": items / (rates.FILE_RATE if to_file else rates.TABLE_RATE),
        "the listing of versions": facts.versions / rates.LISTING_RATE,
        "the network": items * max(size.mean, facts.version) / rates.BANDWIDTH,
    }
    priced = {"s3-list": lists, "s3-get": gets}
    if to_file:
        seconds, limit = _slowest(times)
        return Part({"LIST": lists, "GET": gets}, {}, priced, seconds, limit)
    units = items * size.units
    if capacity.write:
        times["the new table's write capacity"] = units / capacity.write
    seconds, limit = _slowest(times)
    hours = ceil(seconds / 3600)
    return Part(
        requests={"LIST": lists, "GET": gets, "BatchWriteItem": ceil(items / rates.BATCH)},
        capacity={"WCU": units + items * facts.index_units},
        priced=priced
        | {
            "dynamodb-write": (units + items * facts.index_units) * capacity.on_demand,
            "dynamodb-read-hours": hours * capacity.hourly_read,
            "dynamodb-write-hours": hours * capacity.hourly_write,
        },
        seconds=seconds,
        limit=limit,
    )


def storage(facts: Facts, months: int) -> float:
    """Bytes that S3 keeps when so many months are over."""
    return (facts.items + (facts.changes or 0.0) * months) * facts.version


def _slowest(times: dict[str, float]) -> tuple[float, str]:
    limit = max(times, key=lambda name: times[name])
    return times[limit], limit
