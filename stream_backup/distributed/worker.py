"""One worker of a distributed run: it does one slice as far as its time allows. The last step of a
round adds up what the workers did, and lists again what is left.

Both may be called again for the same work: Step Functions calls a function again when its answer
was lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    StageStart,
    Standing,
    add,
    again,
    noun_of,
)
from stream_backup.distributed.task import JobTask, stages_of
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
        stage = bucket.standing(job.name, number - 1).stage if number else 0
        with limited(bucket, job, number, slices, time) as limits:
            report = stages_of(task)[stage].work(slice_of(item), limits)
        return bucket.write_report(job.name, number, name, report)
    except Exception as error:
        unexpected = StreamBackupError(f"Unexpected: {type(error).__name__}")
        known = translate(error) or unexpected
        bucket.write_failure(job.name, number, name, JobFailure.of_error(known))
        raise known from error


def collect(
    bucket: WorkBucket, job: DistributedJob, task: JobTask, number: int, cause: str = ""
) -> dict[str, Any]:
    """Adds up what the workers of a round did, and returns the input of the next round, or how the
    job ended. `cause` is why Step Functions ended the round early, if it did."""
    before = bucket.standing(job.name, number - 1) if number else NOTHING
    reports = bucket.reports(job.name, number, bucket.close(job.name, number))
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
    # A round that leaves nothing has ended its stage.
    advanced = [*before.advanced, not left or any(each.advanced for each in reports.values())]
    kept = [*before.kept, *(each for report in reports.values() for each in report.kept)]
    standing = Standing(counts, advanced, len(left), before.stage, kept)
    if left:
        stages_of(task)[standing.stage].record(left)
        following: Sequence[Slice] = list_again(left, job.at_once, reach_of(late))
    else:
        standing, following = _begin(bucket, job, task, standing)
    bucket.write_standing(job.name, number, standing)
    if following and may_go_on(number, advanced) and not bucket.is_stopped(job.name):
        return start_of(bucket, job, number + 1, following)
    ended = [each for each in reports.values() if not each.slice.done]
    whole = add([counts, *(each.pending for each in ended)])
    failures = [failure for each in ended for failure in each.failures][:KEPT_FAILURES]
    failed = bucket.failures(job.name, number, KEPT_FAILURES) if left else []
    found = replace(standing, counts=whole, left=len(left) or len(following))
    end = _end(task, job, found, failures, failed, cause)
    bucket.write_end(job.name, end)
    return {"state": "incomplete" if end.failure else "done", "job": job.name}


def _begin(
    bucket: WorkBucket, job: DistributedJob, task: JobTask, ended: Standing
) -> tuple[Standing, Sequence[Slice]]:
    """Begins the next stage that has slices. Returns how the job stands then, and the slices; after
    the last stage there are none."""
    standing = ended
    for number, stage in enumerate(task.later, start=1):
        if number <= ended.stage:
            continue
        begun = stage.begin(standing.counts, standing.kept)
        start = StageStart(len(begun.slices), begun.settings, standing.kept)
        bucket.begin(job.name, number, start)
        standing = replace(standing, stage=number, kept=())
        if begun.slices:
            return standing, begun.slices
    return standing, ()


def left_of(bucket: WorkBucket, job: str) -> list[Slice]:
    """Returns what the last round of a job has left, as far as its workers have reported."""
    number = last_round(bucket, job)
    reports = bucket.reports(job, number, bucket.finished(job, number))
    slices = [
        reports[item["name"]].slice if item["name"] in reports else slice_of(item)
        for item in bucket.list_of(job, number)
    ]
    return [each for each in slices if not each.done]


def last_round(bucket: WorkBucket, job: str) -> int:
    """Returns the number of the last round of a job."""
    number = 0
    while bucket.has_list(job, number + 1):
        number += 1
    return number


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
    found: Standing,
    failures: list[JobFailure],
    failed: list[JobFailure],
    cause: str,
) -> JobEnd:
    counts, left, kept = found.counts, found.left, found.kept
    try:
        result = task.finish(counts, failures, left=left)
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        return JobEnd(counts, left, {}, JobFailure.of_error(known), kept)
    if not left:
        return JobEnd(counts, left, result, None, kept)
    reasons = "; ".join(dict.fromkeys(each.text.rstrip(".") for each in failed)) or cause
    why = f": {reasons}" if reasons else ", because their workers did not get on with them"
    unfinished = IncompleteError(
        f"{left} slices of the {noun_of(job.task)} of {job.table} could not be finished{why}.",
        f"Fix the cause. {again(job.task)}",
    )
    return JobEnd(counts, left, result, JobFailure.of_error(unfinished), kept)
