"""A backfill run: every segment of one table, from start or from where an unfinished run stopped, to a run on record.

It gives coverage only when it is complete and the stream was on from before its first page until after its last.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from uuid import uuid4

from backfill.capacity import Capacity
from backfill.segment import Checkpoint, Counts
from backfill.share import Share
from backfill.workers import Workers
from stream_backup.archive import Archive
from stream_backup.change import MARGIN
from stream_backup.coverage import Run, Stretch, epochs
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import ArchiveError, IncompleteError, UsageError
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.survey import Live
from stream_backup.table import describe, require

NO_STREAM = ""

SEGMENTS = 4
"""Of each process, unless told otherwise: while one waits for its next page, the others have something to write."""


@dataclass(slots=True)
class Backfill:
    """`segments` are scanned at once; None: as many as the unfinished run it goes on with, else 4 a process. `units` is the
    read capacity a second it may use, None for no limit. Without `workers` this process scans, until `stop` is set."""

    dynamodb: DynamoDB
    archive: Archive
    segments: int | None
    units: float | None
    progress: Callable[[Counts], None]
    stop: Event
    workers: Workers | None = None

    def begin(self, *, without_stream: bool) -> tuple[Run, bool]:
        """The run to make: an unfinished one of this stream, or a new one; and whether it goes on.

        Raises UsageError while the stream is off or not enabled here, unless `without_stream`.
        """
        meta = Meta(self.archive)
        live, now = require(self.dynamodb, self.archive.table)
        stream = next((stream for stream in meta.streams() if stream.label == live.label), None)
        if stream is None and not without_stream:
            off = live.label is None
            raise UsageError(
                f"The stream of {self.archive.table} is {'off' if off else 'not one this archive knows'}, "
                "so changes made during the backfill would be missed.",
                f"Run: stream-backup enable {self.archive.table}. Or pass --without-stream for rows that can never be "
                "restored as exact.",
            )
        if stream:
            meta.write_description(stream.label, describe(self.dynamodb, live.description))
        label = stream.label if stream else NO_STREAM
        stretch = [piece for piece in meta.stretches() if piece.stream == stream][-1] if stream else None
        since = stretch.healed_from or stretch.stream.floor if stretch else NEVER_FLOOR
        for run in reversed(meta.runs()):
            begun = run.counts.get("segments")  # what their checkpoints are of, so it goes on with as many
            unfinished = run.stream == label and not run.complete and begun and self.segments in (None, begun)
            if unfinished and run.floor >= since:  # one begun before an outage would heal nothing
                return run, True
        while now - MARGIN < since and stretch and stretch.healed_from is not None:
            time.sleep(0.5)  # a change that comes after the first page must not be stamped before the floor
            _, now = require(self.dynamodb, self.archive.table)
        asked = now - MARGIN
        counts = {"segments": self.segments or SEGMENTS * (self.workers.number if self.workers else 1)}
        floor = _floor(meta, stretch, asked) if stretch else NEVER_FLOOR
        run = Run(f"{iso(now)}-{uuid4().hex[:6]}", label, floor, max(asked, floor), now, complete=False, counts=counts)
        meta.write_run(run)
        return run, False

    def execute(self, run: Run) -> tuple[Run, Counts]:
        """Scans every segment; the run as it is then on record, and what it counted.

        Raises IncompleteError or ArchiveError when items could not be written: going on later reads them again.
        """
        meta = Meta(self.archive)
        kept = self._checkpoints(run)
        _, asked = require(self.dynamodb, self.archive.table)
        stream = next((stream for stream in meta.streams() if stream.label == run.stream), None)
        empty = bool(stream and stream.empty and run.floor == stream.floor)
        share = Share(run, empty, asked, {number: kept.get(number) for number in range(run.counts["segments"])})
        capacity = Capacity(self.units)
        if self.workers:
            whole = self.workers.scan(share, capacity, self.progress)
        else:
            whole = share.scan(self.dynamodb, self.archive, capacity, self.stop, self.progress)
        return self._finish(meta, run, whole), whole

    def _finish(self, meta: Meta, run: Run, counts: Counts) -> Run:
        live, now = require(self.dynamodb, self.archive.table)
        done = not counts.failed and not self.stop.is_set()
        whole = done and (run.stream in (NO_STREAM, live.label))
        recorded = {"segments": run.counts["segments"]} | counts.record()
        answered = now + 1 + MARGIN if run.stream else now
        run = replace(run, answered=answered, complete=whole, counts=recorded)
        meta.write_run(run)
        if counts.failures:
            kind = ArchiveError if all(isinstance(error, ArchiveError) for error in counts.failures) else IncompleteError
            listed = "; ".join(str(error) for error in counts.failures[:5])
            raise kind(
                f"{counts.failed} of {counts.read} items could not be written: {listed}",
                f"When that is mended, go on with: stream-backup backfill {self.archive.table}",
            )
        if done and not whole:
            raise IncompleteError(
                f"The stream of {self.archive.table} went off or was replaced while the backfill ran, so it covers nothing.",
                f"Run: stream-backup enable {self.archive.table}, then the backfill again.",
            )
        return run

    def _checkpoints(self, run: Run) -> dict[int, Checkpoint]:
        return {int(number): kept for number, kept in self.archive.read_meta(f"segments/{run.name}").items()}


NEVER_FLOOR = 0
"""Floor of a run without a stream: it replaces nothing that is there."""


def wait_for_start(dynamodb: DynamoDB, table: str, run: Run) -> None:
    """Returns when the second at which the run's coverage starts has passed on AWS's clock."""
    while require(dynamodb, table)[1] <= run.answered:
        time.sleep(0.5)


def units_of(live: Live, share: float) -> float | None:
    """`share` of a provisioned table's read capacity; None, no limit, for an on-demand one."""
    found = live.description
    if found.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST":
        return None
    return float(found["ProvisionedThroughput"]["ReadCapacityUnits"]) * share or None


def _floor(meta: Meta, stretch: Stretch, asked: int) -> int:
    """Where an epoch has begun in this stretch, its floor; else the one a run asked now would begin."""
    begun = epochs([stretch], meta.runs())
    if begun:
        return begun[0].floor
    return stretch.stream.floor if stretch.healed_from is None else asked
