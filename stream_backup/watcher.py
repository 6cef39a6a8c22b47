"""The Lambda function that watches: a schedule invokes it every few minutes. It looks at every
table in the archive named by `STREAM_BACKUP_ARCHIVE`, and records how far its stream has certainly
been read.

It publishes the age of the newest exact second as the metric `exact_age`: of each table, and once
the greatest of all tables, on which an alarm stands. The latter is published only when every table
was looked at completely, and nothing endangers an archive. When it is missing, nobody knows how old
the newest exact second is, and the alarm is raised as well.

After that it goes on with a walk through the items of each archive: it puts versions in order where
older ones may have covered newer ones, and looks for delete markers.

Where drills are scheduled, it also publishes how many days ago a drill of each table passed, as the
metric `drill_age_days`, and once the greatest of all tables. A drill that does not run leaves no
trace, and an alarm cannot look back for weeks, but this age grows until one passes.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from stream_backup.aws.errors import translate
from stream_backup.aws.stack import NAME
from stream_backup.capture.drilled import DrillAge, drill_ages, wanted
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
from stream_backup.settings import ARCHIVE, DRILL_TABLES, STACK

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
    looked, stack = list(watch_all(connection)), os.environ.get(STACK, NAME)
    problems: list[str] = []
    try:
        found = report(looked, stack)
    finally:
        if tables := os.environ.get(DRILL_TABLES):
            problems = report_drills(drill_ages(connection, looked, wanted(tables)), stack)
        watched = [each for each in looked if isinstance(each, Watched)]
        walks = list(walk_all(connection, watched, WALK))
        failed = [each for each in walks if isinstance(each, Unwatched)]
        for walk in walks:
            if isinstance(walk, Walk) and (walk.late or walk.reordered):
                logger.warning(
                    f"Since {iso(walk.began)}, {walk.reordered} items were put in order, and"
                    f" {walk.late} versions were announced that were later than announced."
                )
        unknown = [f"{each.table}: {' '.join(_log(each))}" for each in failed]
    if unknown:
        raise IncompleteError(
            f"The items of {len(failed)} tables could not be looked at. {' '.join(unknown[:3])}",
            "The next invocation tries again.",
        )
    if problems:
        raise IncompleteError(
            f"The drills of {len(problems)} tables are unknown. {' '.join(problems[:3])}",
            "The greatest drill_age_days is not published until this is fixed.",
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
            _publish("exact_age", "table", each.table, each.age, MetricUnit.Seconds)
    if unknown:
        raise IncompleteError(
            f"{len(unknown)} tables could not be looked at completely, or are in danger."
            f" {' '.join(unknown[:3])}",
            "The greatest exact_age is not published until this is fixed.",
        )
    greatest = max(ages.values(), default=0)
    _publish("exact_age", "stack", stack, greatest, MetricUnit.Seconds)
    return {"tables": len(ages), "exact_age": greatest}


def report_drills(ages: Iterable[DrillAge], stack: str) -> list[str]:
    """Publishes how many days ago a drill of each table passed, and the greatest of these ages
    unless one of them is unknown. Logs and returns why that is so, one sentence for each table."""
    days: dict[str, float] = {}
    problems: list[str] = []
    for each in ages:
        if each.days is None:
            logger.error(f"It is unknown when a drill passed: {each.problem}", table=each.table)
            problems.append(f"{each.table}: {each.problem}")
        else:
            days[each.table] = each.days
            _publish("drill_age_days", "table", each.table, each.days)
    if not problems:
        _publish("drill_age_days", "stack", stack, max(days.values(), default=0))
    return problems


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


def _publish(
    metric: str, dimension: str, value: str, age: float, unit: MetricUnit = MetricUnit.NoUnit
) -> None:
    metrics.add_dimension(dimension, value)
    metrics.add_metric(metric, unit, age)
    metrics.flush_metrics()
