"""The Lambda function that drills: a schedule invokes it. One after another, it restores a part of
each table of the archive named by `STREAM_BACKUP_ARCHIVE` to a scratch table, rewinds that copy,
and compares both with the archive. `STREAM_BACKUP_DRILL_TABLES` and `STREAM_BACKUP_DRILL_ROWS` say
which tables, and how many rows of each.

An invocation ends after 15 minutes at most. So it begins no drill that it could not end, and the
tables that were not drilled for the longest time come first: those that are left come first in the
next run. Nothing that happens to one table keeps the others from being drilled.

It publishes the result of each drill as metrics of its table, and once the number of tables whose
drill did not pass as `drill_failed`, on which an alarm stands. A drill that was refused or that did
not end counts as failed, because nobody saw that the table can be restored. Neither the contents of
items nor their keys are logged.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer
from typing import Any, NamedTuple

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ParamValidationError

from stream_backup.archive.store import Attempts, once
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.patience import PatientAttempts
from stream_backup.aws.stack import NAME
from stream_backup.capture.drilled import EVERY, Drilled, enabled, wanted
from stream_backup.capture.metrics import NAMESPACE
from stream_backup.core.drill import DrillRecord
from stream_backup.core.moment import iso
from stream_backup.drill.run import DrillRequest, drill
from stream_backup.errors import UsageError
from stream_backup.progress import Silent
from stream_backup.settings import ARCHIVE, DRILL_ROWS, DRILL_TABLES, STACK

ROWS = 10_000
"""Rows of a drill, where nothing else is set."""

RESERVE = 120.0
"""Seconds at the end of an invocation in which no drill runs: to remove a scratch table, and to
report."""

REMOVAL = 60.0
"""Seconds after the end of the time of a drill in which requests that fail are still made again, so
that its scratch table is removed."""

SHORTEST = 180.0
"""Seconds that a drill gets at least. DynamoDB takes some of them to create a table."""

logger = Logger(service="stream-backup", stream=sys.stderr)
metrics = Metrics(namespace=NAMESPACE, service="stream-backup")


class Drills(NamedTuple):
    """The tables of one run: how many drills passed, which did not, and which tables are left for
    the next run."""

    passed: int
    failed: tuple[str, ...]
    left: tuple[str, ...]


def handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ARG001 - a schedule's event
    """Drills the tables: the entry point of the function. Returns the members of `Drills`. Raises
    UsageError when the function is not configured, and whatever keeps it from learning which tables
    there are."""
    stack, failed = os.environ.get(STACK, NAME), 1
    try:
        end = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE
        found = drill_all(end)
        failed = len(found.failed)
    finally:
        metrics.add_dimension("stack", stack)
        metrics.add_metric("drill_failed", MetricUnit.Count, failed)
        metrics.flush_metrics()
    if found.left:
        logger.warning(
            f"There was no time left for {len(found.left)} tables. They come first in the next run."
            " Let drills run more often, or restore fewer rows."
        )
    return {"passed": found.passed, "failed": list(found.failed), "left": list(found.left)}


def drill_all(end: float) -> Drills:
    """Drills table after table until `end`, in seconds of the monotonic clock. Publishes and logs
    the result of each."""
    rows = int(os.environ.get(DRILL_ROWS, ROWS))
    waiting, failed = _waiting(wanted(os.environ.get(DRILL_TABLES, EVERY)))
    passed = 0
    for index, table in enumerate(waiting):
        left = end - time.monotonic()
        if left < SHORTEST:
            return Drills(passed, tuple(failed), tuple(waiting[index:]))
        # One table must not use up the time of the others.
        seconds = max(SHORTEST, left / (len(waiting) - index))
        if _drill(DrillRequest(table, rows=rows, seconds=seconds)):
            passed += 1
        else:
            failed.append(table)
    return Drills(passed, tuple(failed), ())


def _waiting(names: frozenset[str] | None) -> tuple[list[str], list[str]]:
    """The tables to drill, those that were not drilled for the longest time first, and the tables
    of which that could not be learned."""
    connection, found, failed = _connect(), list[Drilled](), list[str]()
    for table in sorted(connection.tables() if names is None else names):
        try:
            drilled = enabled(connection, table)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are drilled
            failed.append(table)
            _report_error(table, error)
            continue
        if drilled:
            found.append(drilled)
        elif names is not None:
            failed.append(table)
            _report_failure(table, f"it is to be drilled ({DRILL_TABLES}), but is not enabled")
    return [each.table for each in sorted(found, key=lambda each: each.tried)], failed


def _drill(request: DrillRequest) -> bool:
    """Drills one table, and returns whether it passed."""
    try:
        with _patience(request) as (attempts, stop):
            record = drill(_connect(attempts), request, Silent(), stop)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are drilled
        _report_error(request.table, error)
        return False
    _report(record)
    return record.passed


@contextmanager
def _patience(request: DrillRequest) -> Iterator[tuple[Attempts, Event]]:
    """Requests are made again while AWS is busy, but not for longer than the drill may take. The
    engine ends by itself when its time is over; should it not, it is stopped."""
    stop = Event()
    attempts = PatientAttempts(lambda text: logger.warning(text, table=request.table))

    def end() -> None:
        attempts.end()
        stop.set()

    timer = Timer((request.seconds or 0) + REMOVAL, end)
    timer.daemon = True
    timer.start()
    try:
        yield attempts, stop
    finally:
        timer.cancel()


def _connect(attempts: Attempts = once) -> Connection:
    if ARCHIVE not in os.environ:
        raise UsageError(
            f"{ARCHIVE} is not set.", f"Set it like {ARCHIVE}=s3://my-backups/production."
        )
    stack = os.environ.get(STACK, NAME)
    return Connection(None, None, os.environ[ARCHIVE], stack, attempts)


def _report(record: DrillRecord) -> None:
    """Logs the result of a drill, and publishes its metrics."""
    if record.removed:
        tables = ", ".join(record.removed)
        logger.warning(
            f"Removed the scratch tables of interrupted drills: {tables}.", table=record.table
        )
    if record.passed:
        logger.info(
            f"The drill passed: {record.rows:,} rows as of {iso(record.moment or 0)} were restored"
            f" in {record.restore_seconds:.0f} seconds. Its record is {record.name}.",
            table=record.table,
        )
        _publish(record.table, passed=True, record=record)
        return
    _report_failure(record.table, f"{record.result}, {_why(record)}", record)


def _why(record: DrillRecord) -> str:
    """The reason of a drill that did not pass. That of one that failed may name keys, and the
    record has it."""
    if record.differences:
        return f"{record.differences:,} items differ"
    return "not everything was restored" if record.result == "failed" else record.reason


def _report_error(table: str, error: Exception) -> None:
    # The text of an error that nobody expected may contain what an item contains.
    known = None if isinstance(error, ParamValidationError) else translate(error)
    _report_failure(table, str(known) if known else type(error).__name__)


def _report_failure(table: str, reason: str, record: DrillRecord | None = None) -> None:
    where = f" Its record is {record.name}." if record else ""
    logger.error(f"The drill did not pass: {reason.rstrip('.')}.{where}", table=table)
    _publish(table, passed=False, record=record)


def _publish(table: str, *, passed: bool, record: DrillRecord | None) -> None:
    metrics.add_dimension("table", table)
    metrics.add_metric("drill_passed", MetricUnit.Count, int(passed))
    metrics.add_metric("drill_failed", MetricUnit.Count, int(not passed))
    if record:
        metrics.add_metric("drill_rows", MetricUnit.Count, record.rows)
        metrics.add_metric("drill_seconds", MetricUnit.Seconds, record.restore_seconds)
        metrics.add_metric(
            "drill_rows_per_second", MetricUnit.CountPerSecond, record.rows_per_second
        )
        if record.exact_age is not None:
            metrics.add_metric("drill_exact_age", MetricUnit.Seconds, record.exact_age)
    metrics.flush_metrics()
