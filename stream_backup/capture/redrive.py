"""Failed batches written to the archive: what `redrive` does between the failures bucket and its
report.

The records take the path of the function (`write_batch`), with their own stamps, so that no restore
depends on when they arrive. Two things do depend on it. Readers rely on a version being written
within a day of its change, so how late these are is recorded before the first of them is written.
And the newest version written of an item must also be its newest by stamp, so that version is
written again on top. A batch is moved aside only when all of it is written. After an interruption
the same command does the rest; writing a version twice changes nothing.
"""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.capture import failures
from stream_backup.capture.batch import write_batch
from stream_backup.capture.failures import DONE, GIVEN_UP, FailedBatch
from stream_backup.core.change import Change, table_of
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage, RedriveRecord
from stream_backup.core.time_rule import lateness_of
from stream_backup.errors import IncompleteError, RecordError

LONGEST = 900
"""Seconds that writing one batch may take: what is written after that would be later than the
record says."""

RESERVE = 120
"""Seconds before that from which no further put is started; a put is retried for half as long."""


@dataclass(slots=True)
class Redrive:
    """The failed batches of one table, redriven one after another. `kept` are those that still
    fail, each with its reason; `lateness` is by how many seconds what it writes is later than a
    stream would have delivered it."""

    s3: Any
    archive: Archive
    pool: Executor
    clock: Callable[[], float] = time.time
    batches: int = 0
    changes: int = 0
    reasserted: int = 0
    lateness: int = 0
    kept: list[tuple[FailedBatch, str]] = field(default_factory=list)
    _name: str = ""
    _latest: int = 0

    def redrive(self, batch: FailedBatch) -> bool:
        """Writes every change of the batch that can be parsed, and moves the batch aside if that is
        all of them; returns whether it is.

        Raises IncompleteError when the archive cannot be written: this batch and those after it
        then wait.
        """
        try:
            found = failures.records(self.s3, batch)
        except RecordError as error:
            return self._keep(batch, str(error))
        records, reasons = self._parse(found)
        if records:
            self._write(records)
        if reasons:
            count = f"{len(reasons)} of {len(found)} records cannot be written"
            return self._keep(batch, f"{count}: {reasons[0]}")
        self.batches += 1
        self._record(self.lateness, force=True)
        failures.move(self.s3, batch, DONE)
        return True

    def give_up(self, batch: FailedBatch, now: int) -> None:
        """Moves the batch aside for good: its changes become an outage, and coverage starts again
        with the next backfill."""
        catalog = Catalog(self.archive)
        since = max(0, batch.since - 1)
        # Outages that begin in the same second share a name, so this one must include those.
        same = [
            each for each in catalog.outages() if (each.stream, each.since) == (batch.stream, since)
        ]
        until = max(min(now, batch.until), *(outage.until for outage in same), 0)
        reason = f"a failed batch was given up: {batch.reason}"
        catalog.write_outage(Outage(batch.stream, since, until, reason))
        failures.move(self.s3, batch, GIVEN_UP)

    def _parse(
        self, found: list[dict[str, Any]]
    ) -> tuple[list[tuple[dict[str, Any], Change]], list[str]]:
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
        self._record(lateness_of(min(change.stamp.at for _, change in records), until))
        outcome = write_batch(
            [record for record, _ in records],
            lambda _: self.archive,
            self.pool,
            lambda: self.clock() > until - RESERVE,
        )
        if outcome.first_failed is not None:
            reason = outcome.errors[0] if outcome.errors else "it takes too long"
            raise IncompleteError(
                f"The archive of {self.archive.table} cannot be written: {reason}",
                "Nothing was lost. Run the same command again later.",
            )
        reassert = partial(self.archive.reassert, lateness=self._latest)
        names = sorted({change.name for _, change in records})
        self.reasserted += sum(self.pool.map(reassert, names))
        self.changes += len(records)

    def _keep(self, batch: FailedBatch, reason: str) -> bool:
        self.kept.append((batch, reason))
        return False

    def _record(self, lateness: int, *, force: bool = False) -> None:
        """Records how late versions of this redrive may be, before they are written."""
        if self._name and not force and lateness <= self.lateness:
            return
        now = int(self.clock())
        self._name = self._name or f"{iso(now)}-{uuid4().hex[:6]}"
        self.lateness = max(self.lateness, lateness)
        catalog = Catalog(self.archive)
        catalog.write_redrive(
            RedriveRecord(
                name=self._name,
                lateness=self.lateness,
                last=now,
                batches=self.batches,
                changes=self.changes,
                reasserted=self.reasserted,
            )
        )
        self._latest = catalog.lateness()
