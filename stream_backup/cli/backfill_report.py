"""What `backfill` reports in the end, wherever it ran."""

from typing import Any

from backfill.segment import Counts
from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.holes import record_holes
from stream_backup.capture.state import state_of
from stream_backup.cli.console import say
from stream_backup.core.moment import iso
from stream_backup.core.records import Run


def report(
    connection: Connection, table: str, run: Run, counts: Counts, *, resumed: bool
) -> dict[str, Any]:
    """Says how a backfill has ended and what coverage it gives, and returns it as a JSON object."""
    say(
        f"{counts.read:,} items read: {counts.written:,} written, {counts.existing:,} already in"
        f" the archive, {counts.failed:,} failed."
    )
    if run.stream:
        _report_coverage(connection, table)
    return {"table": table, "resumed": resumed} | run.record()


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
