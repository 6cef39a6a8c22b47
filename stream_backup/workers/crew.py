"""Several processes for machines with several cores: one Python process is limited by its
interpreter lock.

Workers start and end with their parent, and any of them may be killed at any request: what no
engine has recorded as done is done again.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, TypeVar

from stream_backup.errors import IncompleteError, StreamBackupError
from stream_backup.workers.credentials import Lent
from stream_backup.workers.process import Clients, Job, JobReport, Message, Requested, Trouble, work

MOST = 8
"""Workers by default on any number of cores: each writes thousands of items a second, and S3 takes
3,500 PUTs a second of a prefix before it slows them down (Amazon S3 User Guide, "Optimizing Amazon
S3 performance")."""

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


Dealt = TypeVar("Dealt")


def deal(cards: Iterable[Dealt], hands: int) -> list[tuple[Dealt, ...]]:
    """Returns the same cards in at most `hands` parts, none of them empty: the first card to the
    first, and so on, so that the parts of an ordered list are alike."""
    whole = tuple(cards)
    return [whole[hand::hands] for hand in range(min(hands, len(whole)))]


@dataclass(frozen=True, slots=True)
class Workers:
    """`number` processes, which open their clients with `clients`; `lend` returns the credentials
    that they ask for; `tell` receives the trouble with AWS that each of them waits for, and
    `requested` the number of requests to S3 that one has made, by kind. `hint` is what to do when
    one dies."""

    number: int
    clients: Clients
    lend: Callable[[], Lent]
    tell: Callable[[str], None] = lambda _: None
    requested: Callable[[Mapping[str, int]], None] = lambda _: None
    hint: str = "Nothing was lost. Run the same command again to resume."

    def run(self, jobs: Sequence[Job], heard: Callable[[Any], None]) -> None:
        """Does each job in a process of its own, and calls `heard` with every report, one at a
        time; call it from the main thread. Raises what ended a worker, and leaves none behind."""
        # A fork would copy the connections and threads of boto3 and obstore.
        spawn = get_context("spawn")
        # Otherwise the first worker starts it, which unblocks Ctrl-C.
        resource_tracker.ensure_running()
        started: dict[Pipe, BaseProcess] = {}
        try:
            for job in jobs:
                ours, theirs = spawn.Pipe()
                arguments = (self.clients, job, theirs)
                process: BaseProcess = spawn.Process(target=work, args=arguments, daemon=True)
                with _undisturbed(), _without_main():
                    process.start()
                    started[ours] = process
                theirs.close()
            self._gather(started, heard)
        finally:
            with _undisturbed():
                for process in started.values():
                    process.kill()
                    process.join()

    def _gather(self, started: dict[Pipe, BaseProcess], heard: Callable[[Any], None]) -> None:
        working = dict(started)
        while working:
            for pipe in wait(list(working)):
                assert isinstance(pipe, Pipe)
                match self._receive(pipe, working[pipe]):
                    case JobReport(report):
                        heard(report)
                    case Requested(requests):
                        self.requested(requests)
                    case StreamBackupError() as error:
                        raise error
                    case Trouble(text):
                        self.tell(text)
                    case str():
                        lent = self.lend()
                        with suppress(BrokenPipeError):  # the worker died, which is read next
                            pipe.send(lent)
                    case None:
                        del working[pipe]

    def _receive(self, pipe: Pipe, process: BaseProcess) -> Message:
        """Returns the next message of a worker; raises what its death means when it died."""
        try:
            message: Message = pipe.recv()
        except (EOFError, OSError):
            process.join()
            if process.exitcode == -signal.SIGTERM:
                raise KeyboardInterrupt from None  # the signal went to a whole group of processes
            raise IncompleteError(
                f"A worker died (exit code {process.exitcode}).",
                f"{self.hint} If memory is short, use fewer --workers.",
            ) from None
        return message


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
