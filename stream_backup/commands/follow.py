"""`stream-backup follow`"""

import os
import time
from functools import cache

import click
from botocore.exceptions import ClientError

from stream_backup.archive import Archive
from stream_backup.connection import Connection
from stream_backup.coverage import Outage
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.follow import POLL, Follower, is_gone
from stream_backup.handler import make_handler
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.talk import bar, data, say

TRIES = 6
"""Times in a row `--once` sees the same batch fail before it gives up (the checkpoint stays before it)."""


@click.command()
@table_argument
@click.option("--once", is_flag=True, help="Stop when it has caught up with the moment it started.")
@as_json
@connected
def follow(connection: Connection, table: str, *, once: bool, as_json: bool) -> None:
    """Reads a table's stream in this process into the archive, where no Lambda does.

    It goes on where the last one stopped. Stop it with Ctrl-C; a stream keeps what it has for 24 hours.

    \b
      stream-backup follow orders
      stream-backup follow orders --once
    """
    os.environ["POWERTOOLS_METRICS_DISABLED"] = "true"  # stdout is data, and metrics are for CloudWatch
    meta = Meta(connection.archive(table))
    streams = meta.streams()
    if not streams:
        raise UsageError(f"{table} is not enabled in this archive.", f"Run: stream-backup enable {table} --stream-only")
    stream = streams[-1]
    handler = make_handler(cache(lambda name: Archive(connection.store, connection.location.prefix, name)))
    follower = Follower(connection.dynamodb, meta, stream, handler, say)
    try:
        follower.start()
        say(
            f"Going on from {iso(follower.caught_up)}; Ctrl-C stops it."
            if not once
            else f"Going on from {iso(follower.caught_up)}."
        )
        _read(follower, once=once)
    except KeyboardInterrupt:
        say(f"Read up to {iso(follower.caught_up)}: {follower.changes:,} changes.")
        raise
    except ClientError as error:
        if not is_gone(error):
            raise
        now = int(time.time())
        meta.write_outage(Outage(stream.label, follower.caught_up or stream.floor, now, "the stream is gone"))
        raise UsageError(
            f"The stream of {table} is gone: it was switched off, or the table deleted, more than 24 hours ago.",
            f"What was read stays. To go on: stream-backup enable {table} --stream-only, then a backfill.",
        ) from error
    if follower.drained:
        say(f"The stream of {table} was switched off, and all of it is read.")
    say(f"Read up to {iso(follower.caught_up)}: {follower.changes:,} changes.")
    if as_json:
        data(
            {"table": table, "changes": follower.changes, "caught_up": iso(follower.caught_up), "drained": follower.drained}
        )


def _read(follower: Follower, *, once: bool) -> None:
    try:
        with bar("follow", "changes") as progress:
            while not follower.drained and not (once and follower.caught_up >= follower.started):
                before = follower.changes
                busy = follower.round()
                progress.advance(follower.changes - before)
                follower.checkpoint(running=True)
                if once and follower.stuck >= TRIES:
                    raise IncompleteError(
                        f"A batch failed {follower.stuck} times in a row; {follower.changes:,} changes before it are written.",
                        "The reason is above. Nothing is skipped: run it again when that is mended.",
                    )
                if not busy:
                    time.sleep(POLL)
    finally:
        follower.checkpoint(running=False, force=True)
