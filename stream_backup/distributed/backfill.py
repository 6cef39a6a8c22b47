"""A distributed backfill: its slices are the segments of the scan, and how far each of them has
come is kept in the archive, as for a local backfill. So either kind resumes the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from backfill.run import Backfill, confirm
from backfill.segment import Counts
from backfill.share import Share
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Run
from stream_backup.core.rounds import MOST_SLICES
from stream_backup.core.slice import ScanSlice, Slice
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.records import DistributedJob, JobFailure, Report
from stream_backup.distributed.task import LaterStage
from stream_backup.errors import IncompleteError

ROWS_A_SLICE = 100_000
"""Rows of a segment of a new run. A worker reads them in about a minute, so the last worker ends
about a minute after the one before it. A segment cannot be split later."""

FEWEST_SLICES = 16

PAGE_ROWS = 2500
"""Rows of a page at most. What a worker has written of a page counts when all of it is written. One
partition of S3 takes 3,500 PUT requests a second (Amazon S3 User Guide, "Best practices design
patterns: optimizing Amazon S3 performance"), so with 1,000 workers and a new archive each of them
writes so many in 12 of its 14 minutes."""


def segments_for(rows: int) -> int:
    """Returns the number of segments of a new run for a table of so many rows."""
    return min(max(FEWEST_SLICES, rows // ROWS_A_SLICE), MOST_SLICES)


def settings_of(share: Share, schema: KeySchema, *, resumed: bool) -> dict[str, Any]:
    """Returns the settings of the job that scans the unfinished segments of a share. `before` has
    the counts of those that are done; `resumed` says whether the run was begun earlier."""
    before = Counts()
    for kept in share.kept.values():
        if kept and kept.next is None:
            before.add(Counts.of(kept))
    return {
        "run": share.run.record(),
        "empty": share.empty,
        "key": [list(each) for each in schema.attributes],
        "before": before.checkpoint(),
        "resumed": resumed,
    }


def slices_of(share: Share) -> list[ScanSlice]:
    """Returns the segments of a share that are not done."""
    total = share.run.counts["segments"]
    return [
        ScanSlice(number, total, kept.next if kept else None)
        for number, kept in sorted(share.kept.items())
        if kept is None or kept.next is not None
    ]


@dataclass(frozen=True, slots=True)
class BackfillTask:
    """The backfill of one job, a `JobTask`."""

    connection: Connection
    job: DistributedJob

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Scans a segment from its checkpoint on."""
        assert isinstance(piece, ScanSlice)
        archive, run = self._archive(), self._run
        catalog, number = Catalog(archive), piece.segment
        kept = catalog.segment_checkpoint(run.name, number)
        asked, empty = self.connection.clock(), bool(self.job.settings["empty"])
        share = Share(run, empty, asked, {number: kept})
        stop, over = limits.time.stop, limits.time.over.is_set
        work = self.connection.dynamodb, archive, limits.reading, stop
        found = share.scan(*work, lambda _: None, over, PAGE_ROWS).counts
        now = catalog.segment_checkpoint(run.name, number)
        if now and now.next is None:
            return Report(piece.finished(), Counts.of(now).checkpoint(), advanced=True)
        reached = piece.reached(now.next) if now else piece
        advanced, pending = now != kept, found.checkpoint()
        return Report(reached, {}, advanced=advanced, pending=pending, failures=_why(found))

    @property
    def later(self) -> Sequence[LaterStage]:
        """None: there is one stage."""
        return ()

    def record(self, left: Sequence[Slice]) -> None:
        """Does nothing: each worker has recorded its segment."""

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        """Writes the record of the run, as a local backfill does, so that it gives coverage."""
        stop, archive, dynamodb = Event(), self._archive(), self.connection.dynamodb
        if left:
            stop.set()
        backfill = Backfill(dynamodb, archive, None, None, lambda _: None, stop)
        whole = _counts_of(self.job.settings["before"])
        whole.add(_counts_of(counts))
        whole.failures = [failure.error() for failure in failures]
        run = backfill.finish(self._run, whole)
        if run.complete and run.stream:
            run = confirm(dynamodb, archive, run)
        return run.record()

    @property
    def _run(self) -> Run:
        return Run.of(self.job.settings["run"])

    def _archive(self) -> Archive:
        schema = KeySchema(tuple((name, kind) for name, kind in self.job.settings["key"]))
        return self.connection.archive(self.job.table, schema)


def _counts_of(counts: Mapping[str, int]) -> Counts:
    names = ("read", "written", "already_there", "failed", "seen")
    return Counts.of(SegmentCheckpoint(None, {name: counts.get(name, 0) for name in names}))


def _why(counts: Counts) -> tuple[JobFailure, ...]:
    known = ((translate(each), type(each).__name__) for each in counts.failures)
    # The text of an error that nobody expected may contain what an item contains.
    return tuple(JobFailure.of_error(error or IncompleteError(name)) for error, name in known)
