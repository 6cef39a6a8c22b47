"""The Lambda function that enrols tables: a schedule invokes it every 15 minutes. It enables each
table of this account and Region that matches `STREAM_BACKUP_ENROL_PATTERN` or carries the tag
`STREAM_BACKUP_ENROL_TAG`, as `stream-backup enable` does, and backfills it within a share of its
read capacity.

A backfill that does not end in one run goes on in the next. A run ends before the next one begins,
so two runs never work on one table. A table that somebody disabled is left alone until somebody
enables it, and so is one that a restore made.

It logs what it does, and publishes at the end of each run how many tables it enabled as `enrolled`,
how many failed as `enrol_failed`, on which an alarm stands, and how many wait for the next run as
`enrol_waiting`. When these are missing it did not run, and the alarm is raised as well.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import ParamValidationError

from stream_backup.archive.store import Attempts, once
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.patience import PatientAttempts
from stream_backup.aws.stack import NAME
from stream_backup.capture.metrics import NAMESPACE
from stream_backup.enrol.rule import EnrolRule
from stream_backup.enrol.run import Enrolled, EnrolRun
from stream_backup.errors import StreamBackupError, UsageError
from stream_backup.settings import ARCHIVE, STACK

RESERVE = 60.0
"""Seconds at the end of an invocation in which nothing is begun: for the last pages of a backfill,
its record, and the report."""

GRACE = 20.0
"""Seconds after the end of a run in which requests that fail are still made again."""

logger = Logger(service="stream-backup", stream=sys.stderr)
metrics = Metrics(namespace=NAMESPACE, service="stream-backup")


def handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ARG001 - a schedule's event
    """Enrols tables: the entry point of the function. Returns the members of `Enrolled`. Raises
    UsageError when the function is not configured, and whatever keeps it from learning which tables
    there are."""
    found: Enrolled | None = None
    try:
        end = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE
        with patience(end) as attempts:
            rule, connection = EnrolRule.of(os.environ), _connect(attempts)
            found = EnrolRun(connection, rule, end, _note, _warn, known).run()
    finally:
        _publish(found)
    for table, reason in found.failed.items():
        logger.error(f"Not enrolled completely: {reason}", table=table)
    return found._asdict()


def known(error: BaseException) -> StreamBackupError | None:
    """Returns an error as one of this project's errors. The text of an error that nobody expected
    may contain what an item contains, so only its type is kept."""
    found = None if isinstance(error, ParamValidationError) else translate(error)
    return found or StreamBackupError(f"Unexpected: {type(error).__name__}.")


@contextmanager
def patience(end: float) -> Iterator[Attempts]:
    """Requests are made again while AWS is busy, but not for longer than the run may take."""
    attempts = PatientAttempts(logger.warning)
    timer = Timer(max(0.0, end + GRACE - time.monotonic()), attempts.end)
    timer.daemon = True
    timer.start()
    try:
        yield attempts
    finally:
        timer.cancel()


def _connect(attempts: Attempts = once) -> Connection:
    if ARCHIVE not in os.environ:
        raise UsageError(
            f"{ARCHIVE} is not set.", f"Set it like {ARCHIVE}=s3://my-backups/production."
        )
    return Connection(None, None, os.environ[ARCHIVE], os.environ.get(STACK, NAME), attempts)


def _publish(found: Enrolled | None) -> None:
    """Publishes the metrics of a run. One that learned nothing counts as a failure."""
    metrics.add_dimension("stack", os.environ.get(STACK, NAME))
    metrics.add_metric("enrolled", MetricUnit.Count, len(found.enabled) if found else 0)
    metrics.add_metric("enrol_failed", MetricUnit.Count, len(found.failed) if found else 1)
    metrics.add_metric("enrol_waiting", MetricUnit.Count, len(found.left) if found else 0)
    metrics.flush_metrics()


def _note(table: str, text: str) -> None:
    logger.info(text, table=table)


def _warn(table: str, text: str) -> None:
    logger.warning(text, table=table)
