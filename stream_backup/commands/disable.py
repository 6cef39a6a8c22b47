"""`stream-backup disable`"""

from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.archive import Archive
from stream_backup.connection import Connection
from stream_backup.follow import is_gone
from stream_backup.mapping import Mapping, look, remove
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.shards import describe_stream
from stream_backup.stream import disable as switch_off
from stream_backup.table import require
from stream_backup.talk import data, say


@click.command()
@table_argument
@as_json
@connected
def disable(connection: Connection, table: str, *, as_json: bool) -> None:
    """Switches a table's stream off and ends its coverage. The archive stays, and so do restores of what it covers.

    What is still in the stream is readable for 24 hours: let `follow`, or the function, read it to its end. Run it again
    after that, and it deletes the function's event source mapping; before that it would cut history short.

    \b
      stream-backup disable orders
    """
    archive = connection.archive(table)
    mappings = _mappings(connection, archive)
    if mappings and require(connection.dynamodb, table)[0].label is None:
        report: dict[str, Any] = {"table": table, "end": None}
        say(f"The stream of {table} is off.")
    else:
        stream, end = switch_off(connection.dynamodb, archive)
        report = {"table": table, "end": iso(end)} | stream.record()
        say(
            f"The stream of {table} is off. The archive is exact up to {iso(end)}, once the stream has been read to its end."
        )
        if stream.reader == "follow":
            say(f"Read what is left: stream-backup follow {table} --once")
    left = [mapping for mapping in mappings if not _finished(connection, archive, mapping)]
    removed = [mapping for mapping in mappings if mapping not in left]
    for mapping in removed:
        remove(connection.session.client("lambda"), mapping.uuid)
        say(f"Event source mapping {mapping.uuid} is deleted: its stream is gone.")
    if left:
        say(f"The function still reads what is in the stream. After 24 hours: stream-backup disable {table}")
        say(f"Or now, if status says it has read all: aws lambda delete-event-source-mapping --uuid {left[0].uuid}")
    if as_json:
        kept = {"mappings": [mapping.uuid for mapping in left], "deleted": [mapping.uuid for mapping in removed]}
        data(report | kept)


def _mappings(connection: Connection, archive: Archive) -> list[Mapping]:
    """Those on record that are still there."""
    found = Meta(archive).mappings()
    client = connection.session.client("lambda") if found else None
    return [mapping for mapping in found if look(client, mapping.uuid)]


def _finished(connection: Connection, archive: Archive, mapping: Mapping) -> bool:
    """Whether its stream is gone: nothing else shows for certain that a function has read all of it."""
    arn = next((stream.arn for stream in Meta(archive).streams() if stream.label == mapping.stream), None)
    if arn is None:
        return False
    try:
        found = describe_stream(connection.dynamodb, arn)
        return not found.enabled and not found.shards
    except ClientError as error:
        if is_gone(error):
            return True
        raise
