"""The stages of a distributed drill after the restore: the copy is scanned and compared, rewound to
another moment, scanned and compared again, and judged.

A stage may begin twice, because the step that begins it may be repeated. What it does to the
scratch table is done only before its beginning is on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from restore.rewind_slices import RewindOrder, SliceRewound, rewind_slices
from stream_backup.archive.pool import RequestPool
from stream_backup.core.slice import NameSlice, ScanSlice, Slice, cut_names, cut_scan
from stream_backup.distributed.limits import Limits, WorkTime
from stream_backup.distributed.one_drill import (
    COMPARED,
    COMPARED_AGAIN,
    REWOUND,
    SCANNED,
    SCANNED_AGAIN,
    OneDrill,
    report_of,
)
from stream_backup.distributed.parts import AT_ONCE, Parts
from stream_backup.distributed.records import Report, add
from stream_backup.distributed.row_objects import RowsWriter, read_rows
from stream_backup.distributed.task import Begun, LaterStage
from stream_backup.distributed.waves import Waves, do_in_waves
from stream_backup.drill.compare import NAMED, CompareOrder, CopyCompared, compare_copy
from stream_backup.drill.scratch import require_scratch
from stream_backup.verify.packed import PackedRows, SortedRows
from stream_backup.verify.shares import scan_slices

COMPARED_BYTES = 64 * 1024**2
"""Bytes of rows that a worker keeps in memory at once. They take three times as much there."""


@dataclass(frozen=True, slots=True)
class LaterDrillStage:
    """A stage after the restore: the `number` that it has in the job, and its `name` in counts. It
    records nothing between its rounds, because a drill is never resumed."""

    one: OneDrill
    number: int
    name: str

    def begin(self, counts: Mapping[str, int], kept: Sequence[Mapping[str, Any]]) -> Begun:  # noqa: ARG002
        """Does what must be done first, and returns the slices."""
        settings = {} if self.one.is_begun(self.number) else self.prepare()
        return Begun(self.slices(), settings)

    def prepare(self) -> dict[str, Any]:
        """Does nothing before the stage begins."""
        return {}

    def slices(self) -> Sequence[Slice]:
        """Returns even slices of all names."""
        return cut_names(self.one.order.slices)

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Does as much of a slice as the limits allow: each kind of stage has its own."""
        raise NotImplementedError

    def record(self, left: Sequence[Slice]) -> None:
        """Does nothing."""

    def report(
        self, before: Slice, after: Slice, counts: Mapping[str, int], **kept: Sequence[str]
    ) -> Report:
        """Returns the report of a worker. `kept` is what is kept of it, where that is not empty."""
        return report_of(self.name, before, after, counts, **kept)


@dataclass(frozen=True, slots=True)
class ScanCopy(LaterDrillStage):
    """Scans the scratch table into the work bucket. After the restore (`restored`), it is first
    marked as complete, as every restored table is."""

    restored: bool = False

    def prepare(self) -> dict[str, Any]:
        """Ends the restore, and returns when it ended."""
        if not self.restored:
            return {}
        self.one.order.target(self.one.dynamodb).finish()
        return {"restored": self.one.connection.clock()}

    def slices(self) -> Sequence[Slice]:
        """Returns the segments of the scan."""
        return cut_scan(self.one.order.segments)

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Scans a segment from where it is done on, and stores its rows."""
        assert isinstance(piece, ScanSlice)
        one, time = self.one, limits.time
        if late := one.late(piece):
            return late
        rows = RowsWriter(one.bucket, one.job.name)
        work = one.dynamodb, one.scratch.name, one.order.key, limits.reading, time.stop
        (reached,) = scan_slices([piece], *work, rows, lambda _: None, time.over.is_set)
        rows.flush()
        counts = {f"{self.name} rows": sum(each.rows for each in rows.kept)}
        kept = [each.record() for each in rows.kept]
        return Report(reached, counts, advanced=reached != piece, kept=kept)


@dataclass(frozen=True, slots=True)
class CompareCopy(LaterDrillStage):
    """Compares the rows that the stage before it has scanned with what they were by `order`."""

    order: CompareOrder

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Compares a slice of names."""
        assert isinstance(piece, NameSlice)
        if late := self.one.late(piece):
            return late
        objects = [PackedRows.of(each) for each in self.one.kept_for(self.number)]
        size, at, done = sum(each.size for each in objects), piece, list[CopyCompared]()
        with RequestPool() as pool:
            while not at.done:
                some = at.split(ceil(at.left * size / COMPARED_BYTES))[0]
                rows = read_rows(self.one.bucket, objects, some)
                found = self._compare(some, rows, pool, limits.time)
                done += found.done
                if found.slice.after:
                    at = at.reached(found.slice.after)
                if not found.slice.done:
                    break
        examples = [example for each in done for example in each.examples][:NAMED]
        return self.report(piece, at, add(each.counts for each in done), examples=examples)

    def _compare(
        self, piece: NameSlice, rows: SortedRows, pool: RequestPool, time: WorkTime
    ) -> Waves[CopyCompared]:
        def compare(parts: Sequence[NameSlice]) -> list[CopyCompared]:
            work = self.order, parts, self.one.archive, rows, pool, time.stop
            return compare_copy(*work, over=time.over.is_set, at_once=AT_ONCE)

        return do_in_waves(piece, Parts.of(piece), compare, time)


@dataclass(frozen=True, slots=True)
class RewindCopy(LaterDrillStage):
    """Rewinds the copy to the second moment, once it has been seen that the table is the scratch
    table of this drill."""

    order: RewindOrder

    def prepare(self) -> dict[str, Any]:
        """Checks the name and the tag of the table."""
        require_scratch(self.one.dynamodb, self.one.scratch)
        return {}

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Rewinds a slice of names."""
        assert isinstance(piece, NameSlice)
        if late := self.one.late(piece):
            return late
        time = limits.time

        def rewind(parts: Sequence[NameSlice]) -> list[SliceRewound]:
            work = self.order, parts, self.one.dynamodb, self.one.archive, time.stop
            return rewind_slices(*work, over=time.over.is_set, at_once=AT_ONCE)

        found = do_in_waves(piece, Parts.of(piece), rewind, time)
        unreadable = [str(error) for each in found.done for error in each.counted.unreadable]
        counts = add(each.counts for each in found.done)
        return self.report(piece, found.slice, counts, unreadable=unreadable[:1])


@dataclass(frozen=True, slots=True)
class KeepLast(LaterDrillStage):
    """A stage without slices, so that what the last comparison has kept is on record when the drill
    is judged."""

    def slices(self) -> Sequence[Slice]:
        """Returns none."""
        return ()


def later_stages(one: OneDrill) -> list[LaterStage]:
    """Returns the stages of a drill after the restore."""
    order = one.order
    stages: list[LaterStage] = [
        ScanCopy(one, SCANNED, "scan", restored=True),
        CompareCopy(one, COMPARED, "compare", order.first),
    ]
    if order.rewind and order.second:
        stages += [
            RewindCopy(one, REWOUND, "rewind", order.rewind),
            ScanCopy(one, SCANNED_AGAIN, "scan again"),
            CompareCopy(one, COMPARED_AGAIN, "compare again", order.second),
        ]
    return [*stages, KeepLast(one, len(stages) + 1, "")]
