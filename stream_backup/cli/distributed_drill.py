"""`stream-backup drill --distributed` and `--attach`."""

from typing import Any

from stream_backup.aws.connection import Connection
from stream_backup.cli.console import Terminal
from stream_backup.cli.distribution import follow, report_start
from stream_backup.core.drill import DrillRecord
from stream_backup.distributed.drill_start import settled, start_drill
from stream_backup.distributed.machine import ABORTED, RUNNING, Execution
from stream_backup.distributed.run import DistributedRun, runs_of
from stream_backup.drill.run import DrillRequest
from stream_backup.errors import StreamBackupError, UsageError


def check(request: DrillRequest) -> None:
    """Raises UsageError for what only a drill on one machine does."""
    if request.rows is not None:
        raise UsageError(
            "--rows is not possible with --distributed: so few items are drilled on one machine.",
            "Pass a share of a large table: --sample P; or leave out --distributed.",
        )
    if request.present:
        raise UsageError(
            "--at now is not possible with --distributed, which does not read the live table.",
            f"To compare the live table, run: stream-backup verify {request.table} --distributed;"
            " and drill another moment: leave out --at.",
        )


def distribute(
    connection: Connection, request: DrillRequest, workers: int | None, *, detach: bool
) -> DrillRecord | dict[str, Any]:
    """Starts a distributed drill, and returns its record once it has ended. With `detach` it
    returns at once what is to be reported as a JSON object."""
    check(request)
    found = runs_of(connection, "drill", request.table)
    _require_readable(connection, request.table)
    execution = start_drill(connection, found, request, workers, Terminal())
    return report_start(found, execution) if detach else _follow(connection, found, execution)


def follow_last(connection: Connection, table: str) -> DrillRecord:
    """Returns to the distributed drill of a table that is under way, or that ended last, and
    returns its record."""
    found = runs_of(connection, "drill", table)
    return _follow(connection, found, found.last())


def _follow(connection: Connection, found: DistributedRun, execution: Execution) -> DrillRecord:
    def stopped() -> str:
        record = settled(connection, found, execution._replace(status=ABORTED))
        return f"The drill was stopped. Its record says: {record.reason}"

    try:
        follow(found, execution, stopped)
    except StreamBackupError:
        now = found.machine.describe(execution)
        if now.status == RUNNING:
            raise
        return settled(connection, found, now)
    return settled(connection, found, execution)


def _require_readable(connection: Connection, table: str) -> None:
    """Raises UsageError when the workers may not read the archive of the table."""
    assert connection.stack is not None
    connection.stack.require(table)
