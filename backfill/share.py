"""Some segments of a run, which one process scans at once: all of them, or each worker its share."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

from backfill.capacity import Capacity
from backfill.segment import WRITERS, Checkpoint, Counts, Segment
from stream_backup.archive import Archive
from stream_backup.coverage import Run
from stream_backup.dynamodb import DynamoDB


@dataclass(frozen=True, slots=True)
class Share:
    """`kept` says of each segment by number where it stands; `asked` is a second of AWS's clock that has passed. Nothing but
    data, so that it can be handed to another process."""

    run: Run
    empty: bool
    asked: int
    kept: Mapping[int, Checkpoint | None]

    def deal(self, hands: int) -> "list[Share]":
        """The same in `hands` parts at most, with about as many segments that are not done in each."""
        numbers = sorted(self.kept, key=self._done)
        dealt = [numbers[hand::hands] for hand in range(min(hands, len(numbers)))]
        return [replace(self, kept={number: self.kept[number] for number in hand}) for hand in dealt]

    def _done(self, number: int) -> bool:
        kept = self.kept[number]
        return kept is not None and kept["next"] is None

    def scan(
        self, dynamodb: DynamoDB, archive: Archive, capacity: Capacity, stop: Event, progress: Callable[[Counts], None]
    ) -> Counts:
        """Scans its segments to their ends, or until `stop` is set; what they counted, earlier runs' counts included.
        `progress` is told the same, page by page."""

        def save(number: int, checkpoint: Checkpoint) -> None:
            archive.write_meta(f"segments/{self.run.name}/{number}", checkpoint)

        whole = Counts()
        with ThreadPoolExecutor(WRITERS) as pool, ThreadPoolExecutor(len(self.kept)) as scanners:
            segments = [
                Segment(
                    dynamodb=dynamodb,
                    archive=archive,
                    run=self.run,
                    number=number,
                    total=self.run.counts["segments"],
                    empty=self.empty,
                    capacity=capacity,
                    pool=pool,
                    stop=stop,
                    save=save,
                    progress=progress,
                )
                for number in sorted(self.kept)
            ]
            futures = [scanners.submit(segment.scan, self.kept[segment.number], self.asked) for segment in segments]
            try:
                for future in futures:
                    whole.add(future.result())
            except BaseException:
                stop.set()  # the next run reads again the pages the others are at: that costs only requests
                raise
        return whole
