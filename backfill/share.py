"""Some segments of a run, which one process scans at once: all of them, or each worker its
share."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, NamedTuple, Self

from backfill.segment import Counts, Segment
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.slices import never
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.records import Run
from stream_backup.core.slice import ScanSlice
from stream_backup.workers.crew import Workers, deal


@dataclass(frozen=True, slots=True)
class Share:
    """`kept` has the checkpoint of each segment by number, None for one that was not begun; `asked`
    is a past second of AWS's clock. It is plain data, so that it can be passed to another process
    or, by its `record`, to another machine."""

    run: Run
    empty: bool
    asked: int
    kept: Mapping[int, SegmentCheckpoint | None]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Reads a share from its JSON object. Raises KeyError, TypeError or ValueError when the
        object is none."""
        kept = {
            int(number): None if each is None else SegmentCheckpoint.of(each)
            for number, each in record["kept"].items()
        }
        return cls(Run.of(record["run"]), bool(record["empty"]), int(record["asked"]), kept)

    def record(self) -> dict[str, Any]:
        """Returns the share as a JSON object."""
        kept = {str(number): each and each.record() for number, each in self.kept.items()}
        run = self.run.record()
        return {"run": run, "empty": self.empty, "asked": self.asked, "kept": kept}

    @property
    def slices(self) -> tuple[ScanSlice, ...]:
        """The segments, in order, each with how far it has been scanned."""
        total = self.run.counts["segments"]
        return tuple(
            ScanSlice(number, total).reached(kept.next) if kept else ScanSlice(number, total)
            for number, kept in sorted(self.kept.items())
        )

    def deal(self, hands: int) -> "list[Share]":
        """Returns the same segments in at most `hands` parts, with about as many unfinished
        segments in each."""
        numbers = sorted(self.kept, key=self._done)
        return [
            replace(self, kept={number: self.kept[number] for number in hand})
            for hand in deal(numbers, hands)
        ]

    def _done(self, number: int) -> bool:
        kept = self.kept[number]
        return kept is not None and kept.next is None

    def scan(
        self,
        dynamodb: DynamoDB,
        archive: Archive,
        budget: ReadBudget,
        stop: Event,
        progress: Callable[[Counts], None],
        over: Callable[[], bool] = never,
        page_rows: int | None = None,
    ) -> "Scanned":
        """Scans its segments to their ends, or until `stop` is set, or until each has written a
        page, of at most `page_rows` rows, and the time is `over`. Calls `progress` with the counts
        of each page."""
        catalog, name, kept = Catalog(archive), self.run.name, dict(self.kept)

        def save(number: int, checkpoint: SegmentCheckpoint) -> None:
            catalog.write_segment_checkpoint(name, number, checkpoint)
            kept[number] = checkpoint

        whole = Counts()
        with (
            RequestPool() as pool,
            ThreadPoolExecutor(len(self.kept)) as scanners,
        ):
            segments = [
                Segment(
                    dynamodb=dynamodb,
                    archive=archive,
                    run=self.run,
                    number=number,
                    total=self.run.counts["segments"],
                    empty=self.empty,
                    budget=budget,
                    pool=pool,
                    stop=stop,
                    save=save,
                    progress=progress,
                    over=over,
                    page_rows=page_rows,
                )
                for number in sorted(self.kept)
            ]
            futures = [
                scanners.submit(segment.scan, self.kept[segment.number], self.asked)
                for segment in segments
            ]
            try:
                for future in futures:
                    whole.add(future.result())
            except BaseException:
                stop.set()  # the next run reads the current pages again, which costs only requests
                raise
        return Scanned(replace(self, kept=kept), whole)


class Scanned(NamedTuple):
    """What was done of a share: the share as it is then, and the counts of its segments, those of
    earlier runs included."""

    share: Share
    counts: Counts


@dataclass(frozen=True, slots=True)
class ScanJob:
    """A worker's share of a backfill, within a budget that all of them use. It reports the counts
    of each page."""

    share: Share
    budget: ReadBudget

    def work(
        self, dynamodb: DynamoDB, archive: Archive, stop: Event, report: Callable[[Counts], None]
    ) -> None:
        """Scans the share."""
        self.share.scan(dynamodb, archive, self.budget, stop, report)


def scan_with(
    workers: Workers, share: Share, budget: ReadBudget, progress: Callable[[Counts], None]
) -> Counts:
    """Does what `Share.scan` does, in several processes, and returns the counts."""
    whole = Counts()

    def heard(counts: Counts) -> None:
        whole.add(counts)
        progress(counts)

    workers.run([ScanJob(part, budget) for part in share.deal(workers.number)], heard)
    return whole
