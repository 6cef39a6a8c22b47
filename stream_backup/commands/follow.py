"""`stream-backup follow`"""

import os
import time
from functools import cache

import click
from botocore.exceptions import ClientError

from stream_backup.archive import Archive
from stream_backup.connection import Connection
from stream_backup.coverage import Outage, Stream
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.follow import POLL, RETENTION, Follower, is_gone
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
    read_older(connection, table)
    follower = open_follower(connection, table)
    read(follower, once=once)
    if follower.drained:
        say(f"The stream of {table} was switched off, and all of it is read.")
    if as_json:
        data(
            {"table": table, "changes": follower.changes, "caught_up": iso(follower.caught_up), "drained": follower.drained}
        )


def open_follower(connection: Connection, table: str, stream: Stream | None = None) -> Follower:
    """A reader of the table's newest stream, or of the given one, into the archive, by the handler.

    Raises UsageError when the table was never enabled.
    """
    os.environ["POWERTOOLS_METRICS_DISABLED"] = "true"  # stdout is data, and metrics are for CloudWatch
    meta = Meta(connection.archive(table))
    streams = [stream] if stream else meta.streams()
    if not streams:
        raise UsageError(f"{table} is not enabled in this archive.", f"Run: stream-backup enable {table} --stream-only")
    handler = make_handler(cache(lambda name: Archive(connection.store, connection.location.prefix, name)))
    return Follower(connection.dynamodb, meta, streams[-1], handler, say)


def read_older(connection: Connection, table: str) -> None:
    """Reads what is left in streams that were switched off before the newest one: they live on for 24 hours."""
    meta = Meta(connection.archive(table))
    oldest = int(time.time()) - RETENTION
    for stream in meta.streams()[:-1]:
        kept = meta.checkpoint(stream.label)
        ended = meta.recorded_ends().get(stream.label, stream.floor)
        if stream.reader == "follow" and not (kept and kept["drained"]) and ended > oldest:
            try:
                read(open_follower(connection, table, stream), once=True)
            except (ClientError, UsageError) as error:
                say(f"What is left in the stream of {iso(stream.floor)} cannot be read: {error}")


def read(follower: Follower, *, once: bool) -> None:
    """Reads for as long as the stream is on, or until it has caught up with the moment this was called."""
    table, stream = follower.meta.table, follower.stream
    try:
        follower.start()
        say(f"Reading the stream of {table} from {iso(follower.caught_up)} on{'' if once else '; Ctrl-C stops it'}.")
        _read(follower, once=once)
    except ClientError as error:
        if not is_gone(error):
            raise
        here, there = follower.dynamodb.tables.meta.region_name, stream.arn.split(":")[3]
        if here != there:
            raise UsageError(
                f"The stream of {table} is in Region {there}, not in {here}.", f"Pass --region {there}."
            ) from error
        kept = follower.meta.checkpoint(stream.label)
        if not (kept and kept["drained"]):
            now = int(time.time())
            follower.meta.write_outage(Outage(stream.label, follower.caught_up, now, "the stream is gone"))
        raise UsageError(
            f"The stream of {table} is gone: it was switched off, or the table deleted, more than 24 hours ago.",
            f"What was read stays. To go on: stream-backup enable {table} --stream-only, then a backfill.",
        ) from error
    finally:
        if follower.started:
            say(f"Read up to {iso(follower.caught_up)}: {follower.changes:,} changes.")


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
