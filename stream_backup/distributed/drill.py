"""A distributed drill: its first stage restores into the scratch table, the others are in
`drill_stages.py`. Its last step judges, removes the scratch table, and writes the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore.load import SliceLoaded, load_slices
from stream_backup.core.slice import NameSlice, Slice
from stream_backup.distributed.drill_result import end_drill, result_of
from stream_backup.distributed.drill_stages import later_stages
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.one_drill import OneDrill, report_of
from stream_backup.distributed.parts import AT_ONCE, Parts
from stream_backup.distributed.records import JobFailure, Report, add
from stream_backup.distributed.restore import counts_of, unheard
from stream_backup.distributed.task import LaterStage
from stream_backup.distributed.waves import do_in_waves


@dataclass(frozen=True, slots=True)
class DrillTask:
    """The drill of one job, a `JobTask`."""

    one: OneDrill

    @property
    def later(self) -> Sequence[LaterStage]:
        """The stages after the restore."""
        return later_stages(self.one)

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Restores a slice of names. What cannot be restored is counted, and not tried again: it
        is what a drill is to find."""
        assert isinstance(piece, NameSlice)
        if late := self.one.late(piece):
            return late
        one, time = self.one, limits.time

        def load(parts: Sequence[NameSlice]) -> list[SliceLoaded]:
            work = one.dynamodb, one.archive, time.stop, unheard, time.over.is_set, limits.writing
            return load_slices(one.order.restore, parts, *work, at_once=AT_ONCE)

        parts = Parts.of(piece, rate=limits.writing.units)
        found = do_in_waves(piece, parts, load, time)
        unreadable = [str(error) for each in found.done for error in each.counted.unreadable]
        counts = add(map(counts_of, found.done))
        return report_of("restore", piece, found.slice, counts, unreadable=unreadable[:1])

    def record(self, left: Sequence[Slice]) -> None:
        """Does nothing: a drill is never resumed."""

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        """Removes the scratch table, and writes the record, whatever the result."""
        end = self.one.bucket.end(self.one.job.name)
        if end and end.result:
            return end.result
        record = result_of(self.one, counts, failures, left=left)
        return end_drill(self.one.connection, self.one.order.scratch, record).record()
