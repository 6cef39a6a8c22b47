"""Writes what the table is now on top of what the archive has wrong, row by row.

A row is read again, consistently, after its current version was looked at, and is put on the
condition that this is still the current version. So a change that arrives meanwhile is never
covered: the row is looked at again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from threading import Event, Lock

from obstore.exceptions import BaseError

from stream_backup.archive.layout import Archive
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import Clocked
from stream_backup.core.change import Change
from stream_backup.errors import ArchiveError
from stream_backup.verify.compare import Wrong

CHUNK = 1000
"""Rows that are written between two records of the repair."""

TRIES = 8
"""How often a row is looked at that other writers change meanwhile."""

PAUSE = 1.0
"""Seconds before a row is looked at again."""

LISTED = 5
"""How many errors are kept."""


@dataclass(slots=True)
class Written:
    """What was written: `counts` has the rows by the kind of their new version, those that were
    `changed` meanwhile, so that the archive already has what they are now, and those that `failed`.
    `seen` is the latest second that one of them was read in. Thread-safe."""

    counts: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    failures: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, kind: str, seen: int = 0, failure: str = "") -> None:
        """Counts a row."""
        with self._lock:
            self.counts[kind] += 1
            self.seen = max(self.seen, seen)
            if failure and len(self.failures) < LISTED:
                self.failures.append(failure)


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes rows of an epoch with this `floor`. `dynamodb` has heard AWS's clock before; `written`
    is called after each row."""

    dynamodb: Clocked
    archive: Archive
    pool: Executor
    budget: ReadBudget
    stop: Event
    floor: int
    written: Callable[[], None]

    def write(self, rows: Iterable[Wrong], record: Callable[[], None]) -> Written:
        """Writes rows until `stop` is set. Calls `record` before each chunk of them."""
        written = Written()
        left = iter(rows)
        while (chunk := list(islice(left, CHUNK))) and not self.stop.is_set():
            record()
            list(self.pool.map(lambda row: self._write(row, written), chunk))
        return written

    def _write(self, row: Wrong, written: Written) -> None:
        try:
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(PAUSE)
                if self.stop.is_set():
                    return
                if self._put(row, written):
                    self.written()
                    return
        except (ArchiveError, OSError, BaseError) as error:
            written.add("failed", failure=str(error))
        else:
            written.add("failed", failure=f"{row.key} kept changing")

    def _put(self, row: Wrong, written: Written) -> bool:
        """Returns whether the archive has what the row is now."""
        archive = self.archive
        current = archive.current(row.name)
        change = self._read(row)
        if current and current.stamp.rank >= change.stamp.rank:
            # A change since then has arrived. The stream has all that follow it.
            written.add("changed", change.stamp.seen)
            return True
        if not archive.put_on(change, current):
            return False
        written.add(change.stamp.kind, change.stamp.seen)
        return True

    def _read(self, row: Wrong) -> Change:
        archive, asked, key = self.archive, self.dynamodb.clock, json.loads(row.key)
        request = {
            "TableName": archive.table,
            "Key": key,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }
        answer, answered = self.dynamodb.call("get_item", request)
        used = answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
        self.stop.wait(self.budget.spend(used))
        if "Item" not in answer:
            return Change.missing(key, asked, answered, self.floor)
        schema = archive.schema
        assert schema is not None
        return Change.scanned(answer["Item"], schema, asked, answered, self.floor)
