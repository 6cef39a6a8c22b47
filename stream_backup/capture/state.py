"""What can the archive of this table answer now, and why? One function answers it for every
command.

It reads the archive's own records, the live table, the event source mappings, the failures bucket
and the metrics of the function. What it was not permitted to read, or what nobody reports, is part
of its answer: `unseen`.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Object
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.status import Status, status_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import is_denied
from stream_backup.aws.lifecycle import Lifecycle, lifecycle_of
from stream_backup.aws.table import RESTORING, look_up, tags_of
from stream_backup.capture import mapping as mappings
from stream_backup.capture.failures import FailedBatch, is_unreadable, places, waiting
from stream_backup.capture.holes import lost_batches, record_holes
from stream_backup.capture.metrics import metrics_of
from stream_backup.core.order import problems
from stream_backup.core.records import Live, Mapping, Stream
from stream_backup.core.retention import kept_since
from stream_backup.core.witness import Evidence


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
    batches that wait in the failures bucket and those that were lost from it, None when that may
    not be read; `unseen` has one sentence for each thing that could not be read."""

    table: str
    status: Status
    live: Live | None
    mappings: tuple[MappingState, ...]
    failed: tuple[FailedBatch, ...] | None
    unseen: tuple[str, ...]
    described: bool
    evidence: Object[str, Evidence]
    lifecycle: Lifecycle | None

    @property
    def now(self) -> int:
        """AWS's clock when the state was read, in epoch seconds."""
        return self.status.now

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each thing that endangers the archive."""
        coverage = self.status.coverage
        walks = self.status.walks.values()
        return tuple(problems(walks, coverage.disorders, coverage.kept, self.now))

    @property
    def identity(self) -> tuple[str, str]:
        """The ARN and the TableId of the table, of the live one if it may be described, otherwise
        of the one whose stream was enabled last; empty where they are not known."""
        if self.live:
            found = self.live.description
            return found["TableArn"], found.get("TableId", "")
        stream = self.status.stream
        return (stream.arn.partition("/stream/")[0], stream.table_id) if stream else ("", "")

    @property
    def reading(self) -> bool:
        """Whether the newest stream is being read now, so that waiting helps."""
        stream = self.status.stream
        found = self.evidence.get(stream.label) if stream else None
        return self.status.following or bool(found and not found.trouble)

    @property
    def span(self) -> str:
        """One sentence about which moments can be restored exactly."""
        bounds = self.status.coverage.bounds
        if bounds is None:
            return "No moment of this archive can be restored exactly yet."
        earliest, latest = bounds
        if latest.moment < earliest.moment:
            return f"No moment can be restored exactly. {earliest.why} {latest.why}"
        return f"The archive is exact from {earliest.text} to {latest.text}."


def state_of(connection: Connection, table: str) -> State:
    """Returns the state of a table's archive. Raises ArchiveError when its records cannot be read,
    and ClientError for whatever else than a missing permission keeps AWS from answering."""
    live, now, described = _live(connection, table)
    archive = connection.archive(table)
    catalog = Catalog(archive)
    recorded, streams = catalog.mappings(), catalog.streams()
    if live and _is_filled(connection, live, streams):
        live = live._replace(filling=True)
    known = tuple(_mappings(connection, recorded))
    evidence = {
        stream.label: _evidence(connection, table, stream.label, known, now)
        for stream in streams
        if stream.reader == "function" and not _read(catalog, stream)
    }
    # After the evidence: a function that has just given up on a batch is no longer behind.
    failed = _failed(connection, table, recorded)
    lifecycle = lifecycle_of(connection.s3, connection.store.bucket, archive.root)
    days = lifecycle.noncurrent_days if lifecycle else None
    kept = kept_since(days, lifecycle is not None, catalog.retentions(), now)
    lost = lost_batches(catalog, failed or ())
    holes = [batch.hole for batch in (*(failed or ()), *lost)]
    status = status_of(archive, now, live, holes, evidence, kept)
    unseen = []
    if not described:
        unseen.append(f"No permission to describe table {table}.")
    if failed is None:
        unseen.append("No permission to read the failures bucket: failed batches are unknown.")
    if any(each.state is None for each in known):
        unseen.append("No permission to read the event source mapping: its state is unknown.")
    if any(each.age is None and each.state for each in evidence.values()):
        unseen.append("No permission to read the function's metrics: they are unknown.")
    if lifecycle is None:
        unseen.append("No permission to read the bucket's lifecycle rules: they are unknown.")
    shown = None if failed is None else (*failed, *lost)
    return State(table, status, live, known, shown, tuple(unseen), described, evidence, lifecycle)


def keep_holes(connection: Connection, table: str) -> None:
    """Records the failed batches of a table that wait, as far as the failures bucket may be
    read."""
    catalog = Catalog(connection.archive(table))
    if found := _failed(connection, table, catalog.mappings()):
        record_holes(catalog, found, connection.clock())


def _evidence(
    connection: Connection, table: str, label: str, known: tuple[MappingState, ...], now: int
) -> Evidence:
    """What AWS reports about the function that reads the stream of this label."""
    mapping = next((each for each in reversed(known) if each.mapping.stream == label), None)
    if mapping is None:
        return Evidence(now, None, "", None, None, None)
    reported = metrics_of(connection.cloudwatch, mapping.mapping.function, table, now)
    return Evidence(now, mapping.state, mapping.last_result, *reported)


def _read(catalog: Catalog, stream: Stream) -> bool:
    """Whether a stream that ended was read to its end, so that nothing about it changes any
    more."""
    end, witness = catalog.recorded_ends().get(stream.label), catalog.witness(stream.label)
    return bool(end and witness and witness.read >= end.end)


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


def _is_filled(connection: Connection, live: Live, streams: list[Stream]) -> bool:
    """Whether this is not the table whose stream was enabled last, but a new one with its name,
    which a restore is filling. Where that may not be read, it counts as any other table."""
    identity = live.description.get("TableId")
    if not streams or not identity or streams[-1].table_id in ("", identity):
        return False
    try:
        tags = tags_of(connection.dynamodb, live.description["TableArn"])
    except ClientError as error:
        if is_denied(error):
            return False
        raise
    return any(tag["Key"] == RESTORING for tag in tags)


def _mappings(connection: Connection, recorded: list[Mapping]) -> Iterator[MappingState]:
    """Those on record that still exist, each as it was recorded last."""
    client = connection.session.client("lambda") if recorded else None
    for mapping in {each.uuid: each for each in recorded}.values():
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
