"""`stream-backup redrive`."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from shlex import quote
from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.capture.failures import FailedBatch, Place, places, waiting
from stream_backup.capture.holes import lost_batches, record_holes
from stream_backup.capture.known import unknown
from stream_backup.capture.redrive import Redrive, give_up_nameless
from stream_backup.capture.tombstones import tombstones_kept
from stream_backup.cli.console import bar, data, say
from stream_backup.cli.options import as_json, connected, optional_table
from stream_backup.errors import IncompleteError, UsageError

LISTED = 20
"""How many of the batches that still fail are named."""

ELSEWHERE = "its bucket is not the stack's and was not read"


@click.command()
@optional_table
@click.option(
    "--failures",
    "buckets",
    multiple=True,
    metavar="BUCKET",
    help="Read failed batches in this bucket; may be repeated.  [default: the stack's]",
)
@click.option(
    "--give-up",
    is_flag=True,
    help="Give up what still fails: it becomes an outage until the next backfill.",
)
@as_json
@connected
def redrive(
    connection: Connection,
    table: str | None,
    buckets: tuple[str, ...],
    *,
    give_up: bool,
    as_json: bool,
) -> None:
    """Writes failed batches to the archive: those that Lambda gave up on and kept in the failures
    bucket.

    While a batch waits, no moment from its first change on can be restored exactly. The command can
    be repeated and interrupted safely: what is done is moved under done/, what still fails stays
    and is listed with the reason (exit code 3).

    Only the failures bucket of the stack is read, whatever the archive says: name any other bucket
    with --failures.

    \b
      stream-backup redrive
      stream-backup redrive orders
    """
    trusted = {*buckets} or {*_stack(connection)}
    found = waiting(connection.s3, _places(connection, table, trusted, named=bool(buckets)))
    known = {batch.table for batch in found if batch.table}
    if table and table not in known and not Catalog(connection.archive(table)).streams():
        raise unknown(connection, table)
    tables = [table] if table else sorted({*connection.tables(), *known})
    batches = [batch for batch in found if table in (None, batch.table)]
    nameless = [batch for batch in batches if not batch.table]
    named = [batch for batch in batches if batch.table]
    lost = _recorded(connection, tables, found)
    elsewhere = [batch for batch in lost if batch.bucket not in trusted]
    lost = [batch for batch in lost if batch.bucket in trusted]
    done = _redrive(connection, named + lost, give_up=give_up)
    kept = [each for work in done.values() for each in work.kept]
    kept += [(batch, batch.reason) for batch in nameless]
    given_up = {name for name in done if done[name].kept}
    if give_up and nameless:
        archives, now = [connection.archive(name) for name in tables], connection.clock()
        for batch in nameless:
            given_up.update(give_up_nameless(connection.s3, archives, batch, now))
    _report(done, kept, elsewhere, sorted(given_up) if give_up else None, as_json=as_json)
    if elsewhere:
        raise IncompleteError(
            f"{len(elsewhere)} failed batches on record are in a bucket that is not the stack's,"
            " which was not read. No moment from their first change on is exact.",
            f"If you trust it, run: stream-backup redrive --failures {quote(elsewhere[0].bucket)}",
        )
    if kept and not give_up:
        raise IncompleteError(
            f"{len(kept)} failed batches still wait. No moment from their first change on is"
            " exact.",
            "Fix the cause and run redrive again. If a batch can never be written, run: "
            f"stream-backup redrive {'' if nameless else 'TABLE '}--give-up",
        )


def _recorded(
    connection: Connection, tables: Iterable[str], found: Sequence[FailedBatch]
) -> list[FailedBatch]:
    """Records the batches that were found, and returns those on record whose objects are gone."""
    lost: list[FailedBatch] = []
    for name in tables:
        catalog = Catalog(connection.archive(name))
        record_holes(catalog, found, connection.clock())
        lost += lost_batches(catalog, found)
    return lost


def _report(
    done: dict[str, Redrive],
    kept: Sequence[tuple[FailedBatch, str]],
    elsewhere: Sequence[FailedBatch],
    given_up: Sequence[str] | None,
    *,
    as_json: bool,
) -> None:
    """`elsewhere` are batches in buckets that were not read; `given_up` are the tables that have a
    new outage, None when nothing was given up."""
    unread = [(batch, ELSEWHERE) for batch in elsewhere]
    for batch, reason in [*kept, *unread][:LISTED]:
        say(f"  s3://{batch.bucket}/{batch.path}: {reason}")
    changes = sum(work.changes for work in done.values())
    batches = sum(work.batches for work in done.values())
    left = f"{len(kept):,} {'still fail' if given_up is None else 'given up'}"
    say(f"{batches:,} failed batches written to the archive ({changes:,} changes), {left}.")
    if as_json:
        fields = ("batches", "changes", "reasserted")
        tables = [
            {"table": name} | {each: getattr(work, each) for each in fields}
            for name, work in done.items()
        ]
        failed = [_failed(batch, reason) for batch, reason in [*kept, *unread]]
        data({"tables": tables, "failed": failed, "given_up": given_up is not None})
    if given_up:
        say(f"Coverage starts again with the next backfill of: {', '.join(given_up)}")


def _failed(batch: FailedBatch, reason: str) -> dict[str, Any]:
    path = f"s3://{batch.bucket}/{batch.path}"
    return {"batch": path, "table": batch.table, "reason": reason}


def _places(
    connection: Connection, table: str | None, trusted: Collection[str], *, named: bool
) -> list[Place]:
    """The trusted buckets, and where the mappings on record keep failed batches in them. What an
    archive says about other buckets is reported and not followed, because whoever can write to an
    archive could name any bucket: its objects would be read as changes, and moved."""
    where = [Place(each) for each in sorted(trusted)] if named else []
    tables = [table] if table else connection.tables()
    recorded = [
        place
        for name in tables
        for place in places(name, Catalog(connection.archive(name)).mappings())
    ]
    for bucket in sorted({place.bucket for place in recorded} - {*trusted}):
        say(
            f"The archive names bucket {bucket} for failed batches. It is not the stack's and was"
            f" not read. If you trust it, pass --failures {quote(bucket)}"
        )
    where += [place for place in recorded if place.bucket in trusted]
    if not named and not (table and where):
        where = [Place(each) for each in sorted(trusted)] + where
    if not where:
        raise UsageError(
            f"No failures bucket is known{f' for {table}' if table else ''}.",
            "Name it: --failures BUCKET, or name the deployed stack: --stack NAME",
        )
    return where


def _stack(connection: Connection) -> Iterator[str]:
    """The failures bucket of the stack, if there is one."""
    with suppress(ClientError, UsageError):
        if connection.stack and connection.stack.failures:
            yield connection.stack.failures


def _redrive(
    connection: Connection, batches: Iterable[FailedBatch], *, give_up: bool
) -> dict[str, Redrive]:
    every = list(batches)
    done: dict[str, Redrive] = {}

    with ThreadPoolExecutor(CONCURRENCY) as pool, bar("redrive", "batches") as progress:
        for number, batch in enumerate(every):
            if batch.table not in done:
                archive = connection.archive(batch.table)
                kept = tombstones_kept(connection.s3, connection.store.bucket, archive.root)
                done[batch.table] = Redrive(connection.s3, archive, pool, connection.now, kept)
            if not done[batch.table].redrive(batch) and give_up:
                done[batch.table].give_up(batch, int(connection.now()))
            progress.advance(1, (number + 1) / len(every))
    return done
