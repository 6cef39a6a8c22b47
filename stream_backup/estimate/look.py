"""Looks up what an estimate starts from: the table's capacity and indexes, its writes in CloudWatch, the deployed stack.

Nothing but the table has to be there. What cannot be looked up is assumed, and said among the assumptions.
"""

import os
from math import ceil
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.archive import Location
from stream_backup.change import metadata_size
from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.estimate.facts import Capacity, Function
from stream_backup.estimate.rates import GB, MONTH, READ_SHARE
from stream_backup.estimate.sizes import Sizes
from stream_backup.item import digest
from stream_backup.mapping import BATCH, WINDOW
from stream_backup.stack import Stack
from stream_backup.stamp import Stamp

DAYS = 14
"""Of writes looked at in CloudWatch."""

MEMORY = 512
"""Megabytes of the function, as the template has it."""

NEW_READ, NEW_WRITE = 12_000, 4_000
"""Units a second that an on-demand table takes from its first day (Amazon DynamoDB Developer Guide, "DynamoDB on-demand
capacity mode", "Initial throughput and scaling properties")."""

PARTITION = 10 * GB
PARTITION_READ, PARTITION_WRITE = 3000, 1000
"""What one partition holds and takes (Amazon DynamoDB Developer Guide, "Partitions and data distribution"); each has a shard."""

MOST_WORKERS, SMALL = 8, 100_000
"""Processes that `backfill` scans in unless told otherwise, on however many cores; and the rows up to which it takes one."""

_BRIEF = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})


def index_units(found: dict[str, Any], sizes: Sizes) -> float:
    """Write units an item takes in the table's indexes, on average."""
    whole, units = int(found.get("ItemCount") or 0), 0.0
    for index in [*(found.get("GlobalSecondaryIndexes") or ()), *(found.get("LocalSecondaryIndexes") or ())]:
        count, size = int(index.get("ItemCount") or 0), int(index.get("IndexSizeBytes") or 0)
        share = min(1.0, count / whole) if count and whole else 1.0
        everything = index["Projection"].get("ProjectionType", "ALL") == "ALL"
        units += share * (sizes.units if everything or not count else Sizes.of_mean(size / count).units)
    return units


def capacity_of(found: dict[str, Any]) -> Capacity:
    """What the table gives a backfill, and a table made like it takes."""
    if found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        most = found.get("OnDemandThroughput") or {}
        warm = (found.get("WarmThroughput") or {}).get("ReadUnitsPerSecond") or NEW_READ
        read, write = most.get("MaxReadRequestUnits", -1), most.get("MaxWriteRequestUnits", -1)
        return Capacity(True, min(warm, read) if read > 0 else warm, min(NEW_WRITE, write) if write > 0 else NEW_WRITE)
    given = found["ProvisionedThroughput"]
    read, write = given["ReadCapacityUnits"], given["WriteCapacityUnits"]
    every = [given, *(index["ProvisionedThroughput"] for index in found.get("GlobalSecondaryIndexes") or ())]
    hourly = [sum(each[name] for each in every) for name in ("ReadCapacityUnits", "WriteCapacityUnits")]
    return Capacity(False, read * READ_SHARE or None, write or None, *hourly)


def shards_of(found: dict[str, Any], capacity: Capacity, size: float) -> int:
    """Shards of the stream, by the partitions a table of this kind has."""
    if capacity.on_demand:
        return max(NEW_WRITE // PARTITION_WRITE, ceil(size / PARTITION))
    given = found["ProvisionedThroughput"]
    load = int(given["ReadCapacityUnits"]) / PARTITION_READ + int(given["WriteCapacityUnits"]) / PARTITION_WRITE
    return max(1, ceil(load), ceil(size / PARTITION))


def changes_of(connection: Connection, found: dict[str, Any], now: int, sizes: Sizes) -> float | None:
    """Changes in a month, by the write units of the last days; None where CloudWatch says nothing."""
    client = connection.session.client("cloudwatch", config=_BRIEF)
    since = max(now - DAYS * 86400, int(found.get("CreationDateTime", 0)))
    try:
        answer = client.get_metric_statistics(
            Namespace="AWS/DynamoDB",
            MetricName="ConsumedWriteCapacityUnits",
            Dimensions=[{"Name": "TableName", "Value": found["TableName"]}],
            StartTime=now - DAYS * 86400,
            EndTime=now,
            Period=86400,
            Statistics=["Sum"],
        )
    except (ClientError, BotoCoreError):
        return None
    points = [point["Sum"] for point in answer.get("Datapoints", [])]
    return sum(points) / sizes.units * MONTH / max(now - since, 3600) if points else None


def function_of(connection: Connection) -> tuple[Function, Stack | None]:
    """The function as it is deployed, or as the template would deploy it; and the stack, None where none is found."""
    settings: dict[str, int] = {}
    memory, stack = MEMORY, None
    try:
        stack = connection.stack
        if stack:
            settings = dict(stack.settings)
            client = connection.session.client("lambda", config=_BRIEF)
            memory = int(client.get_function_configuration(FunctionName=stack.function)["MemorySize"])
    except (ClientError, BotoCoreError, UsageError):
        pass  # operators estimate before there is a stack, and need not be allowed to look at one
    batch, window = settings.get("BatchSize", BATCH), settings.get("MaximumBatchingWindowInSeconds", WINDOW)
    return Function(batch, window, settings.get("ParallelizationFactor", 1), memory), stack


def overhead_of(archive: str | None, table: str) -> int:
    """Bytes that S3 counts for a version beside its body: its name and its metadata (Amazon S3 FAQs, "Billing")."""
    stamp = Stamp(at=10**9, sequence=10**20, seen=10**9, kind="modify", before=digest(b""))
    prefix = Location.parse(archive).prefix if archive else ""
    return len(f"{prefix}{table}/".encode()) + len(digest(b"")) + metadata_size(stamp.metadata())


def workers_here(items: int) -> int:
    """Processes that `backfill` would take for so many on this machine."""
    if items <= SMALL:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_WORKERS)
