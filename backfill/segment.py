"""One segment of a table's scan → baseline versions, page by page, going on where its checkpoint stands.

A page is scanned consistently and stamped with the interval in which it was answered, by AWS's own clock: from the answer
before it to its own (Amazon DynamoDB Developer Guide, "Working with scans", "Read consistency for scan").
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from obstore.exceptions import BaseError

from backfill.capacity import Capacity
from stream_backup.archive import Archive, Object
from stream_backup.change import Change
from stream_backup.coverage import Run
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import ArchiveError
from stream_backup.item import Item

WRITERS = 64
STALE = 600
"""Seconds between question and answer after which a page is asked again: its interval would say little (a laptop slept)."""

Checkpoint = dict[str, Any]


@dataclass(slots=True)
class Counts:
    read: int = 0
    written: int = 0
    already_there: int = 0
    failed: int = 0
    failures: list[Exception] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        self.read += other.read
        self.written += other.written
        self.already_there += other.already_there
        self.failed += other.failed
        self.failures = (self.failures + other.failures)[:20]

    def record(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("read", "written", "already_there", "failed")}


@dataclass(frozen=True, slots=True)
class Segment:
    """What every segment of a run shares, and its number."""

    dynamodb: DynamoDB
    archive: Archive
    run: Run
    number: int
    total: int
    empty: bool
    capacity: Capacity
    pool: Executor
    stop: Event
    save: Callable[[int, Checkpoint], None]
    progress: Callable[[Counts], None]

    def scan(self, kept: Checkpoint | None, asked: int) -> Counts:
        """Scans to the end, or until `stop` is set; `asked` is a second of AWS's clock that has passed. A page whose items
        could not all be written, or a page cut short, is not checkpointed past, so that the next run reads it again."""
        whole = Counts(**kept["counts"]) if kept else Counts()
        self.progress(whole)
        start = kept["next"] if kept else None
        while not (kept and kept["next"] is None):
            if self.stop.is_set():
                return whole
            items, following, asked, answered = self._page(start, asked)
            counts = self._write(items, asked, answered)
            whole.add(counts)
            self.progress(counts)
            if counts.failed or counts.read < len(items):
                return whole
            kept = {"next": following, "counts": whole.record()}
            self.save(self.number, kept)
            start, asked = following, answered
        return whole

    def _page(self, start: Item | None, asked: int) -> tuple[list[Item], Item | None, int, int]:
        request: dict[str, Any] = {
            "TableName": self.archive.table,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
            "Segment": self.number,
            "TotalSegments": self.total,
        }
        if start:
            request["ExclusiveStartKey"] = start
        data, answered = self.dynamodb.call("scan", request)
        while answered - asked > STALE:
            asked = answered
            data, answered = self.dynamodb.call("scan", request)
        consumed = data.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
        self.stop.wait(self.capacity.spend(consumed))
        return data["Items"], data.get("LastEvaluatedKey"), asked, answered

    def _write(self, items: Sequence[Item], asked: int, answered: int) -> Counts:
        """Spelled here and put by the pool: Python in 32 threads costs several times what it costs in a few."""
        schema = self.archive.schema
        assert schema is not None
        scanned = (Change.scanned(item, schema, asked, answered, self.run.floor) for item in items)
        rows = [self.archive.object_of(change) for change in scanned]

        def write(part: Sequence[Object]) -> Counts:
            done = Counts()
            for row in part:
                if self.stop.is_set():
                    break
                done.read += 1
                try:
                    fresh = self.archive.put_baseline(row, self.run.floor, empty=self.empty)
                    done.written += fresh
                    done.already_there += not fresh
                except (ArchiveError, OSError, BaseError) as error:
                    done.failed += 1
                    done.failures.append(error)
            return done

        whole = Counts()
        for done in self.pool.map(write, (rows[index::WRITERS] for index in range(min(WRITERS, len(rows))))):
            whole.add(done)
        return whole
