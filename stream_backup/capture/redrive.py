"""Failed batches written to the archive: what `redrive` does between the failures bucket and its
report.

The records take the path of the function (`write_batch`), with their own stamps, so that no restore
depends on when they arrive, and how late they are is announced as the function does. One thing
depends on it all the same: the newest version written of an item must also be its newest by stamp,
so that version is written again on top. A batch is moved aside only when all of it is written.
After an interruption the same command does the rest; writing a version twice changes nothing.

Every change is kept, whatever the function keeps: some of the records may be in the archive
already, and some may not be written, so that no one change may stand for all.

A change that is older than the bucket keeps tombstones may have been followed by a removal of which
nothing is left. It is written only if the current version of its item is a later one; otherwise the
batch stays, and can be given up.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.capture import failures
from stream_backup.capture.batch import write_batch
from stream_backup.capture.failures import DONE, GIVEN_UP, WAITING, FailedBatch
from stream_backup.capture.holes import GONE, close_hole
from stream_backup.core.change import Change, table_of
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage, RedriveRecord
from stream_backup.core.time_rule import tombstone_exists
from stream_backup.errors import IncompleteError, RecordError

LONGEST = 900
"""Seconds that writing one batch may take where tombstones expire: what is written after that may
be older than a tombstone that has expired meanwhile."""

RESERVE = 120
"""Seconds before that from which no further put is started; a put is retried for half as long."""

NOT_LAMBDAS = "its path is not one that Lambda writes"

EXPIRED = (
    "It is older than the bucket keeps tombstones, so that a removal after it may have expired."
)


@dataclass(slots=True)
class Redrive:
    """The failed batches of one table, redriven one after another. `kept` are those that still
    fail, each with its reason. `clock` is AWS's; `tombstones` are the seconds for which the bucket
    certainly keeps a tombstone, None for ever."""

    s3: Any
    archive: Archive
    pool: Executor
    clock: Callable[[], float] = time.time
    tombstones: int | None = None
    batches: int = 0
    changes: int = 0
    reasserted: int = 0
    kept: list[tuple[FailedBatch, str]] = field(default_factory=list)
    _name: str = ""
    _began: int = 0

    def redrive(self, batch: FailedBatch) -> bool:
        """Writes every change of the batch that can be written, and moves the batch aside if that
        is all of them; returns whether it is. A batch that another redrive has dealt with counts as
        done.

        Raises IncompleteError when the archive cannot be written: this batch and those after it
        then wait.
        """
        if not batch.path.startswith(WAITING):
            return self._keep(batch, NOT_LAMBDAS)
        try:
            found = failures.records(self.s3, batch)
        except RecordError as error:
            if Catalog(self.archive).is_closed(batch.bucket, batch.path):
                # Nothing is there any more, or it was given up and not moved: an interruption.
                failures.move(self.s3, batch, GIVEN_UP)
                return True
            return self._keep(batch, GONE if batch.reason == GONE else str(error))
        until = int(self.clock()) + LONGEST
        records, reasons = self._safe(*self._parse(found), until)
        if records:
            self._record(until)  # Until this is over, older versions may cover newer ones.
            self._write(records, until)
        if reasons:
            count = f"{len(reasons)} of {len(found)} records cannot be written"
            return self._keep(batch, f"{count}: {reasons[0]}")
        self.batches += 1
        self._record(int(self.clock()))
        self._move(batch, DONE)
        return True

    def give_up(self, batch: FailedBatch, now: int) -> None:
        """Moves the batch aside for good: its changes become an outage, and coverage starts again
        with the next backfill."""
        _record_outage(Catalog(self.archive), batch.stream, batch, now)
        self._move(batch, GIVEN_UP)

    def _move(self, batch: FailedBatch, aside: str) -> None:
        """Closes the record of the batch, and then moves the batch: a reader that finds no object
        relies on the record."""
        close_hole(Catalog(self.archive), batch, aside, int(self.clock()))
        if batch.path.startswith(WAITING):
            failures.move(self.s3, batch, aside)

    def _safe(
        self, records: list[tuple[dict[str, Any], Change]], reasons: list[str], until: int
    ) -> tuple[list[tuple[dict[str, Any], Change]], list[str]]:
        """Takes out the changes of which nobody knows whether a removal that has expired by `until`
        followed them."""
        kept, safe = self.tombstones, []
        for record, change in records:
            if kept is None or tombstone_exists(change.stamp.at, until, kept):
                safe.append((record, change))
                continue
            current = self.archive.current_stamp(change.name)
            if current and current.rank >= change.stamp.rank:
                safe.append((record, change))
            else:
                reasons = [*reasons, EXPIRED]
        return safe, reasons

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

    def _write(self, records: list[tuple[dict[str, Any], Change]], until: int) -> None:
        listed = int(self.clock())  # what this writes is read below, however late it is
        outcome = write_batch(
            [record for record, _ in records],
            lambda _: self.archive,
            self.pool,
            lambda: self.tombstones is not None and self.clock() > until - RESERVE,
        )
        if outcome.first_failed is not None:
            reason = outcome.errors[0] if outcome.errors else "it takes too long"
            raise IncompleteError(
                f"The archive of {self.archive.table} cannot be written: {reason}",
                "Nothing was lost. Run the same command again later.",
            )
        lateness = Catalog(self.archive).lateness(listed)
        reassert = partial(self.archive.reassert, lateness=lateness)
        names = sorted({change.name for _, change in records})
        self.reasserted += sum(self.pool.map(reassert, names))
        self.changes += len(records)

    def _keep(self, batch: FailedBatch, reason: str) -> bool:
        self.kept.append((batch, reason))
        return False

    def _record(self, last: int) -> None:
        self._began = self._began or int(self.clock())
        self._name = self._name or f"{iso(self._began)}-{uuid4().hex[:6]}"
        Catalog(self.archive).write_redrive(
            RedriveRecord(
                name=self._name,
                last=last,
                began=self._began,
                batches=self.batches,
                changes=self.changes,
                reasserted=self.reasserted,
            )
        )


def give_up_nameless(
    s3: Any, archives: Iterable[Archive], batch: FailedBatch, now: int
) -> list[str]:
    """Gives up an object that does not say which table it is of: it becomes an outage of every
    stream in these archives whose failed batches go to its bucket. Returns the tables' names."""
    names = []
    for archive in archives:
        catalog = Catalog(archive)
        streams = {each.stream for each in catalog.mappings() if each.failures == batch.bucket}
        for stream in sorted(streams):
            _record_outage(catalog, stream, batch, now)
        if streams:
            names.append(archive.table)
    failures.move(s3, batch, GIVEN_UP)
    return names


def _record_outage(catalog: Catalog, stream: str, batch: FailedBatch, now: int) -> None:
    since = max(0, batch.since - 1)
    # Outages that begin in the same second share a name, so this one must include those.
    same = [each for each in catalog.outages() if (each.stream, each.since) == (stream, since)]
    until = max(min(now, batch.until), *(outage.until for outage in same), 0)
    reason = f"a failed batch was given up: {batch.reason}"
    catalog.write_outage(Outage(stream, since, until, reason))
