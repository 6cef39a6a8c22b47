"""Executes a rebuild: every step of a plan into a table, all shards at once, shard by shard resumable."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event, Lock
from typing import TypeVar

from restore.plan import Rebuild, Selection, Step, Tally, steps
from restore.target import Target
from restore.writer import BATCH, BatchWriter, Failure
from stream_backup.key import KeySchema, key_hash, key_json

Found = TypeVar("Found")

Progress = Callable[[str, int], None]
"""Called with the name of the item reached and how many were written since the last call."""


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

    def load_shard(shard: str) -> list[Failure]:
        failures: list[Failure] = []
        unreadable = len(tally.unreadable)
        for batch in _batches(steps(plan, chosen.histories(shard), pool, tally)):
            if stop.is_set():
                return failures
            failures += writer.put(step.body for step in batch if step.body is not None)
            if names:
                names.add(step.name for step in batch)
            progress(batch[-1].name, len(batch))
        if not failures and not stop.is_set() and len(tally.unreadable) == unreadable and not names:
            target.shard_done(shard)
        return failures

    todo = [shard for shard in chosen.shards if shard not in target.done]
    failures = [failure for found in run_shards(load_shard, todo, stop) for failure in found]
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


def _batches(found: Iterable[Step]) -> Iterator[list[Step]]:
    batch: list[Step] = []
    for step in found:
        if step.action == "put":
            batch.append(step)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


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
