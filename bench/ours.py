"""The hot paths as they are: the code of the function, of `backfill` and of `restore`, on clients made as they make them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from backfill.capacity import Capacity
from backfill.segment import WRITERS, Segment
from bench import rows
from bench.clients import Endpoints, archive, dynamodb
from restore.command import READERS
from restore.execute import Execution, rewind_live, to_file
from restore.load import load
from restore.plan import Rebuild, Rewind, Selection, Tally
from restore.target import Target
from restore.writer import BatchWriter
from stream_backup.coverage import Run
from stream_backup.handler import make_handler
from verify.look import Looks
from verify.rows import Rows
from verify.scan import Scan
from verify.tally import Tally as VerifyTally

Work = Callable[[], int]
DAMAGED = 1000
SEGMENTS = 4
"""What `backfill` takes unless told otherwise."""


def capture(endpoints: Endpoints, count: int) -> Work:
    written = archive(endpoints, "orders")
    handle, batch = make_handler(lambda _: written), rows.event(count)

    def work() -> int:
        assert handle(batch, None) == {"batchItemFailures": []}
        return count

    return work


def backfill(endpoints: Endpoints, count: int) -> Work:
    table = rows.table_name(count)
    into, source = archive(endpoints, table), dynamodb(endpoints)
    run = Run("bench", "label", rows.BASE, rows.BASE, rows.BASE, False, {"segments": SEGMENTS})

    def work() -> int:
        _, asked = source.call("batch_write_item", {"RequestItems": {}})
        with ThreadPoolExecutor(WRITERS) as pool, ThreadPoolExecutor(SEGMENTS) as scanners:
            capacity, stop = Capacity(None), Event()
            segments = [
                Segment(
                    dynamodb=source,
                    archive=into,
                    run=run,
                    number=number,
                    total=SEGMENTS,
                    empty=True,
                    capacity=capacity,
                    pool=pool,
                    stop=stop,
                    save=lambda number, kept: into.write_meta(f"segments/bench/{number}", kept),
                    progress=lambda _: None,
                )
                for number in range(SEGMENTS)
            ]
            done = sum(counts.written for counts in scanners.map(lambda segment: segment.scan(None, asked), segments))
        assert done == count
        return done

    return work


def restore(endpoints: Endpoints, count: int) -> Work:
    table = rows.table_name(count)
    source, into = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        plan, chosen, tally = Rebuild(source, rows.MOMENT, rows.BASE), Selection(source), Tally()
        target = Target(into, table, "arn", {}, goes_on=False, had_rows=False)
        with ThreadPoolExecutor(READERS) as pool:
            writer = BatchWriter(into, table)
            assert not load(plan, chosen, target, writer, pool, tally, lambda *_: None, Event())
        assert tally.versions == count * rows.VERSIONS
        assert tally.steps["put"] == count
        return count

    return work


def export(endpoints: Endpoints, count: int, path: Path) -> Work:
    table = rows.table_name(count)
    source, unused = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        tally = Tally()
        with ThreadPoolExecutor(READERS) as pool:
            execution = Execution(unused, Selection(source), pool, tally, Event())
            to_file(execution, Rebuild(source, rows.MOMENT, rows.BASE), str(path), overwrite=True)
        assert tally.versions == count * rows.VERSIONS
        return tally.steps["put"]

    return work


def rewind(endpoints: Endpoints, count: int) -> Work:
    """Of a table in which DAMAGED rows changed since the moment: planned, and executed."""
    source, into = archive(endpoints, rows.damaged_name(count, DAMAGED)), dynamodb(endpoints)

    def work() -> int:
        with ThreadPoolExecutor(READERS) as pool:
            execution = Execution(into, Selection(source), pool, Tally(), Event())
            plan = Rewind(source, rows.GOOD, rows.BASE, rows.BASE)
            assert rewind_live(execution, plan, None, plan_only=False) == {"rewound": DAMAGED, "already": 0, "left": []}
        return count

    return work


def verify(endpoints: Endpoints, count: int) -> Work:
    """Of a table that is what the archive says it is."""
    table = rows.damaged_name(count, DAMAGED)
    source, live = archive(endpoints, table), dynamodb(endpoints)

    def work() -> int:
        capacity, stop, tally, found = Capacity(None), Event(), VerifyTally(), Rows()
        Scan(live, table, rows.SCHEMA, SEGMENTS, capacity, stop, lambda _: None).into(found)
        with ThreadPoolExecutor(READERS) as pool:
            left = Looks(live, source, pool, capacity, stop, tally, rows.BASE).compare(found, lambda _: None)
        found.close()
        assert not any(spool.count for spool in left)
        return count

    return work
