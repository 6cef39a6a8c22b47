"""`stream-backup redrive`."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.capture.failures import FailedBatch, Place, places, waiting
from stream_backup.capture.holes import lost_batches, record_holes
from stream_backup.capture.redrive import Redrive, give_up_nameless
from stream_backup.capture.tombstones import tombstones_kept
from stream_backup.cli.console import bar, data, say
from stream_backup.cli.options import as_json, connected
from stream_backup.errors import IncompleteError, UsageError

LISTED = 20
"""How many of the batches that still fail are named."""


@click.command()
@click.argument("table", required=False)
@click.option(
    "--failures",
    metavar="BUCKET",
    help="The failures bucket.  [default: those on record, and the stack's]",
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
    failures: str | None,
    *,
    give_up: bool,
    as_json: bool,
) -> None:
    """Writes failed batches to the archive: those that Lambda gave up on and kept in the failures
    bucket.

    While a batch waits, no moment from its first change on can be restored exactly. The command can
    be repeated and interrupted safely: what is done is moved under done/, what still fails stays
    and is listed with the reason (exit code 3).

    \b
      stream-backup redrive
      stream-backup redrive orders
    """
    found = waiting(connection.s3, _places(connection, table, failures))
    known = {batch.table for batch in found if batch.table}
    tables = [table] if table else sorted({*connection.tables(), *known})
    batches = [batch for batch in found if table in (None, batch.table)]
    nameless = [batch for batch in batches if not batch.table]
    named = [batch for batch in batches if batch.table]
    done = _redrive(connection, named + _recorded(connection, tables, found), give_up=give_up)
    kept = [each for work in done.values() for each in work.kept]
    kept += [(batch, batch.reason) for batch in nameless]
    given_up = {name for name in done if done[name].kept}
    if give_up and nameless:
        archives, now = [connection.archive(name) for name in tables], connection.clock()
        for batch in nameless:
            given_up.update(give_up_nameless(connection.s3, archives, batch, now))
    _report(done, kept, sorted(given_up) if give_up else None, as_json=as_json)
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
    given_up: Sequence[str] | None,
    *,
    as_json: bool,
) -> None:
    """`given_up` are the tables that have a new outage, None when nothing was given up."""
    for batch, reason in kept[:LISTED]:
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
        failed = [_failed(batch, reason) for batch, reason in kept]
        data({"tables": tables, "failed": failed, "given_up": given_up is not None})
    if given_up:
        say(f"Coverage starts again with the next backfill of: {', '.join(given_up)}")


def _failed(batch: FailedBatch, reason: str) -> dict[str, Any]:
    path = f"s3://{batch.bucket}/{batch.path}"
    return {"batch": path, "table": batch.table, "reason": reason}


def _places(connection: Connection, table: str | None, failures: str | None) -> list[Place]:
    """The bucket that was named, or the stack's, and where the archive's mappings keep failed
    batches."""
    where = [Place(failures)] if failures else []
    for name in [table] if table else connection.tables():
        where += places(name, Catalog(connection.archive(name)).mappings())
    if not failures and not (table and where) and (stack := _stack(connection)):
        where.insert(0, Place(stack))
    if not where:
        raise UsageError(
            f"No failures bucket is known{f' for {table}' if table else ''}.",
            "Name it: --failures BUCKET, or name the deployed stack: --stack NAME",
        )
    return where


def _stack(connection: Connection) -> str | None:
    try:
        return connection.stack.failures if connection.stack else None
    except (ClientError, UsageError):
        return None


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
