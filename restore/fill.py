"""Batches filled across shards: a shard seldom ends where a batch does, and a request of three items costs what one of 25 costs.

What is handed over last of one shard is written with the first of another; so a shard is through when every item of it is
written, which may be after another thread has read its last.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

from restore.plan import Step
from restore.writer import BATCH, Failure


class Filler:
    """`write` writes a batch of steps, `through` is told of each shard that has nothing left to write. Thread-safe."""

    def __init__(self, write: Callable[[Sequence[Step]], list[Failure]], through: Callable[[str], None]) -> None:
        self.failures: list[Failure] = []
        self._write = write
        self._through = through
        self._waiting: list[Step] = []
        self._open: Counter[str] = Counter()
        self._read: set[str] = set()
        self._lock = Lock()

    def add(self, step: Step) -> None:
        """Writes a batch when this step fills one."""
        with self._lock:
            self._waiting.append(step)
            self._open[step.name[0]] += 1
            batch = self._take() if len(self._waiting) == BATCH else []
        self._send(batch)

    def end(self, shard: str) -> None:
        """No further step of `shard` will come, and none was left out."""
        with self._lock:
            self._read.add(shard)
            over = not self._open[shard]
        if over:
            self._through(shard)

    def flush(self) -> None:
        """Writes what is left, once every shard has been read."""
        with self._lock:
            batch = self._take()
        self._send(batch)

    def _take(self) -> list[Step]:
        batch, self._waiting = self._waiting, []
        return batch

    def _send(self, batch: list[Step]) -> None:
        if not batch:
            return
        failures = self._write(batch)
        shards = Counter(step.name[0] for step in batch)
        with self._lock:
            self.failures += failures
            if failures:
                return  # whose they are is not looked up: none of these shards is through, ever
            self._open -= shards
            over = [shard for shard in shards if shard in self._read and not self._open[shard]]
        for shard in over:
            self._through(shard)
