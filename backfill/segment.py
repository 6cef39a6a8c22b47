"""One segment of a table's scan, written to the archive page by page, resumed from its checkpoint.

A page is scanned consistently and stamped with the interval in which it was answered, by AWS's own
clock: from the answer before it to its own (Amazon DynamoDB Developer Guide, "Working with scans",
"Read consistency for scan").
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Event

from obstore.exceptions import BaseError

from stream_backup.archive.layout import Archive, Object
from stream_backup.archive.slices import never
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.scan import ScanPage, TableScan
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.item import Item
from stream_backup.core.records import Run
from stream_backup.core.time_rule import scan_interval
from stream_backup.errors import ArchiveError

STALE = 600
"""Seconds between question and answer after which a page is asked for again: its interval would be
too wide to be of use (a laptop was asleep)."""

_LOOK = 1.0
"""Seconds after which somebody who waits looks whether the time is over."""

LISTED = 20
"""How many errors are kept."""

PIECES, PIECE = 128, 5
"""Pieces of a page at least, so that the pages of four segments suffice for as many requests as may
be in flight, and items of a piece at most. A thread puts the items of a piece one after another:
handing over each of them would cost a fifth of putting it."""


@dataclass(slots=True)
class Counts:
    """What a scan did: items read, written, already in the archive (`existing`) and failed, and the
    first errors. `seen` is the latest second that a page can be of."""

    read: int = 0
    written: int = 0
    existing: int = 0
    failed: int = 0
    failures: list[Exception] = field(default_factory=list)
    seen: int = 0

    def add(self, other: "Counts") -> None:
        """Adds what another part of the scan did."""
        self.read += other.read
        self.written += other.written
        self.existing += other.existing
        self.failed += other.failed
        self.failures = (self.failures + other.failures)[:LISTED]
        self.seen = max(self.seen, other.seen)

    @classmethod
    def of(cls, checkpoint: SegmentCheckpoint | None) -> "Counts":
        """Returns what was done up to a checkpoint."""
        if checkpoint is None:
            return cls()
        kept = checkpoint.counts
        return cls(
            kept["read"],
            kept["written"],
            kept["already_there"],
            kept["failed"],
            seen=kept.get("seen", 0),  # an earlier release kept none
        )

    def checkpoint(self) -> dict[str, int]:
        """Returns the counts as a segment keeps them until the run ends."""
        return self.record() | {"seen": self.seen}

    def record(self) -> dict[str, int]:
        """Returns the counts as they are stored with the run."""
        return {
            "read": self.read,
            "written": self.written,
            "already_there": self.existing,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment by its number, and what all segments of a run share."""

    dynamodb: DynamoDB
    archive: Archive
    run: Run
    number: int
    total: int
    empty: bool
    budget: ReadBudget
    pool: Executor
    stop: Event
    save: Callable[[int, SegmentCheckpoint], None]
    progress: Callable[[Counts], None]
    over: Callable[[], bool] = never
    page_rows: int | None = None

    def scan(self, kept: SegmentCheckpoint | None, asked: int) -> Counts:
        """Scans from the checkpoint `kept` to the end, or until `stop` is set, or until a page has
        been written and the time is `over`; `asked` is a past second of AWS's clock. A page whose
        items could not all be written is not included in a checkpoint, so that the next run reads
        it again."""
        whole = Counts.of(kept)
        self.progress(whole)
        if kept and kept.next is None:
            return whole
        for page, since in self._pages(kept.next if kept else None, asked):
            counts = self._write(page.items, since, page.moment)
            whole.add(counts)
            self.progress(counts)
            if counts.failed or counts.read < len(page.items):
                return whole
            self.save(self.number, SegmentCheckpoint(page.following, whole.checkpoint()))
            if self.over():
                return whole
        return whole

    def _pages(self, start: Item | None, asked: int) -> Iterator[tuple[ScanPage, int]]:
        """Yields each page and the second in which it was asked for."""
        where = self.dynamodb, self.archive.table, self.number, self.total
        scan = TableScan(*where, most=self.page_rows)
        while not self.stop.is_set():
            page = scan.page(start)
            while page.moment - asked > STALE:
                asked = page.moment
                page = scan.page(start)
            pause = self.budget.spend(page.consumed)
            yield page, asked
            if page.following is None:
                return
            # A page is written before the wait for it: whoever stops meanwhile keeps it.
            self._pause(pause)
            if self.over():
                return
            start, asked = page.following, page.moment

    def _pause(self, seconds: float) -> None:
        """Waits so long, but not beyond the time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.over():
            if self.stop.wait(min(left, _LOOK)):
                return

    def _write(self, items: Sequence[Item], asked: int, answered: int) -> Counts:
        """Writes the items of a page. They are encoded here and put by the pool: Python code in
        many threads costs several times what it costs in a few."""
        schema = self.archive.schema
        assert schema is not None
        floor = self.run.floor
        scanned = (Change.scanned(item, schema, asked, answered, floor) for item in items)
        rows = [self.archive.object_of(change) for change in scanned]
        whole = Counts(seen=scan_interval(asked, answered).seen)
        piece = max(1, min(PIECE, len(rows) // PIECES))
        parts = (rows[start : start + piece] for start in range(0, len(rows), piece))
        for done in self.pool.map(self._put, parts):
            whole.add(done)
        return whole

    def _put(self, rows: Sequence[Object]) -> Counts:
        done = Counts()
        for row in rows:
            if self.stop.is_set():
                break
            done.read += 1
            try:
                fresh = self.archive.put_baseline(row, self.run.floor, empty=self.empty)
                done.written += fresh
                done.existing += not fresh
            except (ArchiveError, OSError, BaseError) as error:
                done.failed += 1
                done.failures.append(error)
        return done
