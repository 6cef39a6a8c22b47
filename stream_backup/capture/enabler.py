"""A table enabled: its stream switched on, and read by a function or by `follow`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.stack import Stack
from stream_backup.aws.table import require
from stream_backup.capture.mapping import attach, wait
from stream_backup.capture.stream import switch_on
from stream_backup.core.records import Mapping, ReaderKind, Stream
from stream_backup.errors import UsageError


@dataclass(frozen=True, slots=True)
class Enabled:
    """An enabled table. `was_off` says that its stream was off before; `mapping` is None where
    `follow` reads it."""

    table: str
    was_off: bool
    stream: Stream
    mapping: Mapping | None

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
        reader: ReaderKind = "function" if function else "follow"
        stream, was_off = switch_on(connection.dynamodb, archive, reader)
        mapping = self._attach(function, stream, table) if function else None
        return Enabled(table, was_off, stream, mapping)

    def _attach(self, function: str, stream: Stream, table: str) -> Mapping:
        _, now = require(self.connection.dynamodb, table)
        mapping = attach(self.client, function, stream.arn, stream.label, self.stack, now)
        catalog = Catalog(self.connection.archive(table))
        known = [each for each in catalog.mappings() if each.failures == mapping.failures]
        if mapping.uuid not in {each.uuid for each in known}:
            # Recorded before it can fail a batch: readers must know where failed batches are.
            catalog.write_mapping(mapping)
        wait(self.client, mapping, table)
        return mapping
