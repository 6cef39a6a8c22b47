"""Failed batches → the archive: what `redrive` does between the failures bucket and its report.

The records go the way of the function (`write_batch`), with their own stamps, so that no answer depends on when they come.
Two things do depend on it, and are taken care of: readers trust that a version is written within a day of its change, so
how late these are is on record before the first of them is written; and the newest version written of an item must also be
its newest by stamp, so that one is written again on top. A batch is put aside only when all of it is written. Interrupted
anywhere, the same command does the rest; what was written twice changes nothing.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from stream_backup import failures
from stream_backup.archive import Archive
from stream_backup.batch import write_batch
from stream_backup.change import Change, table_of
from stream_backup.coverage import Outage
from stream_backup.errors import IncompleteError, RecordError
from stream_backup.failures import DONE, GIVEN_UP, FailedBatch
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.timeline import LATE

LONGEST = 900
"""Seconds the writing of one batch may take: what is written after that would be later than is on record."""

RESERVE = 120
"""Seconds before that at which no further put is begun; a put tries again for half as long."""


@dataclass(slots=True)
class Redrive:
    """The failed batches of one table, put back one after another. `kept` are those that still fail, each with its reason."""

    s3: Any
    archive: Archive
    pool: Executor
    clock: Callable[[], float] = time.time
    batches: int = 0
    changes: int = 0
    reasserted: int = 0
    lateness: int = 0
    """By how many seconds what it writes is later than a stream would have delivered it."""

    kept: list[tuple[FailedBatch, str]] = field(default_factory=list)
    _name: str = ""
    _latest: int = 0

    def put_back(self, batch: FailedBatch) -> bool:
        """Writes every change of the batch that can be parsed, and puts it aside if that is all of them; whether it is.

        Raises IncompleteError when the archive cannot be written: the batch then waits, as do those after it.
        """
        try:
            found = failures.records(self.s3, batch)
        except RecordError as error:
            return self._keep(batch, str(error))
        records, reasons = self._parse(found)
        if records:
            self._write(records)
        if reasons:
            return self._keep(batch, f"{len(reasons)} of {len(found)} records cannot be written: {reasons[0]}")
        self.batches += 1
        self._record(self.lateness, force=True)
        failures.move(self.s3, batch, DONE)
        return True

    def give_up(self, batch: FailedBatch, now: int) -> None:
        """Puts the batch aside for good: its changes are an outage, and coverage begins again with the next backfill."""
        meta = Meta(self.archive)
        since = max(0, batch.since - 1)
        same = [outage.until for outage in meta.outages() if outage[:2] == (batch.stream, since)]  # they share a name
        until = max(min(now, batch.until), *same, 0)
        meta.write_outage(Outage(batch.stream, since, until, f"a failed batch was given up: {batch.reason}"))
        failures.move(self.s3, batch, GIVEN_UP)

    def _parse(self, found: list[dict[str, Any]]) -> tuple[list[tuple[dict[str, Any], Change]], list[str]]:
        records, reasons = [], []
        for record in found:
            try:
                if table_of(record) != self.archive.table:
                    raise RecordError(f"One is not of table {self.archive.table}.")
                records.append((record, Change.streamed(record)))
            except RecordError as error:
                reasons.append(str(error))
        return records, reasons

    def _write(self, records: list[tuple[dict[str, Any], Change]]) -> None:
        until = int(self.clock()) + LONGEST
        self._record(max(0, until - min(change.stamp.at for _, change in records) - LATE))
        out_of_time = lambda: self.clock() > until - RESERVE  # noqa: E731
        outcome = write_batch([record for record, _ in records], lambda _: self.archive, self.pool, out_of_time)
        if outcome.first_failed is not None:
            reason = outcome.errors[0] if outcome.errors else "it takes too long"
            raise IncompleteError(
                f"The archive of {self.archive.table} cannot be written: {reason}", "Nothing is lost: run it again later."
            )
        reassert = partial(self.archive.reassert, lateness=self._latest)
        self.reasserted += sum(self.pool.map(reassert, sorted({change.name for _, change in records})))
        self.changes += len(records)

    def _keep(self, batch: FailedBatch, reason: str) -> bool:
        self.kept.append((batch, reason))
        return False

    def _record(self, lateness: int, *, force: bool = False) -> None:
        """Keeps on record how late versions of this redrive may be, before they are written."""
        if self._name and not force and lateness <= self.lateness:
            return
        now = iso(int(self.clock()))
        self._name = self._name or f"{now}-{uuid4().hex[:6]}"
        self.lateness = max(self.lateness, lateness)
        counts = {"batches": self.batches, "changes": self.changes, "reasserted": self.reasserted}
        meta = Meta(self.archive)
        meta.write_redrive(self._name, {"name": self._name, "lateness": self.lateness, "last": now} | counts)
        self._latest = meta.lateness()
