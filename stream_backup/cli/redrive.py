"""`stream-backup redrive`."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.capture.failures import FailedBatch, Place, places, waiting
from stream_backup.capture.redrive import Redrive
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
    batches = [batch for batch in found if table in (None, batch.table)]
    nameless = [batch for batch in batches if not batch.table]
    done = _redrive(connection, [batch for batch in batches if batch.table], give_up=give_up)
    kept = [each for work in done.values() for each in work.kept]
    kept += [(batch, batch.reason) for batch in nameless]
    _report(done, kept, give_up=give_up, as_json=as_json)
    if nameless or (kept and not give_up):
        raise IncompleteError(
            f"{len(kept)} failed batches still wait. No moment from their first change on is"
            " exact.",
            "Fix the cause and run redrive again. If a batch can never be written, run: "
            "stream-backup redrive TABLE --give-up",
        )


def _report(
    done: dict[str, Redrive],
    kept: Sequence[tuple[FailedBatch, str]],
    *,
    give_up: bool,
    as_json: bool,
) -> None:
    for batch, reason in kept[:LISTED]:
        say(f"  s3://{batch.bucket}/{batch.path}: {reason}")
    changes = sum(work.changes for work in done.values())
    batches = sum(work.batches for work in done.values())
    left = f"{len(kept):,} {'given up' if give_up else 'still fail'}"
    say(f"{batches:,} failed batches written to the archive ({changes:,} changes), {left}.")
    if as_json:
        fields = ("batches", "changes", "reasserted", "lateness")
        tables = [
            {"table": name} | {each: getattr(work, each) for each in fields}
            for name, work in done.items()
        ]
        failed = [_failed(batch, reason) for batch, reason in kept]
        data({"tables": tables, "failed": failed, "given_up": give_up})
    if give_up and done:
        names = ", ".join(name for name in done if done[name].kept)
        say(f"Coverage starts again with the next backfill of: {names}")


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
    # How late a version is counts by AWS's clock, not by this machine's.
    ahead = connection.clock() - time.time()
    every = list(batches)
    done: dict[str, Redrive] = {}

    def clock() -> float:
        return time.time() + ahead

    with ThreadPoolExecutor(CONCURRENCY) as pool, bar("redrive", "batches") as progress:
        for number, batch in enumerate(every):
            if batch.table not in done:
                archive = connection.archive(batch.table)
                done[batch.table] = Redrive(connection.s3, archive, pool, clock)
            if not done[batch.table].redrive(batch) and give_up:
                done[batch.table].give_up(batch, int(clock()))
            progress.advance(1, (number + 1) / len(every))
    return done
