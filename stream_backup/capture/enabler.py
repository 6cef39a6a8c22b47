"""A table enabled: its stream switched on, and read by a function or by `follow`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.bucket_key import require_key
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.lifecycle import lifecycle_of
from stream_backup.aws.stack import Stack
from stream_backup.aws.table import require
from stream_backup.capture.mapping import (
    PATIENCE,
    attach,
    find,
    has_filter,
    require_announcing,
    wait,
)
from stream_backup.capture.state import keep_holes
from stream_backup.capture.stream import switch_on
from stream_backup.capture.unread import record_unread
from stream_backup.core.records import EnableAttempt, Mapping, Outage, ReaderKind, Stream
from stream_backup.core.retention import changes
from stream_backup.errors import StreamBackupError, UsageError

SHORTEST = 3
"""Days for which a bucket must keep superseded versions. An old stream can deliver for a day after
a new one began, and its late versions must be put in order before the versions below them
expire."""


@dataclass(frozen=True, slots=True)
class Enabled:
    """An enabled table. `was_off` says that its stream was off before; `mapping` is None where
    `follow` reads it; `filtered` says that the mapping had a filter, which was removed."""

    table: str
    was_off: bool
    stream: Stream
    mapping: Mapping | None
    filtered: bool = False

    def record(self) -> dict[str, Any]:
        """Returns the result as a JSON object."""
        found: dict[str, Any] = {"table": self.table, "was_off": self.was_off, "mapping": None}
        if self.mapping:
            found |= {"mapping": self.mapping.uuid, "failures": self.mapping.failures}
        return found | self.stream.record()


@dataclass(slots=False)
class Enabler:
    """Enables tables for one reader: the function that was named, the stack's function, or
    `follow`."""

    connection: Connection
    function: str | None
    stream_only: bool

    @cached_property
    def stack(self) -> Stack | None:
        """The deployed stack, None when a function was named. Raises UsageError when there is no
        stack."""
        if self.function or self.stream_only:
            return None
        if found := self.connection.stack:
            return found
        raise UsageError(
            f"No reader is known for the stream: there is no stack {self.connection.stack_name!r}.",
            "Name the deployed stack (--stack NAME) or a function (--function NAME). "
            "With --stream-only, `follow` reads the stream.",
        )

    @property
    def name(self) -> str | None:
        """The name of the function, None for `follow`."""
        return self.function or (self.stack.function if self.stack else None)

    @cached_property
    def client(self) -> Any:
        """The client of boto3 for Lambda."""
        return self.connection.session.client("lambda")

    def enable(self, table: str) -> Enabled:
        """Enables a table, and returns when its stream is on and its reader is enabled. Enabling a
        table twice changes nothing. Raises UsageError and IncompleteError."""
        connection, function = self.connection, self.name
        if self.stack:
            self.stack.require(table)
        archive = connection.archive(table)
        self._require_kept(archive)
        if self.stack:
            require_key(connection.s3, connection.store.bucket, self.stack.key)
        if function:
            # Asked before the stream is recorded as one whose writers announce.
            require_announcing(self.client, function)
        reader: ReaderKind = "function" if function else "follow"
        stream, was_off = switch_on(connection.dynamodb, archive, reader)
        mapping, filtered = None, False
        if function:
            mapping, filtered = self._attach(function, stream, table)
        keep_holes(connection, table)
        catalog = Catalog(archive)
        if catalog.enable_attempt():
            catalog.write_enable_attempt(EnableAttempt(connection.clock(), "", ""))
        return Enabled(table, was_off, stream, mapping, filtered)

    def fail(self, table: str, error: StreamBackupError) -> None:
        """Records that a table could not be enabled, unless the archive cannot be written."""
        try:
            attempt = EnableAttempt(self.connection.clock(), str(error), error.hint)
            Catalog(self.connection.archive(table)).write_enable_attempt(attempt)
        except Exception as failed:
            if translate(failed) is None:
                raise

    def _require_kept(self, archive: Archive) -> None:
        """Records for how long the bucket keeps superseded versions. Raises UsageError when a
        lifecycle rule of the bucket would delete what restores need."""
        connection = self.connection
        found = lifecycle_of(connection.s3, connection.store.bucket, archive.root)
        if found is None:
            return
        if found.expiring:
            raise UsageError(
                f"Lifecycle rule {found.expiring[0]!r} of the bucket expires current versions,"
                " which are the present rows.",
                "Remove the rule, limit it to another prefix, or choose another archive.",
            )
        days = found.noncurrent_days
        if days is not None and days < SHORTEST:
            raise UsageError(
                f"The bucket keeps superseded versions for {days} days, which is too short to put"
                " late changes in order.",
                f"Keep them for {SHORTEST} days at least (NoncurrentDays).",
            )
        catalog = Catalog(archive)
        for record in changes(days, catalog.retentions(), connection.clock()):
            catalog.write_retention(record)

    def _attach(self, function: str, stream: Stream, table: str) -> tuple[Mapping, bool]:
        _, now = require(self.connection.dynamodb, table)
        catalog = Catalog(self.connection.archive(table))
        recorded = catalog.mappings()
        found = find(self.client, function, stream.arn)
        filtered = has_filter(found)
        if filtered:
            # It skips records until the mapping is enabled again. If this run is killed meanwhile,
            # the next one finds no filter.
            self._record_filter(catalog, stream, found, now + PATIENCE)
        mapping = attach(self.client, function, stream, found, self.stack, now)
        if stream.label not in {each.stream for each in recorded}:
            record_unread(catalog, stream, now)
        known = [each for each in recorded if each.failures == mapping.failures]
        if mapping.uuid not in {each.uuid for each in known}:
            # Recorded before it can fail a batch: readers must know where failed batches are.
            catalog.write_mapping(mapping)
        wait(self.client, mapping, table)
        if filtered:
            self._record_filter(catalog, stream, found, require(self.connection.dynamodb, table)[1])
        return mapping, filtered

    def _record_filter(
        self, catalog: Catalog, stream: Stream, found: dict[str, Any] | None, until: int
    ) -> None:
        """Records the changes that a filter may have skipped up to `until`: nobody knows since when
        it was set, but `enable` sets none."""
        uuid = (found or {}).get("UUID")
        made = [each.recorded for each in catalog.mappings() if each.uuid == uuid]
        since = min(made, default=stream.recorded)
        reason = "the event source mapping had a filter, which skips changes"
        catalog.write_outage(Outage(stream.label, since, until, reason))
