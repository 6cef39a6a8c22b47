"""One batch of stream records → versions in the archive: what the function does between event and answer.

Each item's changes are written one after another, items in parallel. Whatever happens, the answer is the first record
not written for certain: the stream is read again from there, and writing a version twice changes no answer.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Event
from typing import Any, NamedTuple

from stream_backup.archive import Archive, Object
from stream_backup.change import Change, table_of
from stream_backup.errors import RecordError
from stream_backup.store import ObjectStore

WRITERS = 64
"""Puts under way at once: S3 takes 10 to 30 ms to answer one, and a function reads one shard at a time."""


@dataclass(slots=True)
class Outcome:
    """`first_failed` is the position in the batch to read again from, None when everything is written."""

    changes: int = 0
    tombstones: int = 0
    bytes: int = 0
    newest: int = 0
    first_failed: int | None = None
    errors: list[Exception] = field(default_factory=list)

    def add(self, put: "_Put") -> None:
        self.changes += 1
        self.tombstones += put.object.metadata["kind"] == "remove"
        self.bytes += len(put.object.payload)
        self.newest = max(self.newest, put.at)

    def fail(self, position: int, error: Exception | None) -> None:
        if self.first_failed is None or position < self.first_failed:
            self.first_failed = position
        if error:
            self.errors.append(error)


class _Put(NamedTuple):
    """A change on its way: its position in the batch and where it goes. Spelled by one thread, so that those that put do
    nothing but put: Python in 32 threads costs several times what it costs in one."""

    position: int
    at: int
    store: ObjectStore
    object: Object


def write_batch(
    records: Sequence[dict[str, Any]],
    archive_of: Callable[[str], Archive],
    pool: Executor,
    out_of_time: Callable[[], bool],
) -> Outcome:
    """Writes every change of `records`, in the order of the shard, by `pool` into the archive of its table. Stops at a
    record it cannot parse, at the first put that fails, and when `out_of_time`; never raises for any of them."""
    whole = Outcome()
    chains: dict[str, list[_Put]] = {}
    for position, record in enumerate(records):
        try:
            archive, change = archive_of(table_of(record)), Change.streamed(record)
        except RecordError as error:
            whole.fail(position, error)  # what follows it may be of the same item: nothing after it is written
            break
        made = archive.object_of(change)
        chains.setdefault(made.path, []).append(_Put(position, change.stamp.at, archive.store, made))
    stop = Event()

    def write(part: Iterable[list[_Put]]) -> tuple[list[_Put], list[tuple[int, Exception | None]]]:
        done: list[_Put] = []
        failed: list[tuple[int, Exception | None]] = []
        for chain in part:
            for put in chain:
                if stop.is_set() or out_of_time():
                    failed.append((put.position, None))
                    break
                try:
                    put.store.put(*put.object)
                except Exception as error:  # noqa: BLE001 - whatever it was, the stream must be read again from here
                    stop.set()
                    failed.append((put.position, error))
                    break
                done.append(put)
        return done, failed

    every = list(chains.values())
    for done, failed in pool.map(write, (every[index::WRITERS] for index in range(min(WRITERS, len(every))))):
        for put in done:
            whole.add(put)
        for position, reason in failed:
            whole.fail(position, reason)
    return whole
