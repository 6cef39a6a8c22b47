"""A scheduler that decides from a seed which task acts next at every request, and what time it is.

Each task runs in a thread of its own, but only the one that holds the baton moves. At every request
it passes the baton on: the request takes some time, and of all tasks whose time has come, the
scheduler draws one. When no task is ready, the clock jumps to the first that will be. Nothing else
decides anything: the same seed always gives the same history, which `trace` is the digest of.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from random import Random
from threading import Semaphore, current_thread
from typing import Any, Protocol, TypeVar

from tests.process import Killed, Pausing

Found = TypeVar("Found")

ENDLESS = 60_000
"""The number of steps after which a history counts as one that never ends."""


class Clock(Protocol):
    """The time that a scheduler moves."""

    now: float

    def tick(self, seconds: float) -> None:
        """Lets time pass."""


class Party:
    """A process of one or more tasks. It dies at request number `fuse`, with all of its tasks; None
    for never. `error` is what its first task ended with."""

    def __init__(self, name: str, fuse: int | None = None) -> None:
        self.name = name
        self.fuse = fuse
        self.killed = False
        self.alive = True
        self.error: BaseException | None = None

    def request(self) -> None:
        """Counts a request, and dies at the last one."""
        if self.fuse is not None:
            self.fuse -= 1
            self.killed |= self.fuse < 0


class Task(Pausing):
    """A thread of a party. It is ready from the time `wake` on, as soon as `ready` holds."""

    def __init__(self, scheduler: "Scheduler", party: Party, name: str, work: Callable[[], Any]):
        super().__init__(daemon=True, name=name)
        self.party = party
        self.wake = scheduler.clock.now
        self.ready: Callable[[], bool] | None = None
        self.go = Semaphore(0)
        self._scheduler = scheduler
        self._work = work

    def pause(self) -> None:
        self._scheduler.request(self)

    def run(self) -> None:
        self.go.acquire()
        try:
            if not self.party.killed:
                self._work()
        finally:
            self._scheduler.end(self)


class Scheduler:
    """`latency` draws how many seconds a request takes. `failure` is what a party raised that none
    may raise: every other party is then killed, and `run` raises it."""

    def __init__(self, random: Random, clock: Clock, latency: Callable[[Random], float]) -> None:
        self.random = random
        self.clock = clock
        self.latency = latency
        self.steps = 0
        self.failure: BaseException | None = None
        self._trace = hashlib.sha256()
        self._tasks: list[Task] = []
        self._alone = 0
        self._started = 0
        self._over = Semaphore(0)

    @property
    def trace(self) -> str:
        """The digest of everything that was noted and of every step."""
        return self._trace.hexdigest()

    def note(self, *what: object) -> None:
        """Adds something to the trace."""
        self._trace.update(repr(what).encode())

    # Called by whoever starts it

    def run(self) -> None:
        """Runs every task to its end. Raises `failure`."""
        if self._tasks:
            self._pass_on()
            self._over.acquire()
        if self.failure:
            raise self.failure

    def start(self, party: Party, work: Callable[[], Any], after: float = 0.0) -> Task:
        """Starts a task of the party, which begins so many seconds from now."""
        self._started += 1
        task = Task(self, party, f"{party.name} {self._started}", work)
        task.wake += after
        self._tasks.append(task)
        task.start()
        return task

    def launch(
        self, name: str, work: Callable[[], Any], fuse: int | None = None, after: float = 0.0
    ) -> Party:
        """Starts a party. An error of its work is its `error`, for the test to look at."""
        party = Party(name, fuse)

        def whole() -> None:
            try:
                work()
            except (Exception, Killed) as error:  # noqa: BLE001 - whoever launched it looks at it
                party.error = error
            finally:
                party.alive = False

        self.start(party, whole, after)
        return party

    def fail(self, error: BaseException) -> None:
        """Ends everything, because of this error."""
        self.failure = self.failure or error

    # Called by tasks

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else acts, and no time passes."""
        self._alone += 1
        try:
            yield
        finally:
            self._alone -= 1

    def request(self, task: Task) -> None:
        """Others may act, while a request of this task is under way."""
        if self._alone:
            return
        task.party.request()
        self._wait(task, self.latency(self.random), None)

    def sleep(self, seconds: float) -> None:
        """Others act for so many seconds."""
        self._wait(self.current(), seconds, None)

    def until(self, ready: Callable[[], bool]) -> None:
        """Others act until this is true."""
        self._wait(self.current(), 0.0, ready)

    def current(self) -> Task:
        """The task that holds the baton."""
        task = current_thread()
        assert isinstance(task, Task)
        return task

    def _wait(self, task: Task, seconds: float, ready: Callable[[], bool] | None) -> None:
        self._die(task)
        task.wake, task.ready = self.clock.now + seconds, ready
        self._pass_on()
        task.go.acquire()
        self._die(task)

    def _die(self, task: Task) -> None:
        if task.party.killed or self.failure:
            raise Killed

    def end(self, task: Task) -> None:
        """The task has ended: it passes the baton on for the last time."""
        self._tasks.remove(task)
        self._pass_on()

    def _pass_on(self) -> None:
        """Gives the baton to the next task, or back to `run` when there is none."""
        task = self._next()
        (task.go if task else self._over).release()

    def _next(self) -> Task | None:
        self.steps += 1
        if self.steps > ENDLESS:
            self.fail(AssertionError(f"It never ends: {[task.name for task in self._tasks]}"))
        if not self._tasks:
            return None
        waiting = [task for task in self._tasks if self._may_go_on(task)]
        if not waiting:
            names = [task.name for task in self._tasks]
            self.fail(AssertionError(f"Everybody waits for another: {names}"))
            waiting = self._tasks
        now = self.clock.now
        ready = [task for task in waiting if task.wake <= now or self._dies(task)]
        if not ready:
            first = min(task.wake for task in waiting)
            self.clock.tick(first - now)
            self.clock.now = max(self.clock.now, first)  # a sum may be rounded down
            ready = [task for task in waiting if task.wake <= self.clock.now]
        task = ready[0] if len(ready) == 1 else self.random.choice(ready)
        self.note(task.name, self.clock.now)
        return task

    def _dies(self, task: Task) -> bool:
        return task.party.killed or self.failure is not None

    def _may_go_on(self, task: Task) -> bool:
        return task.ready is None or self._dies(task) or task.ready()


class Tasks(Executor):
    """A pool whose threads are tasks of the party that uses it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._futures: list[Future[Any]] = []

    def submit(self, work: Callable[..., Found], /, *args: Any, **kwargs: Any) -> Future[Found]:
        future: Future[Found] = _Result(self._scheduler)
        self._futures.append(future)

        def whole() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - as an executor does
                    future.set_exception(error)

        self._scheduler.start(self._scheduler.current().party, whole)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            for future in self._futures:
                future.cancel()
        if wait:
            self._scheduler.until(lambda: all(future.done() for future in self._futures))


class _Result(Future[Found]):
    """Waits under the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def result(self, timeout: float | None = None) -> Found:
        if not self.done():
            self._scheduler.until(self.done)
        return super().result(timeout)
