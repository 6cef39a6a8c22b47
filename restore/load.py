"""Executes a rebuild: every step of a plan into a table, all shards at once, shard by shard resumable."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, Lock
from typing import TypeVar

from restore.fill import Filler
from restore.plan import Rebuild, Selection, Step, Tally, steps
from restore.target import Target
from restore.writer import BatchWriter, Failure
from stream_backup.key import KeySchema, key_hash, key_json

Found = TypeVar("Found")

Progress = Callable[[Sequence[str]], None]
"""Called with the names of the items just written."""


def load(
    plan: Rebuild,
    chosen: Selection,
    target: Target,
    writer: BatchWriter,
    pool: Executor,
    tally: Tally,
    progress: Progress,
    stop: Event,
) -> list[Failure]:
    """Writes what the plan puts; what could not be written. Shards that failed in part are not marked as done."""
    names = _Names() if target.had_rows else None

    def write(batch: Sequence[Step]) -> list[Failure]:
        failures = writer.put(step.body for step in batch if step.body is not None)
        if names:
            names.add(step.name for step in batch)
        progress([step.name for step in batch])
        return failures

    def through(shard: str) -> None:
        if not stop.is_set() and not names:
            target.shard_done(shard)

    filler = Filler(write, through)

    def read(shard: str) -> None:
        unreadable = len(tally.unreadable)
        for step in steps(plan, chosen.histories(shard), pool, tally):
            if stop.is_set():
                return
            if step.action == "put":
                filler.add(step)
        if len(tally.unreadable) == unreadable:
            filler.end(shard)

    run_shards(read, [shard for shard in chosen.shards if shard not in target.done], stop)
    filler.flush()
    failures = filler.failures
    if names and not failures and not tally.unreadable and not stop.is_set():
        failures = _delete_others(chosen, target, writer, names)
    return failures


def run_shards(work: Callable[[str], Found], shards: Sequence[str], stop: Event) -> list[Found]:
    """`work` on every shard at once. When it fails or is interrupted `stop` is set, and what is under way ends soon."""
    with ThreadPoolExecutor(max(1, len(shards)), thread_name_prefix="shard") as threads:
        futures = [threads.submit(work, shard) for shard in shards]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


def _delete_others(chosen: Selection, target: Target, writer: BatchWriter, names: "_Names") -> list[Failure]:
    """Deletes the rows of a table that was taken over which are not part of the moment; of chosen items only those."""
    if chosen.keys:
        return writer.delete(key_json(key).encode() for key in chosen.keys if key_hash(key) not in names)
    schema = KeySchema.of(target.description["Table"])
    placeholders = {f"#{index}": name for index, (name, _) in enumerate(schema.attributes)}
    request = {
        "TableName": target.name,
        "ConsistentRead": True,
        "ProjectionExpression": ", ".join(placeholders),
        "ExpressionAttributeNames": placeholders,
    }
    failures: list[Failure] = []
    while True:
        page = target.dynamodb.call("scan", request).data
        others = [key for key in page["Items"] if key_hash(key) not in names]
        failures += writer.delete(key_json(key).encode() for key in others)
        if "LastEvaluatedKey" not in page:
            return failures
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class _Names:
    """Names of items on disk, so that a table of any size can be compared."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._lock = Lock()

    def add(self, names: Iterable[str]) -> None:
        with self._lock:
            self._database.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names))

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return self._database.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone() is not None
