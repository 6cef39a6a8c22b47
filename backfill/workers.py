"""More processes where there are more cores: one Python process is bound by its interpreter lock.

Workers live and die with their parent, and any of them may be killed at any request: what is not checkpointed is read again.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from backfill.capacity import Capacity
from backfill.credentials import Lent
from backfill.segment import Counts
from backfill.share import Share
from backfill.worker import Clients, Told, work
from stream_backup.errors import IncompleteError, StreamBackupError

MOST = 8
"""Workers unless told otherwise, on however many cores: each writes by 32 threads, and S3 takes 3,500 PUTs a second of a prefix
before it slows them down (Amazon S3 User Guide, "Optimizing Amazon S3 performance")."""


SMALL = 100_000
"""Rows up to which one process is quickest: others take seconds to come up, in which one writes as many thousands of rows."""


def default_workers(rows: int) -> int:
    """One for each core this process may use, for a table that is worth it."""
    if rows <= SMALL:
        return 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST)


@dataclass(frozen=True, slots=True)
class Workers:
    """So many processes; `lend` gives what they ask for to sign their requests."""

    number: int
    clients: Clients
    lend: Callable[[], Lent]

    def scan(self, share: Share, capacity: Capacity, progress: Callable[[Counts], None]) -> Counts:
        """As `Share.scan`, from the main thread. Raises what ended a worker, and leaves none behind."""
        spawn = get_context("spawn")  # a fork would take boto3's and obstore's connections and threads along
        resource_tracker.ensure_running()  # else the first worker starts it, which lets Ctrl-C in again
        started: dict[Pipe, BaseProcess] = {}
        try:
            for part in share.deal(self.number):
                ours, theirs = spawn.Pipe()
                process: BaseProcess = spawn.Process(target=work, args=(self.clients, part, capacity, theirs), daemon=True)
                with _undisturbed():
                    process.start()
                    started[ours] = process
                theirs.close()
            return self._gather(started, progress)
        finally:
            with _undisturbed():
                for process in started.values():
                    process.kill()
                    process.join()

    def _gather(self, started: dict[Pipe, BaseProcess], progress: Callable[[Counts], None]) -> Counts:
        whole, scanning = Counts(), dict(started)
        while scanning:
            for pipe in wait(list(scanning)):
                assert isinstance(pipe, Pipe)
                match _told(pipe, scanning[pipe]):
                    case Counts() as counts:
                        whole.add(counts)
                        progress(counts)
                    case StreamBackupError() as error:
                        raise error
                    case str():
                        lent = self.lend()
                        with suppress(BrokenPipeError):  # it died, which is what it says next
                            pipe.send(lent)
                    case None:
                        del scanning[pipe]
        return whole


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the block is over; and what is started in it never hears of one, which goes to all processes of a
    terminal: its parent sees to it."""
    heard: list[int] = []
    handlers = {
        each: signal.signal(each, lambda number, _: heard.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in handlers.items():
            signal.signal(each, handler)
    if heard:
        signal.raise_signal(heard[0])


def _told(pipe: Pipe, process: BaseProcess) -> Told:
    """The next a worker has to say; raises what its death means when it died."""
    try:
        told: Told = pipe.recv()
    except (EOFError, OSError):
        process.join()
        if process.exitcode == -signal.SIGTERM:
            raise KeyboardInterrupt from None  # whoever ends a whole group of processes means the command
        raise IncompleteError(
            f"A worker of the backfill died (exit code {process.exitcode}).",
            "Nothing is lost: run the same command again, and it goes on. Where memory is short, with fewer --workers.",
        ) from None
    return told
