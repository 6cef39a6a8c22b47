"""`stream-backup follow`."""

import click

from stream_backup.aws.connection import Connection
from stream_backup.capture.catch_up import keeper, open_follower, read, read_older
from stream_backup.cli.console import Terminal, data, say
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.core.moment import iso


@click.command()
@table_argument
@click.option("--once", is_flag=True, help="Stop when it has caught up with the moment it started.")
@as_json
@connected
def follow(connection: Connection, table: str, *, once: bool, as_json: bool) -> None:
    """Reads a table's stream in this process and writes it to the archive, for tables without a
    function.

    It resumes where the last `follow` stopped. Stop it with Ctrl-C; a stream keeps its records for
    24 hours.

    \b
      stream-backup follow orders
      stream-backup follow orders --once
    """
    progress = Terminal()
    read_older(connection, table, progress)
    follower = open_follower(connection, table, progress)
    read(follower, once=once, between=keeper(connection, table, progress))
    if follower.drained:
        say(f"The stream of {table} was switched off and has been read to its end.")
    if as_json:
        data(
            {
                "table": table,
                "changes": follower.changes,
                "caught_up": iso(follower.caught_up),
                "drained": follower.drained,
            }
        )
