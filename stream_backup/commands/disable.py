"""`stream-backup disable`"""

import click

from stream_backup.connection import Connection
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.stream import disable as switch_off
from stream_backup.talk import data, say


@click.command()
@table_argument
@as_json
@connected
def disable(connection: Connection, table: str, *, as_json: bool) -> None:
    """Switches a table's stream off and ends its coverage. The archive stays, and so do restores of what it covers.

    What is still in the stream is readable for 24 hours: let `follow`, or the function, read it to its end.

    \b
      stream-backup disable orders
    """
    stream, end = switch_off(connection.dynamodb, connection.archive(table))
    say(f"The stream of {table} is off. The archive is exact up to {iso(end)}, once the stream has been read to its end.")
    if stream.reader == "follow":
        say(f"Read what is left: stream-backup follow {table} --once")
    else:
        say("The function's event source mapping is left to read what is in the stream; delete it after 24 hours.")
    if as_json:
        data({"table": table, "end": iso(end)} | stream.record())
