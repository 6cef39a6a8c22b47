"""Executes a rebuild: writes every step of a plan into a table, all slices at once, each slice
resumable."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from threading import Event, Lock

from restore.fill import Filler
from restore.plan import Planner, Step, Tally, steps
from restore.target import Target
from restore.writer import BatchWriter, Failure
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import run_slices
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.scan import TableScan
from stream_backup.core.key import KeySchema, key_hash, key_json

Written = Callable[[Sequence[str]], None]
"""Called with the names of the items that have just been written."""


def load(
    plan: Planner,
    chosen: Selection,
    target: Target,
    writer: BatchWriter,
    pool: Executor,
    tally: Tally,
    written: Written,
    stop: Event,
) -> list[Failure]:
    """Writes what the plan puts and returns what could not be written. A slice that failed in part
    is not recorded as complete."""
    if not target.had_rows:
        return _fill(plan, chosen, target, writer, pool, tally, written, stop, None)
    with closing(_Names()) as names:
        failures = _fill(plan, chosen, target, writer, pool, tally, written, stop, names)
        if failures or tally.unreadable or stop.is_set():
            return failures
        return _delete_others(chosen, target, writer, names, stop)


def _fill(
    plan: Planner,
    chosen: Selection,
    target: Target,
    writer: BatchWriter,
    pool: Executor,
    tally: Tally,
    written: Written,
    stop: Event,
    names: "_Names | None",
) -> list[Failure]:
    """Writes what the plan puts. `names` collects the items of a table that may contain others."""

    def write(batch: Sequence[Step]) -> list[Failure]:
        failures = writer.put(step.body for step in batch if step.body is not None)
        if names is not None:
            names.add(step.name for step in batch)
        written([step.name for step in batch])
        return failures

    def complete(part: str) -> None:
        if not stop.is_set() and names is None:
            target.slice_done(part)

    filler = Filler(write, complete)

    def read(part: str) -> None:
        unreadable = len(tally.unreadable)
        for step in steps(plan, chosen.histories(part), pool, tally):
            if stop.is_set():
                return
            if step.action == "put":
                filler.add(step)
        if len(tally.unreadable) == unreadable:
            filler.end(part)

    run_slices(read, [part for part in chosen.slices if part not in target.done], stop)
    filler.flush()
    return filler.failures


def _delete_others(
    chosen: Selection, target: Target, writer: BatchWriter, names: "_Names", stop: Event
) -> list[Failure]:
    """Deletes the rows of a replaced table that did not exist at the moment; of selected items only
    those."""
    if chosen.keys:
        return writer.delete(
            key_json(key).encode() for key in chosen.keys if key_hash(key) not in names
        )
    schema = KeySchema.of(target.description.table)
    names_of_key = tuple(name for name, _ in schema.attributes)
    scan = TableScan(target.dynamodb, target.name, names=names_of_key)
    failures: list[Failure] = []
    for page in scan.pages(ReadBudget(None), stop):
        others = [key for key in page.items if key_hash(key) not in names]
        failures += writer.delete(key_json(key).encode() for key in others)
    return failures


class _Names:
    """The names of items on disk, so that a table of any size can be compared. Thread-safe."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._lock = Lock()

    def add(self, names: Iterable[str]) -> None:
        with self._lock:
            self._database.executemany(
                "INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names)
            )

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return (
                self._database.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone()
                is not None
            )

    def close(self) -> None:
        with self._lock:
            self._database.close()
