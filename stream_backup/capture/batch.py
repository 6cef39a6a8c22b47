"""Writes one batch of stream records to the archive: what the function does between event and
answer.

Each item's changes are written one after another, and items in parallel. Whatever happens, the
answer names the first record that is not certain to be written. The stream is read again from
there, and writing a version twice changes no restore.

Where not every change is kept, consecutive changes of an item in one second are merged
(`core/second`). A merged change that was not written counts from the first of them on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from threading import Event
from typing import Any, NamedTuple

from stream_backup.archive.announce import Announcer
from stream_backup.archive.layout import Archive, Object
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.archive.store import ObjectStore
from stream_backup.core.change import Change, table_of
from stream_backup.core.second import continues, merged
from stream_backup.core.time_rule import FOREVER
from stream_backup.errors import RecordError, UnavailableError, UsageError
from stream_backup.settings import KEEP_EVERY_CHANGE

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
"""A function of an event and its context that returns a partial-batch response, as Lambda calls
it."""

RESERVE_MS = 10_000
"""Milliseconds before the deadline from which no further put is started; half the remaining time
where that is less."""


ANNOUNCES = "announces"
"""The member of the answer to an event without records that says that late changes are
announced."""


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch. `changes` counts those that are in the archive, `versions` the
    objects written for them: fewer where changes were merged. `first_failed` is the position in the
    batch to read again from, None when everything is written; `newest` the latest second of a
    written change."""

    changes: int = 0
    versions: int = 0
    tombstones: int = 0
    bytes: int = 0
    newest: int = 0
    first_failed: int | None = None
    errors: list[Exception] = field(default_factory=list)

    def add(self, put: "_Put") -> None:
        """Counts an object that was written."""
        self.changes += put.changes
        self.versions += 1
        self.tombstones += put.object.metadata["kind"] == "remove"
        self.bytes += len(put.object.payload)
        self.newest = max(self.newest, put.at)

    def fail(self, position: int, error: Exception | None) -> None:
        """Notes a record that was not written; `error` is None when it was not tried."""
        if self.first_failed is None or position < self.first_failed:
            self.first_failed = position
        if error:
            self.errors.append(error)


Report = Callable[[dict[str, Any], BatchOutcome], None]
"""Called with the first record of a batch and what became of the batch."""


class _Put(NamedTuple):
    """A change to write: its position in the batch, its second, who announces it, its object, and
    how many changes it stands for; the position is that of the first of them. One thread prepares
    all of them, so that the threads that put do nothing else: Python code in 64 threads costs
    several times what it costs in one."""

    position: int
    at: int
    announcer: Announcer
    store: ObjectStore
    object: Object
    changes: int = 1


def write_batch(
    records: Sequence[dict[str, Any]],
    archive_of: Callable[[str], Archive],
    pool: Executor,
    out_of_time: Callable[[], bool],
    *,
    keep_every_change: bool = True,
) -> BatchOutcome:
    """Writes every change of `records`, in the order of the shard, to the archive of its table, by
    the threads of `pool`. Stops at a record that cannot be parsed, at the first put that fails, and
    when `out_of_time`; raises for none of them, but UnavailableError where puts are waited for.
    Unless `keep_every_change`, one version is written for the changes of an item in one second."""
    whole = BatchOutcome()
    chains: dict[str, list[_Put]] = {}
    seconds: dict[str, list[Change]] = {}  # of each item, those that its last put stands for
    announcers, oldest = set[Announcer](), FOREVER
    for position, record in enumerate(records):
        try:
            archive, change = archive_of(table_of(record)), Change.streamed(record)
        except RecordError as error:
            # What follows may be of the same item, so nothing after this record is written.
            whole.fail(position, error)
            break
        made, at = archive.object_of(change), change.stamp.at
        put = _Put(position, at, archive.announcer, archive.store, made)
        announcers.add(archive.announcer)
        if at < oldest:
            oldest = at
        chain = chains.setdefault(made.path, [])
        if keep_every_change:
            chain.append(put)
            continue
        second = seconds.setdefault(made.path, [])
        if second and continues(second, change):
            second.append(change)
            whole_second = archive.object_of(merged(second))
            chain[-1] = chain[-1]._replace(object=whole_second, changes=len(second))
        else:
            second[:] = [change]
            chain.append(put)
    try:
        for announcer in announcers:
            announcer.prepare(oldest)  # once here, and not by every thread
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the batch is read again
        whole.fail(0, error)
        return whole
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
                    put.announcer.put(put.at, put.store.put, *put.object)
                except Exception as error:
                    if isinstance(error, UnavailableError):
                        raise
                    stop.set()
                    failed.append((put.position, error))
                    break
                done.append(put)
        return done, failed

    every = list(chains.values())
    parts = (every[index::CONCURRENCY] for index in range(min(CONCURRENCY, len(every))))
    for done, failed in pool.map(write, parts):
        for put in done:
            whole.add(put)
        for position, reason in failed:
            whole.fail(position, reason)
    return whole


def make_handler(
    archive_of: Callable[[str], Archive],
    report: Report = lambda _record, _outcome: None,
    *,
    keep_every_change: bool = True,
) -> Handler:
    """Returns a handler that writes to `archive_of(table name)`. `report` receives the first record
    of each batch and what became of the batch. The answer to an event without records says what
    this release can do: `enable` asks."""
    kept = cache(archive_of)  # an archive knows what it announced
    pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="put")

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        records = event["Records"]
        if not records:
            return {"batchItemFailures": [], ANNOUNCES: True}
        outcome = write_batch(
            records, kept, pool, _deadline(context), keep_every_change=keep_every_change
        )
        report(records[0], outcome)
        if outcome.first_failed is None:
            return {"batchItemFailures": []}
        # A record without a sequence number gives an empty identifier, which fails the whole batch.
        sequence = records[outcome.first_failed].get("dynamodb", {}).get("SequenceNumber", "")
        return {"batchItemFailures": [{"itemIdentifier": sequence}]}

    return handle


def keeps_every_change(environment: Mapping[str, str]) -> bool:
    """Returns whether the environment says that every change is written. Raises UsageError for a
    value that is neither `true` nor `false`: what was not written cannot be brought back."""
    value = environment.get(KEEP_EVERY_CHANGE, "true")
    if value not in ("true", "false"):
        raise UsageError(
            f"{KEEP_EVERY_CHANGE} is {value!r}, which is neither true nor false.",
            "Unset it to keep every change, or set it to false to keep one per item and second.",
        )
    return value == "true"


def _deadline(context: Any) -> Callable[[], bool]:
    if not hasattr(context, "get_remaining_time_in_millis"):
        return lambda: False
    reserve = min(RESERVE_MS, context.get_remaining_time_in_millis() / 2)
    return lambda: bool(context.get_remaining_time_in_millis() < reserve)
