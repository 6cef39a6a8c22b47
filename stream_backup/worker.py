"""The Lambda function of a distributed run: Step Functions calls it for each slice of a round, and
at the end of each round. `STREAM_BACKUP_ARCHIVE` names the archive, and `STREAM_BACKUP_WORK_BUCKET`
the work bucket, in which the job and its lists are.

An invocation ends before its time is over. What it has not done by then is left for another one.
Neither the contents of items nor their keys are logged.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Timer
from typing import Any

from aws_lambda_powertools import Logger

from stream_backup.aws.connection import Connection
from stream_backup.aws.patience import PatientAttempts
from stream_backup.distributed.backfill import BackfillTask
from stream_backup.distributed.drill import DrillTask
from stream_backup.distributed.limits import WorkTime
from stream_backup.distributed.one_drill import OneDrill
from stream_backup.distributed.records import DistributedJob
from stream_backup.distributed.restore import RestoreTask
from stream_backup.distributed.task import JobTask
from stream_backup.distributed.verify import VerifyTask
from stream_backup.distributed.work_bucket import WorkBucket, open_work_bucket
from stream_backup.distributed.worker import collect, do_slice
from stream_backup.errors import UsageError
from stream_backup.settings import ARCHIVE, WORK_BUCKET

RESERVE = 60.0
"""Seconds at the end of an invocation in which no page is begun: to end those under way, and to
report."""

HARD = 30.0
"""Seconds at the end of an invocation in which nothing more is written of the pages under way."""

LAST = 15.0
"""Seconds at the end of an invocation in which no request is made again."""

logger = Logger(service="stream-backup", stream=sys.stderr)

TASKS: Mapping[str, Callable[[Connection, DistributedJob, WorkBucket], JobTask]] = {
    "backfill": lambda connection, job, _: BackfillTask(connection, job),
    "restore": lambda connection, job, _: RestoreTask(connection, job),
    "verify": VerifyTask,
    "drill": lambda *given: DrillTask(OneDrill.of(*given)),
}
"""Every task by its name."""


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Does a slice, or collects a round, as `step` of the event says: the entry point of the
    function. Raises UsageError when the function is not configured, and what ended the work."""
    for name in (ARCHIVE, WORK_BUCKET):
        if name not in os.environ:
            raise UsageError(f"{name} is not set.", "Deploy the template again.")
    seconds = context.get_remaining_time_in_millis() / 1000
    with working_time(seconds) as (attempts, time):
        connection = Connection(None, None, os.environ[ARCHIVE], attempts=attempts)
        bucket = open_work_bucket(connection.session, os.environ[WORK_BUCKET])
        job = bucket.job(event["job"])
        task, number = TASKS[job.task](connection, job, bucket), event["round"]
        if event["step"] == "collect":
            found = collect(bucket, job, task, number, _cause(event))
            logger.info(f"Round {number} ended: {found['state']}.", job=job.name)
            return found
        report = do_slice(bucket, job, task, number, event["slice"], time)
    done = report.slice.done
    logger.info(
        f"Slice {event['slice']['name']} is {'done' if done else 'not done'}.", job=job.name
    )
    # What a state returns must fit into 256 KiB, and the work bucket has the report.
    return {"done": done} | replace(report, kept=()).record()


@contextmanager
def working_time(seconds: float) -> Iterator[tuple[PatientAttempts, WorkTime]]:
    """Ends the work before the time of the invocation is over: what is left of it is done by
    another worker, while an invocation that times out reports nothing."""
    time, attempts = WorkTime(), PatientAttempts(logger.warning)
    timers = [
        Timer(max(0.0, seconds - RESERVE), time.over.set),
        Timer(max(0.0, seconds - HARD), time.stop.set),
        Timer(max(0.0, seconds - LAST), attempts.end),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield attempts, time
    finally:
        for timer in timers:
            timer.cancel()


def _cause(event: Mapping[str, Any]) -> str:
    """Why Step Functions ended the round early."""
    stopped = event.get("stopped") or {}
    return " ".join(f"{stopped.get('Error', '')} {stopped.get('Cause', '')}".split())[:500]
