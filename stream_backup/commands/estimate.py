"""`stream-backup estimate`"""

from pathlib import Path

import click

from stream_backup.connection import Connection
from stream_backup.estimate.facts import Facts
from stream_backup.estimate.look import (
    capacity_of,
    changes_of,
    function_of,
    index_units,
    overhead_of,
    shards_of,
    workers_here,
)
from stream_backup.estimate.measure import measure
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.tell import Estimate
from stream_backup.options import as_json, connected, table_argument
from stream_backup.table import require
from stream_backup.talk import data


@click.command()
@table_argument
@click.option("--items", type=click.IntRange(0), metavar="N", help="Items in the table.  [default: as it says]")
@click.option("--item-bytes", type=click.IntRange(1, 400 * 1024), metavar="N", help="Mean size.  [default: as it is]")
@click.option(
    "--changes-per-month",
    type=click.FloatRange(0),
    metavar="N",
    help="Items written or removed.  [default: by CloudWatch, over 14 days]",
)
@click.option("--months", type=click.IntRange(1), default=12, show_default=True, help="Months that history is kept.")
@click.option(
    "--versions-per-item",
    type=click.FloatRange(1),
    metavar="N",
    help="Versions a restore lists.  [default: 1, and the changes of --months]",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes of a backfill.  [default: one a core, at most 8]")
@click.option("--no-sample", "sampling", flag_value=False, default=True, help="Read no items: sizes by their mean alone.")
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Your prices, in the shape of stream_backup/estimate/prices.json.  [default: us-east-1's]",
)
@as_json
@connected
def estimate(
    connection: Connection,
    table: str,
    items: int | None,
    item_bytes: int | None,
    changes_per_month: float | None,
    months: int,
    versions_per_item: float | None,
    workers: int | None,
    prices: Path | None,
    *,
    sampling: bool,
    as_json: bool,
) -> None:
    """Says what a backfill, a month of capture and a restore would cost, and how long they would take.

    It writes nothing, and needs neither a stack nor an archive: only the table. It reads at most one page of items, 128 RCU.

    \b
      stream-backup estimate orders
      stream-backup estimate orders --months 36
      stream-backup estimate orders --items 50000000 --item-bytes 800 --changes-per-month 2000000
    """
    rates = Prices.load(prices)
    live, now = require(connection.dynamodb, table)
    found = live.description
    measured = measure(connection.dynamodb, found, items, item_bytes, sampling=sampling)
    sizes, capacity = measured.sizes, capacity_of(found)
    by_hand = changes_per_month is not None
    function, stack = function_of(connection)
    facts = Facts(
        items=measured.items,
        sizes=sizes,
        changes=changes_per_month if by_hand else changes_of(connection, found, now, sizes),
        capacity=capacity,
        function=function,
        shards=shards_of(found, capacity, measured.items * sizes.mean),
        overhead=overhead_of(connection.archive_url or (stack.archive if stack else None), table),
        index_units=index_units(found, sizes),
        months=months,
        versions_per_item=versions_per_item,
        workers=workers or workers_here(measured.items),
    )
    report = Estimate(
        table=table,
        region=connection.dynamodb.tables.meta.region_name,
        facts=facts,
        prices=rates,
        notes=measured.notes,
        by_hand=by_hand,
        deployed=stack is not None,
    )
    if as_json:
        data(report.record())
    else:
        report.print()
