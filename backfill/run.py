"""A backfill run: every segment of one table, from its start or from where an unfinished run
stopped, to a completed record.

It gives coverage only when it is complete and the stream was on from before its first page until
after its last.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event
from uuid import uuid4

from backfill.segment import Counts
from backfill.share import Share, scan_with
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import never
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.table import describe, require
from stream_backup.core.coverage import Epoch, Stretch, epochs
from stream_backup.core.moment import iso
from stream_backup.core.records import NO_STREAM, Run, Stream
from stream_backup.core.repair import standing
from stream_backup.core.time_rule import FOREVER, on_until, scan_interval
from stream_backup.errors import ArchiveError, IncompleteError, UsageError
from stream_backup.workers.crew import Workers

NO_FLOOR = 0
"""The floor of a run without a stream: it replaces nothing."""

SEGMENTS = 4
"""Segments of each process by default: while one waits for its next page, the others have something
to write."""

LISTED = 5
"""How many errors a message names."""


@dataclass(slots=True)
class Backfill:
    """`segments` are scanned at once; None means as many as the unfinished run that is resumed has,
    else `new_segments`, else SEGMENTS a process. `units` is the read capacity a second that it may
    use, None for no limit. Without `workers` this process scans, until `stop` is set, or until each
    segment has written a page and the time is `over`: the run is then not complete, and can be
    resumed."""

    dynamodb: DynamoDB
    archive: Archive
    segments: int | None
    units: float | None
    progress: Callable[[Counts], None]
    stop: Event
    workers: Workers | None = None
    new_segments: int | None = None
    over: Callable[[], bool] = never

    def begin(self, *, without_stream: bool) -> tuple[Run, bool]:
        """Returns the run to execute, an unfinished one of this stream or a new one, and whether it
        is resumed.

        Raises UsageError while the stream is off or not enabled in this archive, unless
        `without_stream`.
        """
        catalog, table = Catalog(self.archive), self.archive.table
        live, now = require(self.dynamodb, table)
        self.archive.meta.show()
        streams = catalog.streams()
        stream = next((stream for stream in streams if stream.label == live.label), None)
        if stream is None and not without_stream:
            state = "off" if live.label is None else "not known to this archive"
            raise UsageError(
                f"The stream of {table} is {state}, so changes made during the backfill would be"
                " missed.",
                f"Run: stream-backup enable {table}. Or pass --without-stream to save rows that can"
                " never be restored as exact.",
            )
        if stream:
            catalog.write_description(stream.label, describe(self.dynamodb, live.description))
        stretch = _stretch(catalog, stream)
        since = _since(catalog, stretch) if stretch else NO_FLOOR
        label = stream.label if stream else NO_STREAM
        if unfinished := self._unfinished(catalog, label, since):
            # Until then at least it may have replaced versions (`core/order.py`).
            unfinished = replace(unfinished, answered=max(now, unfinished.answered))
            catalog.write_run(unfinished)
            return unfinished, True
        while stretch and scan_interval(now, now).at < since:
            # A change that comes after the first page must not be stamped before the floor.
            time.sleep(0.5)
            _, now = require(self.dynamodb, table)
        asked = scan_interval(now, now).at
        floor = _floor(catalog, stretch, asked) if stretch else NO_FLOOR
        run = Run(
            name=f"{iso(now)}-{uuid4().hex[:6]}",
            stream=label,
            floor=floor,
            asked=max(asked, floor),
            answered=now,
            complete=False,
            counts={"segments": self.segments or self.new_segments or SEGMENTS * self._processes},
        )
        catalog.write_run(run)
        return run, False

    @property
    def _processes(self) -> int:
        return self.workers.number if self.workers else 1

    def _unfinished(self, catalog: Catalog, label: str, since: int) -> Run | None:
        """The latest unfinished run of this stream that can be resumed. One that began before an
        outage would heal nothing, and its checkpoints are those of its own number of segments."""
        for run in reversed(catalog.runs()):
            begun = run.counts.get("segments")
            same = run.stream == label and not run.complete
            if same and begun and self.segments in (None, begun) and run.floor >= since:
                return run
        return None

    def execute(self, run: Run) -> tuple[Run, Counts]:
        """Scans every segment; returns the run as it is then recorded, and its counts. Raises what
        `share` and `finish` raise."""
        share, budget = self.share(run), ReadBudget(self.units)
        if self.workers:
            whole = scan_with(self.workers, share, budget, self.progress)
        else:
            work = self.dynamodb, self.archive, budget, self.stop, self.progress, self.over
            whole = share.scan(*work).counts
        return self.finish(run, whole), whole

    def share(self, run: Run) -> Share:
        """Returns all segments of a run, and how far each has been scanned. Raises UsageError when
        a run without a stream finds that the stream was enabled meanwhile."""
        catalog, table = Catalog(self.archive), self.archive.table
        kept = catalog.segment_checkpoints(run.name)
        streams = {stream.label: stream for stream in catalog.streams()}
        live, asked = require(self.dynamodb, table)
        if run.stream == NO_STREAM and live.label in streams:
            raise UsageError(
                f"The stream of {table} was enabled meanwhile.",
                f"Run: stream-backup backfill {table}",
            )
        empty = self._is_empty(catalog, run, streams.get(run.stream))
        numbers = range(run.counts["segments"])
        return Share(run, empty, asked, {number: kept.get(number) for number in numbers})

    def _is_empty(self, catalog: Catalog, run: Run, stream: Stream | None) -> bool:
        """Whether the archive certainly has no version that is stamped before the floor.

        A run without a stream may have saved such versions after `enable` found the archive empty.
        It records itself before it looks for a stream, and `enable` records the stream before this
        is called, so one of the two finds the other.
        """
        if stream is None or not stream.empty or run.floor != stream.floor:
            return False
        return not any(each.stream == NO_STREAM for each in catalog.runs())

    def _is_scanned(self, catalog: Catalog, run: Run) -> bool:
        """Whether every segment was scanned to its end, and not left when the time was over."""
        if self.over is never:
            return True
        kept = catalog.segment_checkpoints(run.name)
        found = (kept.get(number) for number in range(run.counts["segments"]))
        return all(each is not None and each.next is None for each in found)

    def finish(self, run: Run, counts: Counts) -> Run:
        """Records what a run read and wrote, and returns it. It is complete unless `stop` is set,
        an item failed, or its stream is another one by now.

        Raises IncompleteError or ArchiveError when items could not be written: resuming reads them
        again.
        """
        catalog, table = Catalog(self.archive), self.archive.table
        live, now = require(self.dynamodb, table)
        done = not counts.failed and not self.stop.is_set() and self._is_scanned(catalog, run)
        complete = done and run.stream in (NO_STREAM, live.label)
        recorded = {"segments": run.counts["segments"]} | counts.record()
        # The hosts that answered the pages may have had other clocks than the last one.
        answered = max(counts.seen, scan_interval(now, now).seen) if run.stream else now
        run = replace(run, answered=answered, complete=complete, counts=recorded)
        catalog.write_run(run)
        if counts.failures:
            foreign = all(isinstance(error, ArchiveError) for error in counts.failures)
            listed = "; ".join(str(error) for error in counts.failures[:LISTED])
            raise (ArchiveError if foreign else IncompleteError)(
                f"{counts.failed} of {counts.read} items could not be written: {listed}",
                f"Fix the cause, then resume with: stream-backup backfill {table}",
            )
        if done and not complete:
            raise IncompleteError(
                f"The stream of {table} was switched off or replaced during the backfill, so the"
                " backfill gives no coverage.",
                f"Run: stream-backup enable {table}; then run the backfill again.",
            )
        return run


def confirm(dynamodb: DynamoDB, archive: Archive, run: Run) -> Run:
    """Returns the run, recorded as a witness, once it is certain that its stream was on in the
    second in which its coverage starts. Otherwise that second could not be restored any more if the
    table were deleted before its next change. Returns it unchanged if the stream is off by then."""
    while True:
        live, now = require(dynamodb, archive.table)
        if live.label != run.stream:
            return run
        witness = on_until(now)
        if witness >= run.answered:
            run = replace(run, witness=witness)
            Catalog(archive).write_run(run)
            return run
        time.sleep(0.5)


def _stretch(catalog: Catalog, stream: Stream | None) -> Stretch | None:
    """The last stretch of a stream, which the run may turn into an epoch."""
    if stream is None:
        return None
    return [piece for piece in catalog.stretches() if piece.stream.label == stream.label][-1]


def _begun(catalog: Catalog, stretch: Stretch) -> Epoch | None:
    """The epoch of this stretch, where it has one."""
    announced = catalog.lateness(FOREVER).announced
    repairs = standing(catalog.repairs(), announced)
    return next(iter(epochs([stretch], catalog.runs(), repairs)), None)


def _since(catalog: Catalog, stretch: Stretch) -> int:
    """The earliest floor that a run of this stretch can have, so that it can be resumed."""
    begun = _begun(catalog, stretch)
    return begun.floor if begun else stretch.healed_from or stretch.stream.floor


def _floor(catalog: Catalog, stretch: Stretch, asked: int) -> int:
    """The floor of the epoch of this stretch, or the one that a run asked now would begin."""
    if begun := _begun(catalog, stretch):
        return begun.floor
    return stretch.stream.floor if stretch.healed_from is None else asked
