"""Some segments of a run, which one process scans at once: all of them, or each worker its
share."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

from backfill.segment import Counts, Segment
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.records import Run


@dataclass(frozen=True, slots=True)
class Share:
    """`kept` has the checkpoint of each segment by number, None for one that was not begun; `asked`
    is a past second of AWS's clock. It is plain data, so that it can be passed to another
    process."""

    run: Run
    empty: bool
    asked: int
    kept: Mapping[int, SegmentCheckpoint | None]

    def deal(self, hands: int) -> "list[Share]":
        """Returns the same segments in at most `hands` parts, with about as many unfinished
        segments in each."""
        numbers = sorted(self.kept, key=self._done)
        dealt = [numbers[hand::hands] for hand in range(min(hands, len(numbers)))]
        return [
            replace(self, kept={number: self.kept[number] for number in hand}) for hand in dealt
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
    ) -> Counts:
        """Scans its segments to their ends, or until `stop` is set, and returns the counts, those
        of earlier runs included. Calls `progress` with the counts of each page."""
        catalog, name = Catalog(archive), self.run.name

        def save(number: int, checkpoint: SegmentCheckpoint) -> None:
            catalog.write_segment_checkpoint(name, number, checkpoint)

        whole = Counts()
        with (
            ThreadPoolExecutor(CONCURRENCY) as pool,
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
        return whole
