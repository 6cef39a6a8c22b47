"""What a DescribeTable answer implies for an estimate: capacity, index writes, shards."""

from math import ceil
from typing import Any

from stream_backup.aws.capacity import NEW_READ, NEW_WRITE, READ_SHARE
from stream_backup.estimate.facts import WARMEST, TableCapacity
from stream_backup.estimate.rates import GB
from stream_backup.estimate.sizes import Sizes

PARTITION = 10 * GB
"""Bytes that one partition holds. Each partition has a shard in the stream (Amazon DynamoDB
Developer Guide, "Partitions and data distribution")."""

PARTITION_READ, PARTITION_WRITE = 3000, 1000
"""Units per second that one partition supports (the same page)."""

_READ, _WRITE = "ReadCapacityUnits", "WriteCapacityUnits"


def index_units(found: dict[str, Any], sizes: Sizes) -> float:
    """Returns the mean number of write units that an item consumes in the table's indexes.

    `found` is `Table` of a DescribeTable answer.
    """
    items = int(found.get("ItemCount") or 0)
    indexes = [
        *(found.get("GlobalSecondaryIndexes") or ()),
        *(found.get("LocalSecondaryIndexes") or ()),
    ]
    return sum((_units_of(index, items, sizes) for index in indexes), 0.0)


def _units_of(index: dict[str, Any], items: int, sizes: Sizes) -> float:
    count, size = int(index.get("ItemCount") or 0), int(index.get("IndexSizeBytes") or 0)
    share = min(1.0, count / items) if count and items else 1.0
    has_all_attributes = index["Projection"].get("ProjectionType", "ALL") == "ALL"
    if has_all_attributes or not count:
        return share * sizes.units
    return share * Sizes.of_mean(size / count).units


def capacity_of(found: dict[str, Any]) -> TableCapacity:
    """Returns the units that a backfill can read and that a new table of this kind can write.

    `found` is `Table` of a DescribeTable answer.
    """
    if _is_on_demand(found):
        return _on_demand(found)
    given = found["ProvisionedThroughput"]
    every = [
        given,
        *(index["ProvisionedThroughput"] for index in found.get("GlobalSecondaryIndexes") or ()),
    ]
    return TableCapacity(
        on_demand=False,
        read=given[_READ] * READ_SHARE or None,
        write=given[_WRITE] or None,
        hourly_read=sum(each[_READ] for each in every),
        hourly_write=sum(each[_WRITE] for each in every),
    )


def _on_demand(found: dict[str, Any]) -> TableCapacity:
    limits = found.get("OnDemandThroughput") or {}
    warm = (found.get("WarmThroughput") or {}).get("ReadUnitsPerSecond") or NEW_READ
    read = limits.get("MaxReadRequestUnits", -1)
    write = limits.get("MaxWriteRequestUnits", -1)
    return TableCapacity(
        on_demand=True,
        read=min(warm, read) if read > 0 else warm,
        write=min(NEW_WRITE, write) if write > 0 else NEW_WRITE,
        warmest=min(WARMEST, write) if write > 0 else WARMEST,
    )


def shards_of(found: dict[str, Any], size: float) -> int:
    """Returns the number of open shards of the stream: one for each partition.

    `found` is `Table` of a DescribeTable answer, `size` the size of the table in bytes.
    """
    for_size = ceil(size / PARTITION)
    if _is_on_demand(found):
        return max(NEW_WRITE // PARTITION_WRITE, for_size)
    given = found["ProvisionedThroughput"]
    load = int(given[_READ]) / PARTITION_READ + int(given[_WRITE]) / PARTITION_WRITE
    return max(1, ceil(load), for_size)


def _is_on_demand(found: dict[str, Any]) -> bool:
    return bool(found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST")
