"""Executes a rebuild: writes what a plan puts into a table, slice by slice. A slice is done in one
go, or as much of it as there is time for."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event
from typing import Any

from restore.fill import Filler, Track
from restore.order import RestoreOrder
from restore.plan import Counted, Planner, Step, Tally, step_chunks
from restore.writer import BatchWriter
from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import never, run_slices
from stream_backup.aws.capacity import WriteBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.key import KeySchema, key_hash, key_json
from stream_backup.core.slice import NameSlice
from stream_backup.workers.crew import Workers, deal

LISTED = 20
"""How many errors a record names."""


@dataclass(frozen=True, slots=True)
class BatchWritten:
    """The names of items that have just been written, and what may be recorded as done of the
    slices that they belong to."""

    names: tuple[str, ...]
    parts: tuple[NameSlice, ...]


@dataclass(frozen=True, slots=True)
class SliceLoaded:
    """What was done of one slice: the `slice` as it is to be continued, and how it may be recorded
    (`sure`): done up to the first item that failed. `failures` has a line for each item that could
    not be written, with its key and the reason. The counts are those of this call."""

    slice: NameSlice
    sure: NameSlice
    written: int
    counted: Counted
    failures: tuple[str, ...] = ()

    @property
    def versions(self) -> int:
        """How many versions were listed."""
        return self.counted.versions

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many items were written and failed, how many did not exist at the moment, how
        many could not be read, and how many versions were listed."""
        return {
            "written": self.written,
            "failed": len(self.failures),
            "absent": self.counted.steps.get("absent", 0),
            "unreadable": len(self.counted.unreadable),
            "versions": self.counted.versions,
        }

    def record(self) -> dict[str, Any]:
        """Returns the result as a JSON object, with the first of the errors."""
        return {
            "slice": self.slice.record(),
            "sure": self.sure.record(),
            "counts": self.counts,
            "failures": list(self.failures[:LISTED]),
            "unreadable": [str(error) for error in self.counted.unreadable[:LISTED]],
        }


@dataclass(frozen=True, slots=True)
class Loader:
    """Writes what `plan` puts with `writer`, in one process. `report` is called after each batch.
    Nothing more is begun once `stop` is set; and no further items are read of a slice when the time
    is `over`, but what was read is written."""

    plan: Planner
    chosen: Selection
    schema: KeySchema
    writer: BatchWriter
    pool: Executor
    stop: Event
    report: Callable[[BatchWritten], None]
    over: Callable[[], bool] = never

    def load(self, parts: Sequence[NameSlice], at_once: int | None = None) -> list[SliceLoaded]:
        """Does as much of these slices, all at once, as there is time for: of each at least one
        chunk. With `at_once`, so many are done at once, and one that was not begun when the time is
        over is left out."""
        work = [(part, Track(part), Tally()) for part in parts]
        filler = Filler(self._write, self._wrote)

        def read(number: str) -> None:
            first = at_once is None or int(number) < at_once
            if first or not (self.over() or self.stop.is_set()):
                self._read(*work[int(number)], filler)

        run_slices(read, [str(number) for number in range(len(work))], self.stop, at_once)
        filler.flush()
        return [
            SliceLoaded(
                track.slice, track.sure, track.written, tally.counted(), tuple(track.failures)
            )
            for _, track, tally in work
        ]

    def _read(self, part: NameSlice, track: Track, tally: Tally, filler: Filler) -> None:
        histories = self.chosen.within(part)
        for chunk in step_chunks(self.plan, histories, self.pool, tally):
            for step in chunk:
                if self.stop.is_set():
                    return
                if isinstance(step, Step) and step.action == "put":
                    filler.add(track, step)
                else:
                    filler.skip(track, step.name, done=isinstance(step, Step))
            if self.over():
                return
        if not self.stop.is_set():
            filler.end(track)

    def _write(self, batch: Sequence[Step]) -> dict[str, str] | None:
        failures = self.writer.put(step.body for step in batch if step.body is not None)
        if self.stop.is_set():
            return None
        found = {}
        for failure in failures:
            key = failure.key(self.schema)
            found[key_hash(key)] = f"{key_json(key)}: {failure.reason}"
        return found

    def _wrote(self, names: Sequence[str], parts: Sequence[NameSlice]) -> None:
        self.report(BatchWritten(tuple(names), tuple(parts)))


def load_slices(
    order: RestoreOrder,
    parts: Sequence[NameSlice],
    dynamodb: DynamoDB,
    archive: Archive,
    stop: Event,
    report: Callable[[BatchWritten], None],
    over: Callable[[], bool] = never,
    budget: WriteBudget | None = None,
    at_once: int | None = None,
) -> list[SliceLoaded]:
    """Does as much of these slices as there is time for, in one process, with clients of its own:
    the whole work of a worker, wherever it runs. `budget` is shared with other processes; without
    one, `order` limits the rate of this one. `at_once` slices are done at once, by default
    all."""
    assert archive.schema is not None
    writer = BatchWriter(dynamodb, order.into, order.rate, order.patience, stop, budget=budget)
    with RequestPool() as pool:
        chosen = Selection(archive, order.keys)
        plan = order.plan(archive)
        loader = Loader(plan, chosen, archive.schema, writer, pool, stop, report, over)
        return loader.load(parts, at_once)


@dataclass(frozen=True, slots=True)
class LoadJob:
    """The slices that a worker process loads. It reports each batch (`BatchWritten`) and, at the
    end, each slice (`SliceLoaded`)."""

    order: RestoreOrder
    parts: tuple[NameSlice, ...]
    budget: WriteBudget

    def work(
        self,
        dynamodb: DynamoDB,
        archive: Archive,
        stop: Event,
        report: Callable[[BatchWritten | SliceLoaded], None],
    ) -> None:
        """Loads the slices."""
        done = load_slices(
            self.order, self.parts, dynamodb, archive, stop, report, budget=self.budget
        )
        for each in done:
            report(each)


def load_with(
    workers: Workers,
    order: RestoreOrder,
    parts: Sequence[NameSlice],
    rate: float | None,
    report: Callable[[BatchWritten], None],
) -> list[SliceLoaded]:
    """Does what `load_slices` does, in several processes that write no more than `rate` items a
    second together."""
    done: list[SliceLoaded] = []

    def heard(found: BatchWritten | SliceLoaded) -> None:
        if isinstance(found, SliceLoaded):
            done.append(found)
        else:
            report(found)

    budget = WriteBudget(rate)
    workers.run([LoadJob(order, hand, budget) for hand in deal(parts, workers.number)], heard)
    return sorted(done, key=lambda each: each.slice.range)
