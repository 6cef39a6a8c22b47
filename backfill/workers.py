"""Several processes for machines with several cores: one Python process is limited by its
interpreter lock.

Workers start and end with their parent, and any of them may be killed at any request: what is not
in a checkpoint is read again.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import ModuleType

from backfill.credentials import Lent
from backfill.segment import Counts
from backfill.share import Share
from backfill.worker import Clients, Message, Trouble, work
from stream_backup.aws.capacity import ReadBudget
from stream_backup.errors import IncompleteError, StreamBackupError

MOST = 8
"""Workers by default on any number of cores: each writes with 64 threads, and S3 takes 3,500 PUTs a
second of a prefix before it slows them down (Amazon S3 User Guide, "Optimizing Amazon S3
performance")."""

SMALL = 100_000
"""Rows up to which one process is fastest: others take seconds to start, in which one writes as
many thousands of rows."""


def default_workers(rows: int) -> int:
    """Returns the number of workers for a table of so many rows: one for each core that this
    process may use, and one for a small table."""
    if rows <= SMALL:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST)
    return min(os.cpu_count() or 1, MOST)


@dataclass(frozen=True, slots=True)
class Workers:
    """`number` processes, which open their clients with `clients`; `lend` returns the credentials
    that they ask for; `tell` receives the trouble with AWS that each of them waits for."""

    number: int
    clients: Clients
    lend: Callable[[], Lent]
    tell: Callable[[str], None] = lambda _: None

    def scan(self, share: Share, budget: ReadBudget, progress: Callable[[Counts], None]) -> Counts:
        """Does what `Share.scan` does; call it from the main thread. Raises what ended a worker,
        and leaves none behind."""
        # A fork would copy the connections and threads of boto3 and obstore.
        spawn = get_context("spawn")
        # Otherwise the first worker starts it, which unblocks Ctrl-C.
        resource_tracker.ensure_running()
        started: dict[Pipe, BaseProcess] = {}
        try:
            for part in share.deal(self.number):
                ours, theirs = spawn.Pipe()
                arguments = (self.clients, part, budget, theirs)
                process: BaseProcess = spawn.Process(target=work, args=arguments, daemon=True)
                with _undisturbed(), _without_main():
                    process.start()
                    started[ours] = process
                theirs.close()
            return self._gather(started, progress)
        finally:
            with _undisturbed():
                for process in started.values():
                    process.kill()
                    process.join()

    def _gather(
        self, started: dict[Pipe, BaseProcess], progress: Callable[[Counts], None]
    ) -> Counts:
        whole, scanning = Counts(), dict(started)
        while scanning:
            for pipe in wait(list(scanning)):
                assert isinstance(pipe, Pipe)
                match _receive(pipe, scanning[pipe]):
                    case Counts() as counts:
                        whole.add(counts)
                        progress(counts)
                    case StreamBackupError() as error:
                        raise error
                    case Trouble(text):
                        self.tell(text)
                    case str():
                        lent = self.lend()
                        with suppress(BrokenPipeError):  # the worker died, which is read next
                            pipe.send(lent)
                    case None:
                        del scanning[pipe]
        return whole


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delays Ctrl-C until the block is over. A process started in it never receives Ctrl-C, which
    goes to all processes of a terminal: its parent ends it."""
    heard: list[int] = []
    handlers = {
        each: signal.signal(each, lambda number, _: heard.append(number))
        for each in (signal.SIGINT, signal.SIGTERM)
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


@contextmanager
def _without_main() -> Iterator[None]:
    """Keeps a spawned process from importing the parent's main module: the command line, which a
    worker does not need."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _receive(pipe: Pipe, process: BaseProcess) -> Message:
    """Returns the next message of a worker; raises what its death means when it died."""
    try:
        message: Message = pipe.recv()
    except (EOFError, OSError):
        process.join()
        if process.exitcode == -signal.SIGTERM:
            raise KeyboardInterrupt from None  # the signal went to a whole group of processes
        raise IncompleteError(
            f"A worker of the backfill died (exit code {process.exitcode}).",
            "Nothing was lost. Run the same command again to resume. If memory is short, use fewer "
            "--workers.",
        ) from None
    return message
