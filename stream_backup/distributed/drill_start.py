"""The parent of a distributed drill: it chooses the moments, creates the scratch table, and starts
the execution. It also ends a drill whose execution ended without its last step."""

from contextlib import suppress
from dataclasses import dataclass, replace

from restore.new_table import identity_of
from restore.order import RestoreOrder
from restore.rewind_slices import RewindOrder
from restore.target import prepare
from stream_backup.archive.ranges import ranges_of
from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.point import RestorePoint, resolve, rows_of
from stream_backup.capture.state import state_of
from stream_backup.core.drill import DrillRecord, DrillResult
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.core.rounds import MOST_SLICES, PARTS_A_WORKER, list_again
from stream_backup.core.slice import NameSlice, Slice
from stream_backup.distributed.drill_order import DrillOrder
from stream_backup.distributed.drill_result import STOPPED, end_drill
from stream_backup.distributed.machine import ABORTED, RUNNING, Execution, name_of
from stream_backup.distributed.one_drill import COMPARED, COMPARED_AGAIN
from stream_backup.distributed.records import JobEnd
from stream_backup.distributed.restore import ROWS_A_SLICE
from stream_backup.distributed.run import DistributedRun
from stream_backup.drill.lifetime import remove_leftovers
from stream_backup.drill.prepare import (
    description_at,
    exact_age,
    point_of,
    random_for,
    second_moment,
)
from stream_backup.drill.run import GRACE, DrillRequest, catalog_of, ended_by, new_record
from stream_backup.drill.scratch import OnlyScratch, Scratch, description_of, remove, scratch_of
from stream_backup.progress import Progress

ROWS_A_SEGMENT = 500_000
"""Rows of a segment of the scans, which a worker reads in a few minutes. A worker that compares
reads of the rows of every segment, so more of them would take more requests."""

LONGEST = 5 * 24 * 3600
"""Seconds that a distributed drill may take."""


def start_drill(
    connection: Connection,
    found: DistributedRun,
    request: DrillRequest,
    workers: int | None,
    progress: Progress,
) -> Execution:
    """Starts a drill on at most so many workers. Raises UsageError when one of the table is under
    way, CoverageError when no moment, or not this one, is exact, and whatever else keeps it from
    being started. Then no scratch table is left, and the drill is on record, unless the table is
    not in the archive."""
    catalog_of(connection, request.table)
    found.require_none()
    record = new_record(connection, request)
    longest = record.began + LONGEST + GRACE
    scratch = scratch_of(record.archive, record.table, record.name, longest)
    at_once = min(workers or found.workers, found.workers)
    start = _Start(connection, found, request, at_once, progress, scratch, record)
    try:
        order, slices = start.prepare()
        stages = 1 + (COMPARED_AGAIN if order.rewind else COMPARED)
        limits = {"workers": at_once, "stages": stages}
        return found.start(record.name, slices, order.settings(), **limits)
    except BaseException as error:
        if start.record.scratch:
            progress.note(f"Removing scratch table {scratch.name}.")
        with suppress(Exception):  # the first error is the one to report
            for each in found.machine.executions(name_of(record.table, record.name), RUNNING):
                found.stop(each)
            end_drill(connection, scratch, replace(start.record, **ended_by(error)))  # type: ignore[arg-type]
        raise


