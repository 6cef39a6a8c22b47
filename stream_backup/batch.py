"""One batch of stream records → versions in the archive: what the function does between event and answer.

Each item's changes are written one after another, items in parallel. Whatever happens, the answer is the first record
not written for certain: the stream is read again from there, and writing a version twice changes no answer.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from stream_backup.archive import Archive
from stream_backup.change import Change, table_of
from stream_backup.errors import RecordError

WRITERS = 32
"""Puts under way at once."""


@dataclass(slots=True)
class Outcome:
    """`first_failed` is the position in the batch to read again from, None when everything is written."""

    changes: int = 0
    tombstones: int = 0
    bytes: int = 0
    newest: int = 0
    first_failed: int | None = None
    errors: list[Exception] = field(default_factory=list)

    def fail(self, position: int, error: Exception | None = None) -> None:
        if self.first_failed is None or position < self.first_failed:
            self.first_failed = position
        if error:
            self.errors.append(error)


def write_batch(
    records: Sequence[dict[str, Any]],
    archive_of: Callable[[str], Archive],
    pool: Executor,
    out_of_time: Callable[[], bool],
) -> Outcome:
    """Writes every change of `records`, in the order of the shard, by `pool` into the archive of its table. Stops at a
    record it cannot parse, at the first put that fails, and when `out_of_time`; never raises for any of them."""
    whole = Outcome()
    chains: dict[tuple[str, str], list[tuple[int, Change]]] = {}
    for position, record in enumerate(records):
        try:
            table, change = table_of(record), Change.streamed(record)
        except RecordError as error:
            whole.fail(position, error)  # what follows it may be of the same item: nothing after it is written
            break
        chains.setdefault((table, change.name), []).append((position, change))
    stop = Event()

    def write(part: Iterable[tuple[str, list[tuple[int, Change]]]]) -> Outcome:
        done = Outcome()
        for table, chain in part:
            for position, change in chain:
                if stop.is_set() or out_of_time():
                    done.fail(position)
                    break
                try:
                    done.bytes += archive_of(table).put(change)
                except Exception as error:  # noqa: BLE001 - whatever it was, the stream must be read again from here
                    stop.set()
                    done.fail(position, error)
                    break
                done.changes += 1
                done.tombstones += change.body is None
                done.newest = max(done.newest, change.stamp.at)
        return done

    every = [(table, chain) for (table, _), chain in chains.items()]
    for done in pool.map(write, (every[index::WRITERS] for index in range(min(WRITERS, len(every))))):
        whole.changes += done.changes
        whole.tombstones += done.tombstones
        whole.bytes += done.bytes
        whole.newest = max(whole.newest, done.newest)
        whole.errors += done.errors
        if done.first_failed is not None:
            whole.fail(done.first_failed)
    return whole
