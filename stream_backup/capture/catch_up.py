"""Bringing an archive up to date: reading its stream in this process, or waiting for whoever reads
it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.batch import keeps_every_change, make_handler
from stream_backup.capture.follow import POLL, Follower
from stream_backup.capture.known import suggestion
from stream_backup.capture.shards import is_gone
from stream_backup.capture.state import State, state_of
from stream_backup.capture.walks import go_on, next_walk
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage, Stream
from stream_backup.core.time_rule import RETENTION
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.progress import Progress

TRIES = 6
"""Failures in a row of the same batch after which `--once` stops; the checkpoint stays before that
batch."""

EVERY, WALK = 300.0, 5.0
"""Seconds between two parts of a walk through the items, and for which one lasts."""

PATIENCE = 60
"""Seconds to wait for a reader that makes no progress."""


def open_follower(
    connection: Connection, table: str, progress: Progress, stream: Stream | None = None
) -> Follower:
    """Returns a reader of the table's newest stream, or of the given one, that writes into the
    archive.

    It keeps every change unless the environment says otherwise, as the function does.

    Raises UsageError when the table was never enabled.
    """
    catalog = Catalog(connection.archive(table))
    streams = [stream] if stream else catalog.streams()
    if not streams:
        raise UsageError(
            f"{table} is not enabled in this archive.",
            f"{suggestion(connection, table)}Run: stream-backup enable {table} --stream-only",
        )
    keep = keeps_every_change(os.environ)
    handler = make_handler(connection.archive, keep_every_change=keep)
    return Follower(connection.dynamodb, catalog, streams[-1], handler, progress)


def read_older(connection: Connection, table: str, progress: Progress) -> None:
    """Reads what is left in streams that were switched off before the newest one: they are kept for
    24 hours."""
    catalog = Catalog(connection.archive(table))
    oldest = int(time.time()) - RETENTION
    ends = catalog.recorded_ends()
    for stream in catalog.streams()[:-1]:
        kept = catalog.follow_checkpoint(stream.label)
        ended = ends[stream.label].end if stream.label in ends else stream.floor
        if stream.reader == "follow" and not (kept and kept.drained) and ended > oldest:
            try:
                read(open_follower(connection, table, progress, stream), once=True)
            except (ClientError, UsageError) as error:
                progress.note(f"The rest of the stream of {stream.label} cannot be read: {error}")


def keeper(connection: Connection, table: str, progress: Progress) -> Callable[[], None]:
    """Returns what `read` calls between two rounds. Every few minutes it goes on with a walk
    through the items, as the watcher does. When it fails, it says so, and the stream is read on."""
    begun: list[float] = []

    def walk() -> None:
        if begun and time.monotonic() - begun[-1] < EVERY:
            return
        begun[:] = [time.monotonic()]
        try:
            status = state_of(connection, table).status
            if found := next_walk(status):
                go_on(connection, connection.archive(table), status, found, WALK)
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream must be read
            progress.note(f"The items of the archive could not be looked at: {error}")

    return walk


def read(follower: Follower, *, once: bool, between: Callable[[], None] = lambda: None) -> None:
    """Reads while the stream is on; with `once` until it has caught up with the moment this was
    called. Calls `between` after each round.

    Raises UsageError when the stream is gone or in another Region, and IncompleteError when the
    same batch fails repeatedly.
    """
    table, progress = follower.catalog.table, follower.progress
    with _while_it_exists(follower):
        try:
            follower.start()
            progress.note(
                f"Reading the stream of {table} from {iso(follower.caught_up)}"
                f"{'.' if once else '. Press Ctrl-C to stop.'}"
            )
            _read(follower, once=once, between=between)
        finally:
            if follower.started:
                progress.note(
                    f"Read up to {iso(follower.caught_up)}: {follower.changes:,} changes."
                )


def wait(connection: Connection, table: str, moment: int, progress: Progress) -> State:
    """Returns the state once it reaches `moment`, nobody reads the stream any more, or its reader
    has made no progress for PATIENCE seconds."""
    progress.note(f"Waiting until the archive has caught up with {iso(moment)} …")
    reached, moved = 0, time.monotonic()
    while True:
        state = state_of(connection, table)
        latest = state.status.coverage.latest
        if latest > reached:
            reached, moved = latest, time.monotonic()
        tired = time.monotonic() - moved > PATIENCE
        if latest >= moment or not state.reading or tired:
            return state
        time.sleep(0.5)


def catch_up(connection: Connection, state: State, progress: Progress) -> State:
    """Returns the state once the archive has everything up to the moment of this call. It waits for
    the function or the `follow` that is reading, or reads the stream itself where it is for
    `follow` to read and nobody does."""
    table, stream = state.table, state.status.stream
    if stream is None:
        return state_of(connection, table)
    now = state_of(connection, table).now
    found = wait(connection, table, now, progress)
    if found.status.coverage.latest >= now:
        return found
    if stream.reader == "follow":
        read(open_follower(connection, table, progress), once=True)
        return state_of(connection, table)
    progress.note(f"Later changes may be missing. {found.status.coverage.witness.why}")
    return found


@contextmanager
def _while_it_exists(follower: Follower) -> Iterator[None]:
    """Records the outage when the stream turns out to be gone, and says what to do."""
    table, stream, catalog = follower.catalog.table, follower.stream, follower.catalog
    try:
        yield
    except ClientError as error:
        if not is_gone(error):
            raise
        here, there = follower.dynamodb.tables.meta.region_name, stream.arn.split(":")[3]
        if here != there:
            raise UsageError(
                f"The stream of {table} is in Region {there}, not in {here}.",
                f"Pass --region {there}.",
            ) from error
        kept = catalog.follow_checkpoint(stream.label)
        if not (kept and kept.drained):
            now = int(time.time())
            gone = Outage(stream.label, follower.caught_up, now, "the stream is gone")
            catalog.write_outage(gone)
        raise UsageError(
            f"The stream of {table} is gone: it was switched off, or the table was deleted, more"
            " than 24 hours ago.",
            "What was read is in the archive. To continue, run: "
            f"stream-backup enable {table} --stream-only; then run a backfill.",
        ) from error


def _read(follower: Follower, *, once: bool, between: Callable[[], None]) -> None:
    try:
        with follower.progress.task("follow", "changes") as task:
            while not follower.drained and not (once and follower.caught_up >= follower.started):
                before = follower.changes
                busy = follower.round()
                task.advance(follower.changes - before)
                follower.checkpoint(running=True)
                between()
                if once and follower.stuck >= TRIES:
                    raise IncompleteError(
                        f"A batch failed {follower.stuck} times in a row. "
                        f"The {follower.changes:,} changes before it were written.",
                        "The reason is above. Nothing was skipped. "
                        "Fix the cause and run the same command again.",
                    )
                if not busy:
                    time.sleep(POLL)
    finally:
        follower.checkpoint(running=False, force=True)