@dataclass(slots=True)
class _Start:
    """At most `at_once` slices are worked on at once. `record` has what is known so far."""

    connection: Connection
    found: DistributedRun
    request: DrillRequest
    at_once: int
    progress: Progress
    scratch: Scratch
    record: DrillRecord

    def prepare(self) -> tuple[DrillOrder, tuple[Slice, ...]]:
        """Creates the scratch table. Returns what the workers must know, and the slices of the
        restore."""
        connection, seed = self.connection, self.record.seed
        state = state_of(connection, self.record.table)
        removed = settle_last(connection, self.found, self.progress)
        removed += remove_leftovers(connection.dynamodb, self.scratch, state.now, self.progress)
        self.record = replace(self.record, removed=tuple(removed), exact_age=exact_age(state))
        point = point_of(connection, state, self.request.choice, seed, self.progress)
        self.record = replace(self.record, moment=point.moment)
        rewind = self._rewind(point)
        share = self.request.sample or 1.0
        part = ranges_of(share, random_for(seed, "part")) if share < 1 else ()
        self.record = replace(self.record, scratch=self.scratch.name)
        self.progress.note(
            f"Restoring {self.record.part} of {point.table} as of {iso(point.moment)} to scratch"
            f" table {self.scratch.name}."
        )
        rows = rows_of(point)
        slices = list_again(part or [NameSlice()], self.at_once, ROWS_A_SLICE / max(rows, 1))
        segments = max(PARTS_A_WORKER * self.at_once, round(rows * share) // ROWS_A_SEGMENT)
        segments = min(segments, MOST_SLICES)
        return self._create(point, rewind, part, len(slices), segments), slices

    def _rewind(self, point: RestorePoint) -> RewindOrder | None:
        moment = second_moment(point, self.record.seed, self.progress)
        if moment is None:
            return None
        connection, state = self.connection, point.state
        to = resolve(connection, state, moment, self.progress, incomplete_ok=False)
        return RewindOrder(self.scratch.name, point.moment, moment, to.floor, to.lateness)

    def _create(
        self,
        point: RestorePoint,
        rewind: RewindOrder | None,
        part: tuple[NameSlice, ...],
        slices: int,
        segments: int,
    ) -> DrillOrder:
        description = description_at(self.connection, point)
        chosen = Selection(self.connection.archive(point.table))
        identity = identity_of(self.record.archive, chosen, point, incomplete_ok=False)
        restoring, made = self.connection.clock(), description_of(description, self.scratch)
        dynamodb = OnlyScratch(self.connection.dynamodb, self.scratch.name)
        how = {"overwrite": False, "stream": False}
        target = prepare(dynamodb, self.scratch.name, made, identity, **how)
        return DrillOrder(
            record=self.record,
            until=self.scratch.until,
            restoring=restoring,
            restore=RestoreOrder(target.name, point.moment, point.floor, point.lateness),
            rewind=rewind,
            key=KeySchema.of(description.table),
            part=part,
            arn=target.arn,
            identity=identity,
            description=made,
            slices=slices,
            segments=segments,
        )


def settled(connection: Connection, found: DistributedRun, execution: Execution) -> DrillRecord:
    """Returns the record of a drill whose execution has ended. Where it ended without its last
    step, as one that was stopped does, this is done now: the scratch table is removed, and the
    record is written."""
    end = found.bucket.end(execution.job)
    if end and end.result:
        return DrillRecord.of(end.result)
    found.bucket.stop(execution.job)  # its workers may go on for some minutes
    order = DrillOrder.of(found.bucket.job(execution.job).settings)
    stopped = execution.status == ABORTED
    # Its cause is not on record: it may contain what an item contains.
    reason = f"Its execution ended: {execution.status} {execution.error}".strip() + "."
    if stopped:
        reason = STOPPED
    elif end and end.failure:
        reason = end.failure.text
    result: DrillResult = "interrupted" if stopped else "failed"
    record = replace(order.record, result=result, reason=reason)
    record = end_drill(connection, order.scratch, record)
    found.bucket.write_end(execution.job, JobEnd({}, 0, record.record()))
    return record


def settle_last(connection: Connection, found: DistributedRun, progress: Progress) -> list[str]:
    """Ends the last drill of the table if nobody has. Returns the names of the scratch tables that
    it removed. A job that is not in the work bucket any more is left alone: its scratch table is
    found by its tag."""
    last = next(found.machine.executions(name_of(found.table)), None)
    if last is None or not found.bucket.has_list(last.job, 0):
        return []
    end = found.bucket.end(last.job)
    if end and end.result:
        return []
    scratch = DrillOrder.of(found.bucket.job(last.job).settings).scratch
    removed = remove(connection.dynamodb, scratch)
    settled(connection, found, found.machine.describe(last))
    if not removed:
        return []
    progress.note(f"Removed scratch table {scratch.name} of an interrupted drill.")
    return [scratch.name]
