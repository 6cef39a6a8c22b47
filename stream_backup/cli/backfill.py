"""`stream-backup backfill`, also `python -m backfill`."""

from functools import partial
from threading import Event
from typing import Any, NamedTuple

import click

from backfill.run import SEGMENTS, Backfill, confirm
from backfill.segment import Counts
from stream_backup.aws.capacity import units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.scan import ScanFraction
from stream_backup.aws.several import Deliver
from stream_backup.aws.table import require
from stream_backup.cli.backfill_report import report
from stream_backup.cli.console import bar, say
from stream_backup.cli.distributed_backfill import distribute, follow_last
from stream_backup.cli.distribution import distribution
from stream_backup.cli.options import Chosen, as_json, connected, read_capacity, table_or_match
from stream_backup.cli.several import run_live
from stream_backup.cli.workers import workers_of, workers_option
from stream_backup.core.key import KeySchema
from stream_backup.distributed.backfill import segments_for
from stream_backup.workers.crew import default_workers


@click.command()
@table_or_match("Back up")
@workers_option(
    "Processes to scan with, at most one a segment; with --distributed, functions of the stack."
)
@click.option(
    "--segments",
    type=click.IntRange(1, 256),
    help=(
        "Segments to scan at once.  "
        f"[default: those of the run that is resumed, else {SEGMENTS} a worker]"
    ),
)
@read_capacity
@click.option(
    "--without-stream",
    is_flag=True,
    help="Run even if the stream is off. Rows are saved, but no moment becomes exactly restorable.",
)
@distribution
@as_json
@connected
def backfill(
    connection: Connection,
    chosen: Chosen,
    workers: int | None,
    segments: int | None,
    read_share: float,
    read_units: float | None,
    *,
    without_stream: bool,
    distributed: bool,
    detach: bool,
    attach: bool,
    as_json: bool,
) -> None:
    """Writes the existing rows of a table to the archive. Coverage begins when it ends.

    It is safe to run at any time: it never covers a streamed change. When it was interrupted, run
    it again to resume.

    With --match, the tables are backed up one after another, because a backfill is parallel
    already. The options hold for each table: --read-share is a share of its own capacity. Tables
    that somebody disabled and tables that a restore made are skipped.

    \b
      stream-backup backfill orders
      stream-backup backfill orders --segments 16 --read-share 0.25
      stream-backup backfill orders --distributed
      stream-backup backfill --match 'prod-*'
    """
    options = BackfillOptions(
        workers, segments, read_share, read_units, without_stream, distributed, detach
    )

    def work(table: str, deliver: Deliver) -> None:
        done = follow_last if attach else partial(_backfill, options=options)
        deliver(done(connection, table))

    run_live(connection, chosen, work, as_json=as_json)


class BackfillOptions(NamedTuple):
    """The options of a backfill, which hold for each table by itself."""

    workers: int | None
    segments: int | None
    read_share: float
    read_units: float | None
    without_stream: bool
    distributed: bool
    detach: bool


def _backfill(connection: Connection, table: str, options: BackfillOptions) -> dict[str, Any]:
    """Backfills one table, and returns its report as a JSON object."""
    live, _ = require(connection.dynamodb, table)
    units = options.read_units
    if units is None:
        units = units_of(live, options.read_share)
    expected = int(live.description.get("ItemCount") or 0)
    schema = KeySchema.of(live.description)
    if options.distributed:
        archive = connection.archive(table, schema)
        work = Backfill(
            connection.dynamodb, archive, options.segments, units, lambda _: None, Event()
        )
        work.new_segments = segments_for(expected)
        return distribute(
            connection,
            work,
            options.workers,
            without_stream=options.without_stream,
            detach=options.detach,
        )
    crew = workers_of(options.workers or default_workers(expected), connection, table, schema)
    with bar("backfill", "items") as progress:
        fraction = ScanFraction(expected)

        def tell(counts: Counts) -> None:
            progress.advance(counts.read, fraction.reach(counts.read))

        archive = connection.archive(table, schema)
        work = Backfill(connection.dynamodb, archive, options.segments, units, tell, Event(), crew)
        run, resumed = work.begin(without_stream=options.without_stream)
        if resumed:
            say(f"Resuming the backfill of {run.name}.")
        run, counts = work.execute(run)
    if run.stream:
        run = confirm(connection.dynamodb, archive, run)
    return report(connection, table, run, counts, resumed=resumed)
