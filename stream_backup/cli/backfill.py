"""`stream-backup backfill`, also `python -m backfill`."""

from functools import partial
from threading import Event

import click

from backfill.clients import WorkerClients
from backfill.credentials import lend
from backfill.run import SEGMENTS, Backfill, confirm
from backfill.segment import Counts
from backfill.workers import MOST, SMALL, Workers, default_workers
from stream_backup.archive.catalog import Catalog
from stream_backup.aws.capacity import units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.patience import PatientAttempts
from stream_backup.aws.scan import ScanFraction
from stream_backup.aws.table import require
from stream_backup.capture.holes import record_holes
from stream_backup.capture.state import state_of
from stream_backup.cli.console import bar, data, say
from stream_backup.cli.options import as_json, connected, read_capacity, table_argument
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso


@click.command()
@table_argument
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help=(
        "Processes to scan with, at most one a segment.  "
        f"[default: one a core, at most {MOST}; one for {SMALL:,} rows or fewer]"
    ),
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
    """Writes the existing rows of a table to the archive. Coverage begins when it ends.

    It is safe to run at any time: it never covers a streamed change. When it was interrupted, run
    it again to resume.

    \b
      stream-backup backfill orders
      stream-backup backfill orders --segments 16 --read-share 0.25
    """
    live, _ = require(connection.dynamodb, table)
    units = read_units if read_units is not None else units_of(live, read_share)
    expected = int(live.description.get("ItemCount") or 0)
    schema = KeySchema.of(live.description)
    crew = _workers(workers or default_workers(expected), connection, table, schema)
    with bar("backfill", "items") as progress:
        fraction = ScanFraction(expected)

        def tell(counts: Counts) -> None:
            progress.advance(counts.read, fraction.reach(counts.read))

        archive = connection.archive(table, schema)
        work = Backfill(connection.dynamodb, archive, segments, units, tell, Event(), crew)
        run, resumed = work.begin(without_stream=without_stream)
        if resumed:
            say(f"Resuming the backfill of {run.name}.")
        run, counts = work.execute(run)
    say(
        f"{counts.read:,} items read: {counts.written:,} written, {counts.existing:,} already in"
        f" the archive, {counts.failed:,} failed."
    )
    if run.stream:
        run = confirm(connection.dynamodb, archive, run)
        _report_coverage(connection, table)
    if as_json:
        data({"table": table, "resumed": resumed} | run.record())


def _report_coverage(connection: Connection, table: str) -> None:
    """Says from which moment on restores are exact, and records the failed batches that wait."""
    state = state_of(connection, table)
    record_holes(Catalog(connection.archive(table)), state.failed or (), state.now)
    epochs = state.status.coverage.epochs
    current = [epoch for epoch in epochs if epoch.end is None]
    if current:
        say(f"Restores of {table} are exact from {iso(current[0].start)} on.")
    else:
        say(
            "This backfill gives no coverage, because changes were lost while it ran. "
            f"To see them, run: stream-backup status {table}; then run the backfill again."
        )


def _workers(number: int, connection: Connection, table: str, schema: KeySchema) -> Workers | None:
    """None for one: this process."""
    if number == 1:
        return None
    clients = WorkerClients.of(connection, table, schema)
    patience = connection.attempts
    tell = patience.tell if isinstance(patience, PatientAttempts) else say
    return Workers(number, clients, partial(lend, connection.session), tell)
