"""Processes that pause wherever others can run in between, so that a test can interleave them in
any way.

Each process runs in its own thread, but only one of them moves at a time, from one pause to the
next. The same steps therefore always give the same history.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from random import Random
from threading import Event, Semaphore, Thread, current_thread
from typing import Any, TypeVar

Found = TypeVar("Found")

ENDLESS = 3000
"""The number of steps after which work counts as waiting forever."""


class Killed(BaseException):
    pass


class Process:
    """`done` is called with the result of the work when it ends. `error` is the error that it
    failed with."""

    def __init__(
        self, kind: str, work: Callable[[], Found], done: Callable[[Found], None] = lambda _: None
    ) -> None:
        self.kind = kind
        self.alive = True
        self.error: BaseException | None = None
        self._killed = False
        self._go, self._paused = Semaphore(0), Semaphore(0)
        self._thread = _Paused(self, work, done)
        self._thread.start()

    def step(self, steps: int = 1) -> None:
        while steps and self.alive:
            self._go.release()
            self._paused.acquire()
            steps -= 1

    def finish(self) -> None:
        """Runs the work to its end. Work that waits for something that never happens is killed."""
        self.step(ENDLESS)
        if self.alive:
            self.kill()

    def kill(self) -> None:
        self._killed = True
        self.step(ENDLESS)
        assert not self.alive

    def pause(self) -> None:
        if not self._killed:
            self._paused.release()
            self._go.acquire()
        if self._killed:
            raise Killed

    def run(self, work: Callable[[], Found], done: Callable[[Found], None]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                done(work())
        except (Exception, Killed) as error:  # noqa: BLE001 - the test checks it
            self.error = error
        finally:
            self.alive = False
            self._paused.release()


class Pausing(Thread):
    """A thread of a process that others can interrupt at every request."""

    def pause(self) -> None:
        """Lets others run."""
        raise NotImplementedError


class _Paused(Pausing):
    def __init__(
        self, process: Process, work: Callable[[], Any], done: Callable[[Any], None]
    ) -> None:
        super().__init__(daemon=True)
        self.process = process
        self._work = work, done

    def pause(self) -> None:
        self.process.pause()

    def run(self) -> None:
        self.process.run(*self._work)


def paused() -> bool:
    """Returns whether the current thread is a process."""
    return isinstance(current_thread(), Pausing)


def pause() -> None:
    """Lets other processes run, if the current thread is a process."""
    thread = current_thread()
    if isinstance(thread, Pausing):
        thread.pause()


class Inline(Executor):
    """Runs submitted work immediately, and the parts of a map in random order."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def submit(self, work: Callable[..., Found], /, *args: Any, **kwargs: Any) -> Future[Found]:
        future: Future[Found] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future

    def map(self, fn: Callable[..., Found], *iterables: Iterable[Any], **_: Any) -> Iterator[Found]:
        each = list(zip(*iterables, strict=True))
        order = list(range(len(each)))
        self._random.shuffle(order)
        found = {index: fn(*each[index]) for index in order}
        return iter([found[index] for index in range(len(each))])


class Stop(Event):
    """A stop event on which waiting does not block."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()
