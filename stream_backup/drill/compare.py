"""Every row of a copy, compared with an independent reading of the archive.

Both are in order of name, and each name is on one side, or on both. A row that is only on one side
is a difference, and so is an item with a version that cannot be read.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from threading import Event, Lock
from typing import TypeVar

import orjson

from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import SLICES, HashFraction, run_slices
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.point import RestorePoint
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.slice import cut_scan
from stream_backup.drill.reading import item_then
from stream_backup.errors import ArchiveError
from stream_backup.progress import Progress
from stream_backup.verify.compare import Pair, paired
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import scan_slices

SEGMENTS = 4
CHUNK = 100
"""Items of a slice that are read at the same time."""

NAMED = 20
"""Differences that are named at most."""

Value = TypeVar("Value")


@dataclass(slots=True)
class Compared:
    """How many items of a copy were compared, with how many versions, and how many of them differ;
    how many rows of the live table differ; the keys of the first that do. Thread-safe."""

    items: int = 0
    versions: int = 0
    copy_differs: int = 0
    live_differs: int = 0
    examples: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @property
    def differences(self) -> int:
        """How many items differ, of the copy and of the live table."""
        return self.copy_differs + self.live_differs

    def found(self, versions: int, example: str | None) -> None:
        """Counts an item of a copy; `example` names one that differs."""
        with self._lock:
            self.items += 1
            self.versions += versions
            if example is not None:
                self.copy_differs += 1
                self._name(example)

    def found_live(self, count: int, examples: Iterable[str]) -> None:
        """Counts rows of the live table that differ."""
        with self._lock:
            self.live_differs += count
            for example in examples:
                self._name(example)

    def _name(self, example: str) -> None:
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
        with closing(Rows()) as rows:
            self._scan(rows)
            with self.progress.task("compare", "items") as task:
                fraction = HashFraction(len(SLICES))

                def walk(part: str) -> None:
                    pairs = paired(rows.of(part), self.archive.histories(part))
                    for chunk in chunks(pairs, CHUNK):
                        if self.stop.is_set():
                            return
                        read = self._reader(point, compared)
                        for pair in self.pool.map(read, chunk):
                            task.advance(1, fraction.reach(pair.name))

                run_slices(walk, SLICES, self.stop)

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

    def _reader(self, point: RestorePoint, compared: Compared) -> Callable[[Pair], Pair]:
        def read(pair: Pair) -> Pair:
            history = pair.history
            versions = len(history.versions) if history else 0
            try:
                body = (
                    item_then(self.archive, history, point.moment, point.floor) if history else None
                )
            except ArchiveError as error:
                compared.found(versions, str(error))
                return pair
            expected = digest(body) if body is not None else None
            present = pair.row.digest if pair.row else None
            compared.found(versions, None if expected == present else self._key(pair, body))
            return pair

        return read

    def _key(self, pair: Pair, body: bytes | None) -> str:
        """The key of an item that differs: of the row, otherwise of what the archive has."""
        if pair.row or body is None:
            return pair.row.key if pair.row else pair.name
        return key_json(self.schema.key_of(orjson.loads(body)))


def chunks(values: Iterator[Value], size: int) -> Iterator[list[Value]]:
    """Yields these values so many at a time."""
    while chunk := list(islice(values, size)):
        yield chunk
