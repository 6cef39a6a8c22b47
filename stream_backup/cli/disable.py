"""`stream-backup disable`."""

from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import require
from stream_backup.capture.mapping import look, remove
from stream_backup.capture.shards import describe_stream, is_gone
from stream_backup.capture.stream import switch_off
from stream_backup.cli.console import data, say
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.core.moment import iso
from stream_backup.core.records import Mapping


@click.command()
@table_argument
@as_json
@connected
def disable(connection: Connection, table: str, *, as_json: bool) -> None:
    """Switches a table's stream off and ends its coverage. The archive stays, and what it covers
    can still be restored.

    The records that are still in the stream can be read for 24 hours: let `follow`, or the
    function, read them to the end. After that, run disable again to delete the function's event
    source mapping; deleting it earlier would lose changes.

    \b
      stream-backup disable orders
    """
    archive = connection.archive(table)
    mappings = _mappings(connection, archive)
    if mappings and _is_off(connection, archive):
        report: dict[str, Any] = {"table": table, "end": None}
        say(f"The stream of {table} is off.")
    else:
        stream, end = switch_off(connection.dynamodb, archive)
        report = {"table": table, "end": iso(end)} | stream.record()
        say(
            f"The stream of {table} is off. The archive is exact up to {iso(end)} "
            "once the stream has been read to its end."
        )
        if stream.reader == "follow":
            say(f"To read the rest, run: stream-backup follow {table} --once")
    left = [mapping for mapping in mappings if not _finished(connection, archive, mapping)]
    removed = [mapping for mapping in mappings if mapping not in left]
    for mapping in removed:
        remove(connection.session.client("lambda"), mapping.uuid)
        say(f"Deleted event source mapping {mapping.uuid}: its stream is gone.")
    if left:
        say(
            "The function is still reading the rest of the stream. "
            f"After 24 hours, run: stream-backup disable {table}"
        )
        say(
            "Or now, if status shows that everything has been read: "
            f"aws lambda delete-event-source-mapping --uuid {left[0].uuid}"
        )
    if as_json:
        kept = [mapping.uuid for mapping in left]
        data(report | {"mappings": kept, "deleted": [mapping.uuid for mapping in removed]})


def _is_off(connection: Connection, archive: Archive) -> bool:
    """Whether the table's stream is off, and its end on record."""
    streams, ends = Catalog(archive).streams(), Catalog(archive).recorded_ends()
    off = require(connection.dynamodb, archive.table)[0].label is None
    return off and bool(streams) and streams[-1].label in ends


def _mappings(connection: Connection, archive: Archive) -> list[Mapping]:
    """The recorded mappings that still exist."""
    found = Catalog(archive).mappings()
    client = connection.session.client("lambda") if found else None
    latest = {mapping.uuid: mapping for mapping in found}
    return [mapping for mapping in latest.values() if look(client, mapping.uuid)]


def _finished(connection: Connection, archive: Archive, mapping: Mapping) -> bool:
    """Whether its stream is gone: nothing else shows for certain that a function has read all of
    it."""
    streams = Catalog(archive).streams()
    arn = next((stream.arn for stream in streams if stream.label == mapping.stream), None)
    if arn is None:
        return False
    try:
        found = describe_stream(connection.dynamodb, arn)
    except ClientError as error:
        if is_gone(error):
            return True
        raise
    return not found.enabled and not found.shards
