"""The Lambda function that watches: a schedule invokes it every few minutes. It looks at every
table in the archive named by `STREAM_BACKUP_ARCHIVE`, and records how far its stream has certainly
been read.

It publishes the age of the newest exact second as the metric `exact_age`: of each table, and once
the greatest of all tables, on which an alarm stands. The latter is published only when every table
was looked at completely, and nothing endangers an archive. When it is missing, nobody knows how old
the newest exact second is, and the alarm is raised as well.

After that it goes on with a walk through the items of each archive: it puts versions in order where
older ones may have covered newer ones, and looks for delete markers.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from stream_backup.aws.errors import translate
from stream_backup.aws.stack import NAME
from stream_backup.capture.metrics import NAMESPACE
from stream_backup.capture.watch import (
    RecordsConnection,
    Unwatched,
    Watched,
    walk_all,
    watch_all,
)
from stream_backup.core.moment import iso
from stream_backup.core.order import Walk
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.settings import ARCHIVE, STACK

WALK = 40.0
"""Seconds for which one invocation looks at items, so that it ends before the next one begins."""

logger = Logger(service="stream-backup", stream=sys.stderr)
metrics = Metrics(namespace=NAMESPACE, service="stream-backup")


def handler(event: object, context: object) -> dict[str, Any]:  # noqa: ARG001 - a schedule's event
    """Looks at every table: the entry point of the function. Raises UsageError when the function is
    not configured, and IncompleteError when a table could not be looked at completely, after it
    looked at the others."""
    if ARCHIVE not in os.environ:
        raise UsageError(
            f"{ARCHIVE} is not set.", f"Set it like {ARCHIVE}=s3://my-backups/production."
        )
    # Its Region is the tables', from the environment. S3 reports that of the bucket.
    connection = RecordsConnection(None, None, os.environ[ARCHIVE])
    looked = list(watch_all(connection))
    try:
        found = report(looked, os.environ.get(STACK, NAME))
    finally:
        watched = [each for each in looked if isinstance(each, Watched)]
        walks = list(walk_all(connection, watched, WALK))
        failed = [each for each in walks if isinstance(each, Unwatched)]
        for walk in walks:
            if isinstance(walk, Walk) and (walk.late or walk.reordered):
                logger.warning(
                    f"Since {iso(walk.began)}, {walk.reordered} items were put in order, and"
                    f" {walk.late} versions were announced that were later than announced."
                )
        problems = [f"{each.table}: {' '.join(_log(each))}" for each in failed]
    if problems:
        raise IncompleteError(
            f"The items of {len(failed)} tables could not be looked at. {' '.join(problems[:3])}",
            "The next invocation tries again.",
        )
    return found


def report(found: Iterable[Watched | Unwatched], stack: str) -> dict[str, Any]:
    """Publishes the metrics of what the watcher saw, and logs what is wrong. Returns the number of
    enabled tables and the greatest age. `stack` distinguishes the greatest age of this stack from
    that of another stack in the same account."""
    ages: dict[str, int] = {}
    unknown: list[str] = []
    for each in found:
        if problems := _log(each):
            unknown.append(f"{each.table}: {' '.join(problems)}")
        if isinstance(each, Watched) and each.age is not None:
            ages[each.table] = each.age
            _publish("table", each.table, each.age)
    if unknown:
        raise IncompleteError(
            f"{len(unknown)} tables could not be looked at completely, or are in danger."
            f" {' '.join(unknown[:3])}",
            "The greatest exact_age is not published until this is fixed.",
        )
    greatest = max(ages.values(), default=0)
    _publish("stack", stack, greatest)
    return {"tables": len(ages), "exact_age": greatest}


def _log(each: Watched | Unwatched) -> list[str]:
    """Logs the outages of a table, what could not be read, and what endangers it, and returns the
    latter two."""
    if isinstance(each, Unwatched):
        problems = [str(translate(each.error) or repr(each.error))]
    else:
        problems = [*each.unseen, *(each.problems if each.age is not None else ())]
        for outage in each.outages:
            logger.error(
                f"Changes from {iso(outage.since)} to {iso(outage.until)} may be lost:"
                f" {outage.reason}.",
                table=each.table,
            )
        if each.age is None:  # It is not enabled any more: no alarm.
            for problem in each.problems:
                logger.warning(problem, table=each.table)
    for problem in problems:
        logger.error(problem, table=each.table)
    return problems


def _publish(dimension: str, value: str, age: int) -> None:
    metrics.add_dimension(dimension, value)
    metrics.add_metric("exact_age", MetricUnit.Seconds, age)
    metrics.flush_metrics()
