"""`stream-backup backfill --distributed` and `--attach`."""

from typing import Any

from backfill.run import Backfill, confirm
from backfill.segment import Counts
from stream_backup.aws.connection import Connection
from stream_backup.cli.backfill_report import report
from stream_backup.cli.console import say
from stream_backup.cli.distribution import follow, report_start
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.records import Run
from stream_backup.distributed.backfill import settings_of, slices_of
from stream_backup.distributed.machine import Execution
from stream_backup.distributed.run import DistributedRun, runs_of


def distribute(
    connection: Connection,
    work: Backfill,
    workers: int | None,
    *,
    without_stream: bool,
    detach: bool,
) -> dict[str, Any]:
    """Starts a distributed backfill, or resumes an unfinished one, and follows it unless `detach`.
    Returns what is to be reported as a JSON object."""
    archive, table = work.archive, work.archive.table
    found = runs_of(connection, "backfill", table)
    found.require_none()
    run, resumed = work.begin(without_stream=without_stream)
    if resumed:
        say(f"Resuming the backfill of {run.name}.")
    share = work.share(run)
    slices = slices_of(share)
    if not slices:  # only the end of the run is missing
        run, counts = work.execute(run)
        run = confirm(connection.dynamodb, archive, run) if run.stream else run
        return report(connection, table, run, counts, resumed=resumed)
    assert archive.schema is not None
    settings = settings_of(share, archive.schema, resumed=resumed)
    execution = found.start(run.name, slices, settings, workers=workers, read_units=work.units)
    if detach:
        return report_start(found, execution)
    return _follow(connection, found, execution)


def follow_last(connection: Connection, table: str) -> dict[str, Any]:
    """Returns to the distributed backfill of a table that is under way, or that ended last."""
    found = runs_of(connection, "backfill", table)
    return _follow(connection, found, found.last())


def _follow(connection: Connection, found: DistributedRun, execution: Execution) -> dict[str, Any]:
    end = follow(found, execution)
    run, job = Run.of(end.result), found.bucket.job(execution.job)
    counts = Counts.of(SegmentCheckpoint(None, run.counts))
    resumed = bool(job.settings["resumed"])
    return report(connection, found.table, run, counts, resumed=resumed)
