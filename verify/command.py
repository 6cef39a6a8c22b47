"""`stream-backup verify`"""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import click

from backfill.capacity import Capacity
from backfill.run import units_of
from restore.order import GRACE, PATIENCE, Order
from stream_backup.archive import SHARDS
from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.key import KeySchema
from stream_backup.meta import Meta
from stream_backup.options import as_json, connected, read_capacity, table_argument
from stream_backup.survey import Live, Survey, survey
from stream_backup.table import require
from stream_backup.talk import HashFraction, bar, say
from verify.look import Looks
from verify.report import complain, report, uncovered
from verify.rows import Rows
from verify.scan import Scan
from verify.tally import Tally

READERS = 64
"""Requests for single rows and versions under way at once."""


@click.command()
@table_argument
@click.option("--segments", type=click.IntRange(1, 256), default=4, show_default=True, help="Parts scanned at once.")
@read_capacity
@as_json
@connected
def verify(
    connection: Connection,
    table: str,
    segments: int,
    read_share: float,
    read_units: float | None,
    *,
    as_json: bool,
) -> None:
    """Compares the live table with what the archive says is there now. It only reads.

    The table is scanned, and the archive listed: a row whose ETag there is the MD5 of its content is equal, and costs no
    request of its own. What differs is looked at again until it is clear that no change was merely under way; a row that
    changes all the time is not judged. Where ETags are no MD5 (SSE-KMS), each row costs a GET. Exit code 5 when something
    differs.

    \b
      stream-backup verify orders
      stream-backup verify orders --read-share 0.1 --json
    """
    live, _ = require(connection.dynamodb, table)
    archive = connection.archive(table, KeySchema.of(live.description))
    if not Meta(archive).streams() and archive.is_empty():
        raise UsageError(f"The archive {connection.location} holds nothing of {table!r}.", "Check its name, and --archive.")
    capacity = Capacity(read_units if read_units is not None else units_of(live, read_share))
    stop, tally, rows = Event(), Tally(), Rows()
    try:
        _scan(connection, live, segments, capacity, stop, rows)
        found, failed_batches = _survey(connection, table)
        floor = Order(table, found.now, None, None, found).floor_now
        covered = floor >= 0
        if not covered:
            say(f"{uncovered(table, found)} What follows compares with what there is.")
        before = dict(connection.store.requests)
        with ThreadPoolExecutor(READERS) as pool:
            looks = Looks(connection.dynamodb, archive, pool, capacity, stop, tally, floor, found.lateness)
            _compare(looks, rows, _grace(found))
    finally:
        rows.close()
    requests = {kind: connection.store.requests[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}
    report(table, tally, requests, covered=covered, as_json=as_json)
    complain(table, tally, found, failed_batches, covered=covered)


def _scan(connection: Connection, live: Live, segments: int, capacity: Capacity, stop: Event, rows: Rows) -> None:
    expected = int(live.description.get("ItemCount") or 0)
    schema, lock, read = KeySchema.of(live.description), Lock(), [0]
    with bar("scan", "rows") as progress:

        def tell(count: int) -> None:
            with lock:
                read[0] += count
                progress.advance(count, min(read[0] / expected, 0.99) if expected else None)

        table = live.description["TableName"]
        Scan(connection.dynamodb, table, schema, segments, capacity, stop, tell).into(rows)


def _compare(looks: Looks, rows: Rows, grace: float) -> None:
    with bar("compare", "items") as progress:
        fraction = HashFraction(len(SHARDS))
        open_ = looks.compare(rows, lambda name: progress.advance(1, fraction.reach(name)))
    total = sum(spool.count for spool in open_)
    if total:
        say(f"{total:,} rows are looked at again: changes may be under way.")
    with bar("look again", "rows") as progress:
        looks.settle(open_, rows.count, grace, lambda: progress.advance(1, (progress.done + 1) / total))


def _survey(connection: Connection, table: str) -> tuple[Survey, int]:
    """What the archive claims right now, and how many failed batches wait."""
    live, now = require(connection.dynamodb, table)
    failed = connection.failed_batches(table) or []
    behind = connection.behind(table, now)
    return survey(connection.archive(table), now, live, [batch.hole for batch in failed], behind), len(failed)


def _grace(found: Survey) -> float:
    """Seconds within which a change that was made is in the archive, as far as anybody can tell; none where nobody reads."""
    stream = found.stream
    if stream is None or (stream.reader == "follow" and not found.following):
        return 0.0
    return min(GRACE + (found.lag or 0), PATIENCE)
