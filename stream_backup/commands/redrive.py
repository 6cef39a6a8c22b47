"""`stream-backup redrive`"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import click
from botocore.exceptions import ClientError

from stream_backup.batch import WRITERS
from stream_backup.connection import Connection
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.failures import FailedBatch, Place, places, waiting
from stream_backup.meta import Meta
from stream_backup.options import as_json, connected
from stream_backup.redrive import Redrive
from stream_backup.talk import bar, data, say


@click.command()
@click.argument("table", required=False)
@click.option("--failures", metavar="BUCKET", help="The failures bucket.  [default: those on record, and the stack's]")
@click.option("--give-up", is_flag=True, help="Put aside for good what still fails: an outage, until the next backfill.")
@as_json
@connected
def redrive(connection: Connection, table: str | None, failures: str | None, *, give_up: bool, as_json: bool) -> None:
    """Puts failed batches back into the archive: those Lambda gave up on and kept in the failures bucket.

    While one waits, no moment from its first change on can be restored exactly. Safe to repeat and to interrupt: what is
    done is moved under done/, what still fails stays and is listed with the reason (exit code 3).

    \b
      stream-backup redrive
      stream-backup redrive orders
    """
    found = waiting(connection.s3, _where(connection, table, failures))
    batches = [batch for batch in found if table in (None, batch.table)]
    nameless = [batch for batch in batches if not batch.table]
    done = _redrive(connection, [batch for batch in batches if batch.table], give_up=give_up)
    kept = [each for work in done.values() for each in work.kept] + [(batch, batch.reason) for batch in nameless]
    for batch, reason in kept[:20]:
        say(f"  s3://{batch.bucket}/{batch.path}: {reason}")
    changes, whole = sum(work.changes for work in done.values()), sum(work.batches for work in done.values())
    say(f"{whole:,} failed batches put back ({changes:,} changes), {len(kept):,} {'given up' if give_up else 'still fail'}.")
    if as_json:
        fields = ("batches", "changes", "reasserted", "lateness")
        report = [{"table": name} | {each: getattr(work, each) for each in fields} for name, work in done.items()]
        reasons = [
            {"batch": f"s3://{batch.bucket}/{batch.path}", "table": batch.table, "reason": why} for batch, why in kept
        ]
        data({"tables": report, "failed": reasons, "given_up": give_up})
    if give_up and done:
        say(f"Coverage begins again with the next backfill of: {', '.join(name for name in done if done[name].kept)}")
    if nameless or (kept and not give_up):
        raise IncompleteError(
            f"{len(kept)} failed batches still wait, and no moment from their first change on is exact.",
            "Mend the reason and run it again; what can never be written: stream-backup redrive TABLE --give-up",
        )


def _where(connection: Connection, table: str | None, failures: str | None) -> list[Place]:
    """All of the bucket that was named or is the stack's, and what the archive's mappings left, wherever that is."""
    where = [Place(failures)] if failures else []
    for name in [table] if table else connection.tables():
        where += places(name, Meta(connection.archive(name)).mappings())
    if not failures and not (table and where) and (stack := _stack(connection)):
        where.insert(0, Place(stack))
    if not where:
        raise UsageError(
            f"No failures bucket is known{f' of {table}' if table else ''}.",
            "Name it: --failures BUCKET, or the deployed stack: --stack NAME",
        )
    return where


def _stack(connection: Connection) -> str | None:
    try:
        return connection.stack.failures if connection.stack else None
    except (ClientError, UsageError):
        return None


def _redrive(connection: Connection, batches: Iterable[FailedBatch], *, give_up: bool) -> dict[str, Redrive]:
    ahead = connection.clock() - time.time()  # how late a version is counts by AWS's clock, not by this machine's
    every = list(batches)
    done: dict[str, Redrive] = {}

    def clock() -> float:
        return time.time() + ahead

    with ThreadPoolExecutor(WRITERS) as pool, bar("redrive", "batches") as progress:
        for number, batch in enumerate(every):
            if batch.table not in done:
                done[batch.table] = Redrive(connection.s3, connection.archive(batch.table), pool, clock)
            if not done[batch.table].put_back(batch) and give_up:
                done[batch.table].give_up(batch, int(clock()))
            progress.advance(1, (number + 1) / len(every))
    return done
