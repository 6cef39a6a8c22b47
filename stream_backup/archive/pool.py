"""The threads that make the requests of one process: as many as help, which is measured
(`core/in_flight.py`).

A thread for each request is cheaper here than one event loop: obstore's asynchronous calls take
about twice the CPU time of its blocking ones (`docs/decisions/0027-requests-in-flight.md`).
"""

import gc
import resource
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from threading import Lock, local
from typing import Any, NamedTuple, TypeVar

from stream_backup.core.in_flight import MOST, InFlight

Found = TypeVar("Found")

_FILES = 128
"""Open files that are left to everything else."""

COLLECTED = 200_000
"""Objects that were made and not freed, after which Python looks for unreachable cycles of them. It
looks after 700 otherwise, through a page of a scan, which is 30,000 objects, again and again: that
took a fifth of a backfill's CPU time. A request to DynamoDB leaves 9 objects in cycles, of 100
bytes on average, so this takes 20 MB."""

_here = local()
"""`pool` is the pool whose work this thread does."""


def most_in_flight() -> int:
    """Returns how many requests may be under way with the files that this process may open: each
    thread has a connection to S3 and may have one to DynamoDB."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(1, min(MOST, (files - _FILES) // 2))


def slow_down() -> None:
    """Tells the pool whose work this thread does, if any, that AWS is busy or out of reach."""
    pool: RequestPool | None = getattr(_here, "pool", None)
    if pool:
        pool.slow_down()


def collect_seldom() -> None:
    """Makes this process look for unreachable cycles only after COLLECTED objects."""
    gc.set_threshold(COLLECTED, *gc.get_threshold()[1:])


class _Piece(NamedTuple):
    """Work that waits for a thread, and the future of its result."""

    future: Future[Any]
    work: Callable[[], Any]

    def do(self) -> bool:
        """Does the work. Returns whether it was begun, and not cancelled before."""
        if not self.future.set_running_or_notify_cancel():
            return False
        try:
            found = self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is used
            self.future.set_exception(error)
        else:
            self.future.set_result(found)
        return True


class RequestPool(Executor):
    """Runs what is submitted in threads, of which as many are busy as `in_flight` says. A thread is
    started only when there is work for it. Work begins in the order in which it was submitted. Each
    piece of it should be of the same kind and size: a few requests, one after another.

    The process then looks for garbage only after COLLECTED objects, also when the pool is closed.
    """

    def __init__(self, in_flight: InFlight | None = None) -> None:
        self._in_flight = in_flight or InFlight(most_in_flight())
        self._threads = ThreadPoolExecutor(self._in_flight.most, thread_name_prefix="request")
        self._waiting: deque[_Piece] = deque()
        self._busy = 0
        self._closed = False
        self._lock = Lock()
        collect_seldom()

    def submit(self, work: Callable[..., Found], /, *args: Any, **kwargs: Any) -> Future[Found]:
        """Runs `work(*args, **kwargs)` as soon as a thread may be busy with it."""
        future: Future[Found] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("The pool was shut down.")
            self._waiting.append(_Piece(future, partial(work, *args, **kwargs)))
            self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads once everything that was submitted is done. With `cancel_futures`, what
        was not begun is cancelled."""
        with self._lock:
            self._closed = True
            left = list(self._waiting) if cancel_futures else []
        for piece in left:
            piece.future.cancel()
        self._threads.shutdown(wait)

    def slow_down(self) -> None:
        """Halves the number of busy threads, because AWS is busy or out of reach."""
        with self._lock:
            self._in_flight.refused(time.monotonic())

    def _start(self) -> None:
        """Makes threads busy while there is work for them. The lock is held."""
        while self._waiting and self._busy < self._in_flight.number and not self._closed:
            self._busy += 1
            piece = self._waiting.popleft()
            try:
                self._threads.submit(self._run, piece, self._number())
            except RuntimeError:  # this machine allows no further thread
                if self._busy == 1:
                    raise
                # One of the other threads will stop being busy, and then begins with this piece.
                self._in_flight.bound(self._busy - 1)

    def _run(self, piece: _Piece | None, number: int) -> None:
        """Does one piece after another until none waits, or until too many threads are busy."""
        _here.pool = self
        while piece:
            began = time.monotonic()
            done = piece.do()
            piece, number = self._next(number if done else 0, began)
        _here.pool = None

    def _next(self, number: int, began: float) -> tuple[_Piece | None, int]:
        """Returns the next piece for a thread, None when it is not to be busy any more, and what
        `_number` is then. `number` is what it was when the last piece began."""
        with self._lock:
            if number == self._in_flight.number:
                self._in_flight.finished(began, time.monotonic())
                self._start()
            if self._waiting and self._busy <= self._in_flight.number:
                return self._waiting.popleft(), self._number()
            self._busy -= 1
            return None, 0

    def _number(self) -> int:
        """Returns how many threads are busy if these are as many as allowed, else 0: only then does
        the duration of a piece say something about this number."""
        number = self._in_flight.number
        return number if self._busy == number else 0
