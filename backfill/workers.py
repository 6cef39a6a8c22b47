"""More processes where there are more cores: one Python process is bound by its interpreter lock.

Each worker opens its own clients and scans its share of the segments; the parent is told the counts of each page. Workers live
and die with their parent, and either may be killed at any request: what is not checkpointed is read again.
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from threading import Event, Lock, Thread

from backfill.capacity import Capacity
from backfill.segment import Counts
from backfill.share import Share
from stream_backup.archive import Archive
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import IncompleteError, StreamBackupError
from stream_backup.translate import translate

MOST = 8
"""Workers unless told otherwise, on however many cores: each writes by 32 threads, and S3 takes 3,500 PUTs a second of a prefix
before it slows them down (Amazon S3 User Guide, "Optimizing Amazon S3 performance")."""

Clients = Callable[[], tuple[DynamoDB, Archive]]
"""Opens a process's own; handed to another process, so it holds no client yet."""

Told = Counts | StreamBackupError | None
"""The counts of a page, the error that ended a worker, or None when its share is scanned."""


def default_workers() -> int:
    """One for each core this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


@dataclass(frozen=True, slots=True)
class Workers:
    number: int
    clients: Clients

    def scan(self, share: Share, capacity: Capacity, progress: Callable[[Counts], None]) -> Counts:
        """As `Share.scan`, by so many processes. Raises what ended a worker, and leaves none behind."""
        spawn = get_context("spawn")  # a fork would take boto3's and obstore's connections and threads along
        resource_tracker.ensure_running()  # else the first worker starts it, and Python 3.11 then lets Ctrl-C in again
        started: dict[Pipe, BaseProcess] = {}
        try:
            for part in share.deal(self.number):
                ours, theirs = spawn.Pipe()
                process: BaseProcess = spawn.Process(target=_work, args=(self.clients, part, capacity, theirs), daemon=True)
                with _deaf():
                    process.start()
                    started[ours] = process
                theirs.close()
            return _gather(started, progress)
        finally:
            for process in started.values():
                process.kill()
                process.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started in here never hears of Ctrl-C, which goes to all processes of a terminal: its parent sees to it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _gather(started: dict[Pipe, BaseProcess], progress: Callable[[Counts], None]) -> Counts:
    whole, scanning = Counts(), dict(started)
    while scanning:
        for pipe in wait(list(scanning)):
            assert isinstance(pipe, Pipe)
            try:
                told: Told = pipe.recv()
            except (EOFError, ConnectionError):
                raise _death(scanning[pipe]) from None
            match told:
                case Counts():
                    whole.add(told)
                    progress(told)
                case None:
                    del scanning[pipe]
                case _:
                    raise told
    return whole


def _death(process: BaseProcess) -> BaseException:
    process.join()
    if process.exitcode == -signal.SIGTERM:
        return KeyboardInterrupt()  # whoever ends a whole group of processes means the command
    return IncompleteError(
        f"A worker of the backfill died (exit code {process.exitcode}).",
        "Nothing is lost: run the same command again, and it goes on. Where memory is short, with fewer --workers.",
    )


def _work(clients: Clients, share: Share, capacity: Capacity, parent: Pipe) -> None:
    """What a worker does."""
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    lock = Lock()

    def tell(told: Told) -> None:
        with lock:
            parent.send(told)

    try:
        share.scan(*clients(), capacity, Event(), tell)
        tell(None)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        unforeseen = StreamBackupError(
            f"Unexpected: {type(error).__name__}: {error}", "--debug shows where; please report it."
        )
        known = translate(error) or unforeseen
        known.add_note(traceback.format_exc())
        tell(known)


def _end_with(parent: Pipe) -> None:
    """Ends this process when its parent is gone, however that ended."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
