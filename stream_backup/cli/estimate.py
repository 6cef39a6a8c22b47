"""The command `stream-backup estimate`."""

from pathlib import Path
from typing import Any

import click

from stream_backup.aws.connection import Connection
from stream_backup.cli.console import data
from stream_backup.cli.estimate_report import report
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.estimate.lookup import DAYS
from stream_backup.estimate.prices import Prices
from stream_backup.estimate.run import Given, run
from stream_backup.estimate.sizes import LARGEST


@click.command()
@table_argument
@click.option(
    "--items",
    type=click.IntRange(0),
    metavar="N",
    help="Number of items.  [default: the table's]",
)
@click.option(
    "--item-bytes",
    type=click.IntRange(1, LARGEST),
    metavar="N",
    help="Mean size of an item.  [default: the table's]",
)
@click.option(
    "--changes-per-month",
    type=click.FloatRange(0),
    metavar="N",
    help=f"Items written or deleted per month.  [default: from {DAYS} days in CloudWatch]",
)
@click.option(
    "--months",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Number of months that history is kept.",
)
@click.option(
    "--versions-per-item",
    type=click.FloatRange(1),
    metavar="N",
    help="Versions that a restore lists.  [default: 1, and the changes in --months]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of processes of a backfill.  [default: as many as `backfill` starts]",
)
@click.option(
    "--no-sample",
    "sampling",
    flag_value=False,
    default=True,
    help="Do not read items; use their mean size only.",
)
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Your prices, in the format of stream_backup/estimate/prices.json.  "
    "[default: us-east-1's]",
)
@as_json
@connected
def estimate(
    connection: Connection, table: str, prices: Path | None, *, as_json: bool, **given: Any
) -> None:
    """Estimates the cost and duration of a backfill, a month of capture, and a restore.

    Nothing is written, and neither a stack nor an archive is necessary. At most one page of items
    is read from the table, which consumes up to 128 RCU.

    \b
      stream-backup estimate orders
      stream-backup estimate orders --months 36
      stream-backup estimate orders --items 50000000 --item-bytes 800 --changes-per-month 2000000
    """
    estimated = run(connection, table, Given(**given), Prices.load(prices))
    if as_json:
        data(estimated.record())
    else:
        report(estimated)
