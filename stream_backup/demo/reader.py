"""What reads the table's stream into the archive.

In a checkout it is the function, deployed with the project's template. Without a template it is
the command `follow`.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import boto3

from stream_backup.archive.layout import History
from stream_backup.aws.connection import Connection
from stream_backup.aws.stack import NAME
from stream_backup.cli.console import say
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import key_hash
from stream_backup.demo import terminal
from stream_backup.demo.function import deploy, is_deployable
from stream_backup.demo.live import DemoTable
from stream_backup.demo.rows import KEY
from stream_backup.errors import StreamBackupError
from stream_backup.settings import ARCHIVE

_BUCKET = "my-backups"
"""The bucket of the archive of `follow`. The stack creates its own."""

_PATIENCE = 60
"""Seconds until the archive must have caught up. Here it takes a few."""


def is_function() -> bool:
    """Whether the function reads the stream."""
    return is_deployable()


def prepare() -> dict[str, str]:
    """Creates the archive, and the function if possible.

    Returns the environment variables by which commands find them, in addition to AWS's own.
    """
    if is_function():
        started = time.monotonic()
        deploy()
        say(
            f"CloudFormation deployed the project's template in {time.monotonic() - started:.0f} "
            f"s: stack {NAME}, with the function and a versioned bucket for the archive. Commands "
            "find both by the name of the stack."
        )
        return {}
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=_BUCKET)
    s3.put_bucket_versioning(Bucket=_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    say(
        f"The archive is {_BUCKET}, a versioned bucket. Commands find it by the environment "
        f"variable {ARCHIVE}=s3://{_BUCKET}."
    )
    return {ARCHIVE: f"s3://{_BUCKET}"}


@contextmanager
def reading(table: str) -> Iterator[terminal.Background | None]:
    """Enables the table's stream, which is read into the archive while the block runs.

    Yields the `follow` that reads it, or None if the function does.
    """
    if is_function():
        say(
            "The stream of the table is enabled, and the function reads it into the archive, in a "
            "separate process."
        )
        terminal.run("enable", table)
        yield None
        return
    say(
        "The stream of the table is enabled. On AWS, the deployed function reads it into the "
        "archive; here, the command `follow` does."
    )
    terminal.run("enable", table, "--stream-only")
    with terminal.background("follow", table) as follow:
        yield follow


def catch_up(table: DemoTable, follow: terminal.Background | None) -> float:
    """Returns when the archive has every change made before this call, with the seconds taken.

    Changes may go on. Those of a row are written in order, so its newest version is sufficient: it
    must be the state that the row has now, or a later one. A listing is sufficient too, because an
    ETag is the MD5 of the body. Raises StreamBackupError if it takes too long.
    """
    started = time.monotonic()
    archive = Connection(None, None, os.environ.get(ARCHIVE)).archive(table.name)
    waiting = {name: len(states) - 1 for name, states in list(table.written.items())}
    while waiting:
        waiting = behind(archive.histories(), table.written, waiting)
        if follow:
            follow.require()
        if waiting and time.monotonic() > started + _PATIENCE:
            raise StreamBackupError(
                f"The archive has not caught up with table {table.name} in {_PATIENCE} seconds."
            )
        time.sleep(0.2 if waiting else 0)
    return time.monotonic() - started


def behind(
    histories: Iterable[History], written: dict[str, list[Item | None]], waiting: dict[str, int]
) -> dict[str, int]:
    """Returns those rows of `waiting` whose newest version is older than the state with the index
    that they have in `waiting`. `written` has all states of each row in order, None for a
    deletion."""
    found = {each.name: each.versions[0] for each in histories}

    def has_arrived(name: str, since: int) -> bool:
        newest = found.get(key_hash({KEY: {"S": name}}))
        if newest is None:
            return False
        etag = newest.etag if newest.size else ""
        later = written[name][since:]
        return any((digest(encode(state)) if state else "") == etag for state in later)

    return {name: since for name, since in waiting.items() if not has_arrived(name, since)}
