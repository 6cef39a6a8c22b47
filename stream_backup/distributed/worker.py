"""One worker of a distributed run: it does one slice as far as its time allows. The last step of a
round adds up what the workers did, and lists again what is left.

Both may be called again for the same work: Step Functions calls a function again when its answer
was lost.
"""

from collections.abc import Mapping
from typing import Any

from stream_backup.aws.errors import translate
from stream_backup.core.rounds import list_again, may_go_on, reach_of
from stream_backup.core.slice import Slice, slice_of
from stream_backup.distributed.limits import WorkTime, limited
from stream_backup.distributed.records import (
    KEPT_FAILURES,
    DistributedJob,
    JobEnd,
    JobFailure,
    Report,
    Standing,
    add,
)
from stream_backup.distributed.task import JobTask
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.errors import IncompleteError, StreamBackupError

NOTHING = Standing({}, [], 0)


def do_slice(
    bucket: WorkBucket,
    job: DistributedJob,
    task: JobTask,
    number: int,
    item: Mapping[str, Any],
    time: WorkTime,
) -> Report:
    """Does a slice of the round of this number until it is done, or its time is over. `item` is its
    JSON object in the list of the round. Raises what ended it, which is also kept in the work
    bucket."""
    name, slices = item["name"], item["of"]
    if found := bucket.report(job.name, number, name):
        return found
    try:
        with limited(bucket, job, number, slices, time) as limits:
            report = task.work(slice_of(item), limits)
        bucket.write_report(job.name, number, name, report)
    except Exception as error:
        unexpected = StreamBackupError(f"Unexpected: {type(error).__name__}")
        known = translate(error) or unexpected
        bucket.write_failure(job.name, number, name, JobFailure.of_error(known))
        raise known from error
    return report


def collect(
    bucket: WorkBucket, job: DistributedJob, task: JobTask, number: int, cause: str = ""
) -> dict[str, Any]:
    """Adds up what the workers of a round did, and returns the input of the next round, or how the
    job ended. `cause` is why Step Functions ended the round early, if it did."""
    before = bucket.standing(job.name, number - 1) if number else NOTHING
    reports = bucket.reports(job.name, number)
    left: list[Slice] = []
    late: list[tuple[Slice, Slice]] = []
    for item in bucket.list_of(job.name, number):
        report = reports.get(item["name"])
        piece = report.slice if report else slice_of(item)
        if not piece.done:
            left.append(piece)
            if report and not report.failures:
                late.append((slice_of(item), piece))
    counts = add([before.counts, *(each.counts for each in reports.values())])
    advanced = [*before.advanced, any(each.advanced for each in reports.values())]
    bucket.write_standing(job.name, number, Standing(counts, advanced, len(left)))
    if left:
        task.record(left)
    if left and may_go_on(number, advanced) and not bucket.is_stopped(job.name):
        slices = list_again(left, job.at_once, reach_of(late))
        return start_of(bucket, job, number + 1, slices)
    ended = [each for each in reports.values() if not each.slice.done]
    whole = add([counts, *(each.pending for each in ended)])
    failures = [failure for each in ended for failure in each.failures][:KEPT_FAILURES]
    failed = bucket.failures(job.name, number, KEPT_FAILURES) if left else []
    end = _end(task, job, whole, failures, failed, len(left), cause)
    bucket.write_end(job.name, end)
    return {"state": "incomplete" if end.failure else "done", "job": job.name}


def left_of(bucket: WorkBucket, job: str) -> list[Slice]:
    """Returns what the last round of a job has left, as far as its workers have reported."""
    number = 0
    while bucket.has_list(job, number + 1):
        number += 1
    reports = bucket.reports(job, number)
    slices = [
        reports[item["name"]].slice if item["name"] in reports else slice_of(item)
        for item in bucket.list_of(job, number)
    ]
    return [each for each in slices if not each.done]


def start_of(bucket: WorkBucket, job: DistributedJob, number: int, slices: Any) -> dict[str, Any]:
    """Lists the slices of a round, and returns its input."""
    return {
        "state": "left",
        "job": job.name,
        "round": number,
        "list": bucket.write_list(job.name, number, slices),
        "at_once": min(job.at_once, len(slices)),
    }


def _end(
    task: JobTask,
    job: DistributedJob,
    counts: Mapping[str, int],
    failures: list[JobFailure],
    failed: list[JobFailure],
    left: int,
    cause: str,
) -> JobEnd:
    try:
        result = task.finish(counts, failures, left=left)
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        return JobEnd(counts, left, {}, JobFailure.of_error(known))
    if not left:
        return JobEnd(counts, left, result)
    reasons = "; ".join(dict.fromkeys(each.text.rstrip(".") for each in failed)) or cause
    why = f": {reasons}" if reasons else ", because their workers did not get on with them"
    unfinished = IncompleteError(
        f"{left} slices of the {job.task} of {job.table} could not be finished{why}.",
        "Fix the cause, then run the same command again: only what is left is done again.",
    )
    return JobEnd(counts, left, result, JobFailure.of_error(unfinished))
