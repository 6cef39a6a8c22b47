"""Batches filled across slices: a slice seldom ends where a batch does, and a request of three
items costs what one of 25 costs.

The last items of one slice are written with the first of another. A slice is therefore complete
when every item of it is written, which may be after another thread has read its last.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

from restore.plan import Step
from restore.writer import BATCH, Failure


class Filler:
    """`write` writes a batch of steps; `complete` is called with each slice that has nothing left
    to write. Thread-safe."""

    def __init__(
        self, write: Callable[[Sequence[Step]], list[Failure]], complete: Callable[[str], None]
    ) -> None:
        self.failures: list[Failure] = []
        self._write = write
        self._complete = complete
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

    def end(self, part: str) -> None:
        """Declares that no further step of `part` will come, and that none was left out."""
        with self._lock:
            self._read.add(part)
            over = not self._open[part]
        if over:
            self._complete(part)

    def flush(self) -> None:
        """Writes what is left, once every slice has been read."""
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
        parts = Counter(step.name[0] for step in batch)
        with self._lock:
            self.failures += failures
            if failures:
                # Which slice they belong to is not determined: none of these counts as complete.
                return
            self._open -= parts
            over = [part for part in parts if part in self._read and not self._open[part]]
        for part in over:
            self._complete(part)
