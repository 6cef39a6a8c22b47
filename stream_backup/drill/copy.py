"""A whole copy of a table, compared with the archive on this machine, and what has been found in
all comparisons of a drill."""

from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event, Lock

from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import SLICES, HashFraction
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.point import RestorePoint
from stream_backup.core.key import KeySchema
from stream_backup.core.slice import cut_names, cut_scan
from stream_backup.drill.compare import NAMED, CompareOrder, CopyCompared, compare_copy
from stream_backup.progress import Progress
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import scan_slices

SEGMENTS = 4


@dataclass(slots=True)
class Compared:
    """How many items of a copy were compared, with how many versions, and how many of them differ;
    how many rows of the live table differ; the keys of the first that do."""

    items: int = 0
    versions: int = 0
    copy_differs: int = 0
    live_differs: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many items differ, of the copy and of the live table."""
        return self.copy_differs + self.live_differs

    def found(self, part: CopyCompared) -> None:
        """Adds what was found in a slice of the copy."""
        self.items += part.items
        self.versions += part.versions
        self.copy_differs += part.differ
        self.name(part.examples)

    def found_live(self, count: int, examples: Iterable[str]) -> None:
        """Counts rows of the live table that differ."""
        self.live_differs += count
        self.name(examples)

    def name(self, examples: Iterable[str]) -> None:
        """Adds keys that differ, as long as there are few."""
        for example in examples:
            if len(self.examples) < NAMED and example not in self.examples:
                self.examples.append(example)


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares table `name`, a copy of the items of `archive`, with the archive. `stop` ends it
    early; then it has found nothing that counts."""

    dynamodb: DynamoDB
    name: str
    archive: Archive
    schema: KeySchema
    pool: Executor
    stop: Event
    progress: Progress

    def compare(self, point: RestorePoint, compared: Compared) -> None:
        """Compares every row with what it was at this point, and adds what it finds to
        `compared`."""
        order, parts = CompareOrder(point.moment, point.floor), cut_names(len(SLICES))
        with closing(Rows()) as rows:
            self._scan(rows)
            with self.progress.task("compare", "items") as task:
                fraction, reaching = HashFraction(len(SLICES)), Lock()

                def report(items: int, name: str) -> None:
                    with reaching:
                        task.advance(items, fraction.reach(name))

                work = self.archive, rows, self.pool, self.stop, report
                for part in compare_copy(order, parts, *work):
                    compared.found(part)

    def _scan(self, rows: Rows) -> None:
        with self.progress.task("scan", "rows") as task:
            scan_slices(
                cut_scan(SEGMENTS),
                self.dynamodb,
                self.name,
                self.schema,
                ReadBudget(None),
                self.stop,
                rows,
                task.advance,
            )
