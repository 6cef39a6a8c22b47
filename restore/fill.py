"""Batches filled across slices: a slice seldom ends where a batch does, and a request of three
items costs what one of 25 costs.

The last items of one slice are written with the first of another, and batches end in any order. So
how far a slice is done is known only here: up to the first of its items that is not written yet.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from restore.plan import Step
from restore.writer import BATCH
from stream_backup.core.slice import NameSlice

Failures = Mapping[str, str]
"""A line for each item that could not be written, with its key and the reason, by its name."""


class Track:
    """How far one slice is done, whose items are read in order of name and written in any order.
    `failures` has the line of each item that could not be written. Not thread-safe."""

    def __init__(self, part: NameSlice) -> None:
        self._part = part
        self._read: deque[str] = deque()
        self._settled: dict[str, bool] = {}
        self._after = self._sure = part.after
        self._spoiled = self._ended = False
        self.written = 0
        self.failures: list[str] = []

    def read(self, name: str) -> None:
        """Adds the next item of the slice."""
        self._read.append(name)

    def settle(self, name: str, *, done: bool) -> None:
        """Says that nothing more will be tried with an item, and whether it is as it must be."""
        self._settled[name] = done
        while self._read and self._read[0] in self._settled:
            self._after = self._read.popleft()
            self._spoiled |= not self._settled.pop(self._after)
            if not self._spoiled:
                self._sure = self._after

    def wrote(self, name: str, failure: str | None) -> None:
        """Says that an item was written, or why it could not be."""
        if failure is None:
            self.written += 1
        else:
            self.failures.append(failure)
        self.settle(name, done=failure is None)

    def end(self) -> None:
        """Says that no further item of the slice will come."""
        self._ended = True

    @property
    def slice(self) -> NameSlice:
        """The slice as it is to be continued: without the items that have failed."""
        if self._ended and not self._read:
            return self._part.finished()
        return self._part.reached(self._after) if self._after else self._part

    @property
    def sure(self) -> NameSlice:
        """The slice as it may be recorded: done up to the first item that has failed."""
        if not self._spoiled:
            return self.slice
        return self._part.reached(self._sure) if self._sure else self._part


class _Waiting(NamedTuple):
    step: Step
    track: Track


class Filler:
    """`write` writes a batch of steps and returns which of them failed, or None where that is
    unknown, because the work was stopped. `wrote` is called after each batch with the names that
    were written, and the slices that they belong to. Thread-safe."""

    def __init__(
        self,
        write: Callable[[Sequence[Step]], Failures | None],
        wrote: Callable[[Sequence[str], Sequence[NameSlice]], None],
    ) -> None:
        self._write = write
        self._wrote = wrote
        self._waiting: list[_Waiting] = []
        self._lock = Lock()

    def add(self, track: Track, step: Step) -> None:
        """Adds the next item of a slice that is to be written. Writes a batch when it fills one."""
        with self._lock:
            track.read(step.name)
            self._waiting.append(_Waiting(step, track))
            batch = self._take() if len(self._waiting) == BATCH else []
        self._send(batch)

    def skip(self, track: Track, name: str, *, done: bool) -> None:
        """Adds the next item of a slice that is not to be written: there is nothing to do, or it
        could not be read."""
        with self._lock:
            track.read(name)
            track.settle(name, done=done)

    def end(self, track: Track) -> None:
        """Says that no further item of a slice will come, and that none was left out."""
        with self._lock:
            track.end()
            part = track.sure
        if part.done:
            self._wrote((), (part,))

    def flush(self) -> None:
        """Writes what is left, once every slice has been read."""
        with self._lock:
            batch = self._take()
        self._send(batch)

    def _take(self) -> list[_Waiting]:
        batch, self._waiting = self._waiting, []
        return batch

    def _send(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        failed = self._write([each.step for each in batch])
        if failed is None:
            return
        with self._lock:
            for step, track in batch:
                track.wrote(step.name, failed.get(step.name))
            parts = [
                track.sure for track in {id(each.track): each.track for each in batch}.values()
            ]
        names = [step.name for step, _ in batch]
        self._wrote([name for name in names if name not in failed], parts)
