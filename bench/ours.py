"""The hot paths of the product: the code of the function, of `backfill` and of `restore`."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

from backfill.run import SEGMENTS
from backfill.segment import Segment
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from restore import destination, load
from restore.file import File
from restore.kept import grid
from restore.live_table import LiveTable, RewoundTable
from restore.load import load_slices
from restore.order import RestoreOrder
from restore.plan import Rebuild, Rewind, Tally
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool, collect_seldom
from stream_backup.archive.selection import Selection
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture import batch
from stream_backup.capture.batch import make_handler
from stream_backup.core.records import Run
from stream_backup.core.slice import cut_names, cut_scan
from stream_backup.core.time_rule import Lateness
from stream_backup.inspect.placing import Range
from stream_backup.inspect.timeline import timeline as timeline_of
from stream_backup.inspect.window import Examined, Window, changes
from stream_backup.progress import Silent
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import scan_slices

Work = Callable[[], int]
pool_of: Callable[[], Executor] = RequestPool
"""Opens the pool of the product, unless `fix` was called."""

DAMAGED = 1000
"""The rows that a rewind restores."""


def fix(threads: int) -> None:
    """Makes the paths use so many threads, whatever the service does."""
    global pool_of
    collect_seldom()  # as the pool of the product does
    pool_of = partial(ThreadPoolExecutor, threads)
    setattr(batch, "CONCURRENCY", threads)  # noqa: B010 - not for others
    setattr(load, "RequestPool", pool_of)  # noqa: B010 - not for others


def capture(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes one batch of the stream with `count` changes to S3."""
    written = archive(endpoints, "orders")
    handle, event = make_handler(lambda _: written), rows.event(count)

    def work() -> int:
        assert handle(event, None) == {"batchItemFailures": []}
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
        with pool_of() as pool, ThreadPoolExecutor(SEGMENTS) as scanners:
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
            done: int = sum(
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
        order = RestoreOrder(table, rows.MOMENT, rows.BASE, Lateness())
        done = load_slices(order, cut_names(grid(1)), into, source, Event(), lambda _: None)
        assert sum(each.counts["versions"] for each in done) == count * rows.VERSIONS
        assert sum(each.written for each in done) == count
        return count

    return work


def export(endpoints: Endpoints, count: int, path: Path) -> Work:
    """Returns the work that writes `count` items from S3 to the file `path`."""
    table = rows.table_name(count)
    source, unused = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        with pool_of() as pool:
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
        with pool_of() as pool:
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
        scans = cut_scan(SEGMENTS)
        scan_slices(scans, live, table, rows.SCHEMA, budget, stop, found, lambda _: None)
        with pool_of() as pool:
            left = Looks(live, source, pool, budget, stop, findings, rows.BASE).compare(
                found, lambda _: None
            )
        found.close()
        assert not any(spool.count for spool in left)
        return count

    return work


def diff(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that finds what changed in the rows of which every fourth was damaged."""
    source, number = _searched(endpoints, count)
    window = Window(source, rows.GOOD, rows.at(rows.VERSIONS) + 1, rows.BASE, rows.BASE)

    def work() -> int:
        with pool_of() as pool:
            examined = Examined()
            found = changes(window, Selection(source), pool, examined, Silent())
            assert sum(each.differs for each in found) == number
        assert not examined.unreadable
        return number

    return work


def timeline(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that counts the changes of the same window, second by second: each needs a
    stamp."""
    source, number = _searched(endpoints, count)
    end = rows.at(rows.VERSIONS)
    span = Range(source, end - 60, end + 60, 1, rows.BASE, [], Lateness())

    def work() -> int:
        with pool_of() as pool:
            found = timeline_of(span, Selection(source), pool, Examined(), Silent())
        assert found.total.total == found.read == number
        return number

    return work


def _searched(endpoints: Endpoints, count: int) -> tuple[Archive, int]:
    """Returns the archive of `count` rows, and how many of them were damaged."""
    damaged = count // 4
    return archive(endpoints, rows.damaged_name(count, damaged)), damaged


def _work(into: DynamoDB, chosen: Selection, pool: Executor) -> destination.Work:
    return destination.Work(into, chosen, pool, Tally(), Event(), Silent())
