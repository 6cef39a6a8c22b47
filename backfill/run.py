"""A backfill run: every segment of one table, from start or from where an unfinished run stopped, to a run on record.

It gives coverage only when it is complete and the stream was on from before its first page until after its last.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from uuid import uuid4

from backfill.capacity import Capacity
from backfill.segment import WRITERS, Checkpoint, Counts, Segment
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


@dataclass(slots=True)
class Backfill:
    """`segments` are scanned at once; `units` is the read capacity a second it may use, None for no limit."""

    dynamodb: DynamoDB
    archive: Archive
    segments: int
    units: float | None
    progress: Callable[[Counts], None]
    stop: Event

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
            unfinished = run.stream == label and not run.complete and run.counts.get("segments") == self.segments
            if unfinished and run.floor >= since:  # one begun before an outage would heal nothing
                return run, True
        while now - MARGIN < since and stretch and stretch.healed_from is not None:
            time.sleep(0.5)  # a change that comes after the first page must not be stamped before the floor
            _, now = require(self.dynamodb, self.archive.table)
        asked = now - MARGIN
        counts = {"segments": self.segments}
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
        whole = Counts()
        with ThreadPoolExecutor(WRITERS) as pool, ThreadPoolExecutor(self.segments) as scanners:
            capacity = Capacity(self.units)
            segments = [
                Segment(
                    dynamodb=self.dynamodb,
                    archive=self.archive,
                    run=run,
                    number=number,
                    total=self.segments,
                    empty=bool(stream and stream.empty and run.floor == stream.floor),
                    capacity=capacity,
                    pool=pool,
                    stop=self.stop,
                    save=lambda number, checkpoint: self._save(run, number, checkpoint),
                    progress=self.progress,
                )
                for number in range(self.segments)
            ]
            futures = [scanners.submit(segment.scan, kept.get(segment.number), asked) for segment in segments]
            try:
                for future in futures:
                    whole.add(future.result())
            except BaseException:
                self.stop.set()  # the next run reads again the pages the others are at: that costs only requests
                raise
        return self._finish(meta, run, whole), whole

    def _finish(self, meta: Meta, run: Run, counts: Counts) -> Run:
        live, now = require(self.dynamodb, self.archive.table)
        done = not counts.failed and not self.stop.is_set()
        whole = done and (run.stream in (NO_STREAM, live.label))
        recorded = {"segments": self.segments} | counts.record()
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

    def _save(self, run: Run, number: int, checkpoint: Checkpoint) -> None:
        self.archive.write_meta(f"segments/{run.name}/{number}", checkpoint)


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
