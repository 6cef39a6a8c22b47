"""Estimates one table: look up the facts, then calculate."""

from dataclasses import dataclass

from stream_backup.aws.connection import Connection
from stream_backup.aws.table import require
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.lookup import changes_of, function_of, overhead_of
from stream_backup.estimate.measure import measure
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.result import Estimate
from stream_backup.estimate.table import capacity_of, index_units, shards_of
from stream_backup.workers.crew import default_workers


@dataclass(frozen=True, slots=True)
class Given:
    """The values that replace what would be looked up; None to look them up.

    `item_bytes` is the mean size of an item. With `sampling`, one page of items is read.
    """

    items: int | None = None
    item_bytes: int | None = None
    changes_per_month: float | None = None
    versions_per_item: float | None = None
    workers: int | None = None
    months: int = 12
    sampling: bool = True


def run(connection: Connection, table: str, given: Given, prices: Prices) -> Estimate:
    """Estimates `table`. Writes nothing.

    Raises UsageError if there is no such table, or if the number or the size of its items is
    unknown.
    """
    live, now = require(connection.dynamodb, table)
    found = live.description
    measured = measure(
        connection.dynamodb, found, given.items, given.item_bytes, sampling=given.sampling
    )
    items, sizes = measured.items, measured.sizes
    changes = given.changes_per_month
    function, stack = function_of(connection)
    archive_url = connection.archive_url or (stack.archive if stack else None)
    facts = Facts(
        items=items,
        sizes=sizes,
        changes=changes_of(connection, found, now, sizes) if changes is None else changes,
        capacity=capacity_of(found),
        function=function,
        shards=shards_of(found, items * sizes.mean),
        overhead=overhead_of(archive_url, table),
        index_units=index_units(found, sizes),
        indexes=len(found.get("GlobalSecondaryIndexes") or ()),
        months=given.months,
        versions_per_item=given.versions_per_item,
        workers=given.workers or default_workers(items),
    )
    return Estimate(
        table=table,
        region=connection.dynamodb.tables.meta.region_name,
        facts=facts,
        prices=prices,
        notes=measured.notes,
        changes_given=changes is not None,
        deployed=stack is not None,
    )
