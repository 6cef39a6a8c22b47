"""The hot paths of the product: the code of the function, of `backfill` and of `restore`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from backfill.run import SEGMENTS
from backfill.segment import Segment
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from restore import destination
from restore.file import File
from restore.live_table import LiveTable, RewoundTable
from restore.load import load
from restore.plan import Rebuild, Rewind, Tally
from restore.target import Target
from restore.writer import BatchWriter
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.scan import TableScan
from stream_backup.capture.batch import make_handler
from stream_backup.core.records import Run, TableDescription
from stream_backup.progress import Silent
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rows import Rows
from stream_backup.verify.run import scan_rows

Work = Callable[[], int]
DAMAGED = 1000
"""The rows that a rewind restores."""


def capture(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes one batch of the stream with `count` changes to S3."""
    written = archive(endpoints, "orders")
    handle, batch = make_handler(lambda _: written), rows.event(count)

    def work() -> int:
        assert handle(batch, None) == {"batchItemFailures": []}
        return count

    return work


def backfill(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes a table of `count` items to S3."""
    table = rows.table_name(count)
    into, source = archive(endpoints, table), dynamodb(endpoints)
    catalog = Catalog(into)
    run = Run("bench", "label", rows.BASE, rows.BASE, rows.BASE, False, {"segments": SEGMENTS})

    def work() -> int:
        _, asked = source.call("batch_write_item", {"RequestItems": {}})
        with ThreadPoolExecutor(CONCURRENCY) as pool, ThreadPoolExecutor(SEGMENTS) as scanners:
            budget, stop = ReadBudget(None), Event()
            segments = [
                Segment(
                    dynamodb=source,
                    archive=into,
                    run=run,
                    number=number,
                    total=SEGMENTS,
                    empty=True,
                    budget=budget,
                    pool=pool,
                    stop=stop,
                    save=lambda number, kept: catalog.write_segment_checkpoint(
                        "bench", number, kept
                    ),
                    progress=lambda _: None,
                )
                for number in range(SEGMENTS)
            ]
            done = sum(
                counts.written
                for counts in scanners.map(lambda segment: segment.scan(None, asked), segments)
            )
        assert done == count
        return done

    return work


def restore(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes `count` items from S3 into a table."""
    table = rows.table_name(count)
    source, into = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        plan, chosen, tally = Rebuild(source, rows.MOMENT, rows.BASE), Selection(source), Tally()
        description = TableDescription({}, {}, (), point_in_time_recovery=False)
        target = Target(into, table, "arn", description, "bench", resumed=False, had_rows=False)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            writer = BatchWriter(into, table)
            assert not load(plan, chosen, target, writer, pool, tally, lambda *_: None, Event())
        assert tally.versions == count * rows.VERSIONS
        assert tally.steps["put"] == count
        return count

    return work


def export(endpoints: Endpoints, count: int, path: Path) -> Work:
    """Returns the work that writes `count` items from S3 to the file `path`."""
    table = rows.table_name(count)
    source, unused = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            execution = _work(unused, Selection(source), pool)
            plan = Rebuild(source, rows.MOMENT, rows.BASE)
            File(str(path), overwrite=True).execute(execution, plan)
        assert execution.tally.versions == count * rows.VERSIONS
        return execution.tally.steps["put"]

    return work


def rewind(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that rewinds a table in which DAMAGED rows have changed."""
    source, into = archive(endpoints, rows.damaged_name(count, DAMAGED)), dynamodb(endpoints)

    def work() -> int:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            execution = _work(into, Selection(source), pool)
            plan = Rewind(source, rows.GOOD, rows.BASE, rows.BASE)
            assert LiveTable(None).execute(execution, plan) == RewoundTable(DAMAGED, 0, ())
        return count

    return work


def verify(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that verifies a table without differences."""
    table = rows.damaged_name(count, DAMAGED)
    source, live = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        budget, stop, findings, found = ReadBudget(None), Event(), Findings(), Rows()
        scans = [TableScan(live, table, number, SEGMENTS) for number in range(SEGMENTS)]
        scan_rows(scans, rows.SCHEMA, budget, stop, found, lambda _: None)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            left = Looks(live, source, pool, budget, stop, findings, rows.BASE).compare(
                found, lambda _: None
            )
        found.close()
        assert not any(spool.count for spool in left)
        return count

    return work


def _work(into: DynamoDB, chosen: Selection, pool: ThreadPoolExecutor) -> destination.Work:
    return destination.Work(into, chosen, pool, Tally(), Event(), Silent())
