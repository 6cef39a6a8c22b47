"""`stream-backup backfill`, also `python -m backfill`"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event, Lock

import click

from backfill.credentials import Lent, borrowing, lend
from backfill.run import SEGMENTS, Backfill, units_of, wait_for_start
from backfill.segment import Counts
from backfill.workers import MOST, SMALL, Workers, default_workers
from stream_backup.archive import Archive
from stream_backup.connection import Connection
from stream_backup.coverage import epochs
from stream_backup.dynamodb import DynamoDB
from stream_backup.key import KeySchema
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, read_capacity, table_argument
from stream_backup.table import require
from stream_backup.talk import bar, data, say


@click.command()
@table_argument
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help=f"Processes to scan in, at most one a segment.  [default: one a core, at most {MOST}; for {SMALL:,} rows or fewer one]",
)
@click.option(
    "--segments",
    type=click.IntRange(1, 256),
    help=f"Parts scanned at once.  [default: those of the run it goes on with, else {SEGMENTS} a worker]",
)
@read_capacity
@click.option("--without-stream", is_flag=True, help="Although the stream is off: gives rows, and no coverage.")
@as_json
@connected
def backfill(
    connection: Connection,
    table: str,
    workers: int | None,
    segments: int | None,
    read_share: float,
    read_units: float | None,
    *,
    without_stream: bool,
    as_json: bool,
) -> None:
    """Writes the rows that were there before the stream into the archive. Coverage begins where it ends.

    Safe to run at any time: it never covers a streamed change. Stopped, it goes on where it was.

    \b
      stream-backup backfill orders
      stream-backup backfill orders --segments 16 --read-share 0.25
    """
    live, _ = require(connection.dynamodb, table)
    units = read_units if read_units is not None else units_of(live, read_share)
    expected = int(live.description.get("ItemCount") or 0)
    schema = KeySchema.of(live.description)
    archive = connection.archive(table, schema)
    crew = _workers(workers or default_workers(expected), connection, table, schema)
    lock, read = Lock(), [0]
    with bar("backfill", "items") as progress:

        def tell(counts: Counts) -> None:
            with lock:
                read[0] += counts.read
                progress.advance(counts.read, min(read[0] / expected, 0.99) if expected else None)

        work = Backfill(connection.dynamodb, archive, segments, units, tell, Event(), crew)
        run, goes_on = work.begin(without_stream=without_stream)
        if goes_on:
            say(f"Going on with the backfill of {run.name}.")
        run, counts = work.execute(run)
    say(
        f"{counts.read:,} items read, {counts.written:,} written, {counts.already_there:,} already there, {counts.failed:,} failed."
    )
    if run.stream:
        wait_for_start(connection.dynamodb, table, run)
        meta = Meta(archive)
        found = [epoch for epoch in epochs(meta.stretches(), meta.runs()) if epoch.end is None]
        if found:
            say(f"Restores of {table} are exact from {iso(found[0].start)} on.")
        else:
            say(
                f"It gives no coverage: changes were lost while it ran. See: stream-backup status {table}; then run it again."
            )
    if as_json:
        data({"table": table, "goes_on": goes_on} | run.record())


def _workers(number: int, connection: Connection, table: str, schema: KeySchema) -> Workers | None:
    """None for one alone: this process."""
    settings = replace(connection, archive_url=str(connection.location))  # without its clients
    clients, lending = partial(_clients, settings, table, schema), partial(lend, connection.session)
    return Workers(number, clients, lending) if number > 1 else None


def _clients(connection: Connection, table: str, schema: KeySchema, ask: Callable[[], Lent]) -> tuple[DynamoDB, Archive]:
    connection.session = borrowing(connection.profile, connection.region, ask)
    return connection.dynamodb, connection.archive(table, schema)
