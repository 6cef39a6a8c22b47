"""What can the archive of this table answer now, and why? One function answers it for every
command.

It reads the archive's own records, the live table, the event source mappings, the failures bucket
and the metrics of the function. What it was not permitted to read, or what nobody reports, is part
of its answer: `unseen`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.status import Status, status_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import is_denied
from stream_backup.aws.table import look_up
from stream_backup.capture import mapping as mappings
from stream_backup.capture.failures import FailedBatch, is_unreadable, places, waiting
from stream_backup.core.moment import iso
from stream_backup.core.records import Live, Mapping


@dataclass(frozen=True, slots=True)
class MappingState:
    """An event source mapping that exists, and what Lambda reports of it; `state` is None where
    that may not be read."""

    mapping: Mapping
    state: str | None
    last_result: str

    def record(self) -> dict[str, Any]:
        """Returns the mapping as a JSON object."""
        return self.mapping.record() | {"state": self.state, "last_result": self.last_result}


@dataclass(frozen=True, slots=True)
class State:
    """`live` is the table, None when it does not exist or may not be described; `failed` are the
    batches that wait in the failures bucket, None when that may not be read; `unseen` has one
    sentence for each thing that could not be read."""

    table: str
    status: Status
    live: Live | None
    mappings: tuple[MappingState, ...]
    failed: tuple[FailedBatch, ...] | None
    unseen: tuple[str, ...]
    described: bool

    @property
    def now(self) -> int:
        """AWS's clock when the state was read, in epoch seconds."""
        return self.status.now

    @property
    def span(self) -> str:
        """One sentence about which moments can be restored exactly."""
        bounds = self.status.coverage.bounds
        if bounds is None:
            return "No moment of this archive can be restored exactly yet."
        earliest, latest = bounds
        return f"The archive is exact from {iso(earliest)} to {iso(latest)}."


def state_of(connection: Connection, table: str) -> State:
    """Returns the state of a table's archive. Raises ArchiveError when its records cannot be read,
    and ClientError for whatever else than a missing permission keeps AWS from answering."""
    live, now, described = _live(connection, table)
    archive = connection.archive(table)
    recorded = Catalog(archive).mappings()
    known = tuple(_mappings(connection, recorded))
    failed = _failed(connection, table, recorded)
    behind = _behind(connection, recorded, now)
    status = status_of(archive, now, live, [batch.hole for batch in failed or ()], behind)
    unseen = []
    if not described:
        unseen.append(f"No permission to describe table {table}.")
    if failed is None:
        unseen.append("No permission to read the failures bucket: failed batches are unknown.")
    if any(each.state is None for each in known):
        unseen.append("No permission to read the event source mapping: its state is unknown.")
    if status.stream and status.lag is None:
        unseen.append(
            "CloudWatch reports no age of the function's records: how far it has read is unknown."
        )
    return State(table, status, live, known, failed, tuple(unseen), described)


def _live(connection: Connection, table: str) -> tuple[Live | None, int, bool]:
    """The table, AWS's clock, and whether the table may be described: a restorer does not need that
    permission."""
    try:
        live, now = look_up(connection.dynamodb, table)
    except ClientError as error:
        if not is_denied(error):
            raise
        return None, connection.clock(), False
    return live, now, True


def _mappings(connection: Connection, recorded: list[Mapping]) -> Iterator[MappingState]:
    """Those on record that still exist."""
    client = connection.session.client("lambda") if recorded else None
    for mapping in recorded:
        try:
            found = mappings.look(client, mapping.uuid)
        except ClientError as error:
            if not is_denied(error):
                raise
            yield MappingState(mapping, None, "")
        else:
            if found:
                yield MappingState(mapping, found.state, found.last_result)


def _failed(
    connection: Connection, table: str, recorded: list[Mapping]
) -> tuple[FailedBatch, ...] | None:
    """The failed batches of this table, where its records say that they would be."""
    where = places(table, recorded)
    try:
        return tuple(waiting(connection.s3, where)) if where else ()
    except ClientError as error:
        if is_unreadable(error):
            return None
        raise


def _behind(connection: Connection, recorded: list[Mapping], now: int) -> int | None:
    """Seconds by which the function that reads the newest stream is behind, None where nobody
    reports it."""
    if not recorded:
        return None
    return mappings.iterator_age(connection.cloudwatch, recorded[-1].function, now)
