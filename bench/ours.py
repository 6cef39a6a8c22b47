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
from restore.execute import Execution, to_file
from restore.load import load
from restore.plan import Rebuild, Selection, Tally
from restore.target import Target
from restore.writer import BatchWriter
from stream_backup.coverage import Run
from stream_backup.handler import make_handler

Work = Callable[[], int]
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
