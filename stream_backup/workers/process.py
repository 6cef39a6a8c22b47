"""A worker: a process that opens its own clients, does its job, and reports to its parent. It ends
when its parent is gone."""

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, NamedTuple, Protocol

from stream_backup.archive.layout import Archive
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import translate
from stream_backup.errors import StreamBackupError
from stream_backup.workers.credentials import Lent


class Parent(NamedTuple):
    """What a worker asks of its parent: the credentials, and to report trouble with AWS."""

    ask: Callable[[], Lent]
    note: Callable[[str], None]


Clients = Callable[[Parent], tuple[DynamoDB, Archive]]
"""Opens the clients of a process."""


class Job(Protocol):
    """The slices that one worker does, and what it must know to do them. It is plain data, which is
    passed to another process."""

    def work(
        self, dynamodb: DynamoDB, archive: Archive, stop: Event, report: Callable[[Any], None]
    ) -> None:
        """Does the job with these clients. `report` sends a value to the parent, from any thread;
        everything that the parent needs to know is reported."""


ASKED = "credentials"


class Trouble(NamedTuple):
    """Trouble with AWS that a worker has met, as a sentence."""

    text: str


class JobReport(NamedTuple):
    """A report of a job."""

    report: Any


class Requested(NamedTuple):
    """How many requests to S3 a worker has made, by kind."""

    requests: dict[str, int]


Message = JobReport | Requested | StreamBackupError | Trouble | str | None
"""A report, how many requests were made in all, the error that ended the worker, trouble that it
waits for, ASKED, or None when its job is done."""


def work(clients: Clients, job: Job, parent: Pipe) -> None:
    """Does a job: the main function of the process."""
    answers: SimpleQueue[Lent] = SimpleQueue()
    Thread(target=_listen, args=(parent, answers), daemon=True).start()
    telling, asking = Lock(), Lock()

    def tell(message: Message) -> None:
        with telling:
            parent.send(message)

    def ask() -> Lent:
        with asking:
            tell(ASKED)
            return answers.get()

    try:
        dynamodb, archive = clients(Parent(ask, lambda text: tell(Trouble(text))))
        job.work(dynamodb, archive, Event(), lambda report: tell(JobReport(report)))
        tell(Requested(dict(archive.store.requests)))
        tell(None)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        tell(_sendable(error))


def _listen(parent: Pipe, answers: "SimpleQueue[Lent]") -> None:
    """Ends this process when its parent is gone, for whatever reason."""
    while True:
        try:
            answers.put(parent.recv())
        except (EOFError, OSError):
            os._exit(1)


def _sendable(error: Exception) -> StreamBackupError:
    """Returns an error that can be sent to another process, which an error of AWS's clients may
    not: the same sentence, and where it was raised."""
    unexpected = StreamBackupError(
        f"Unexpected: {type(error).__name__}: {error}",
        "Run it again with --debug to see where, and report it.",
    )
    known = translate(error) or unexpected
    known.add_note(traceback.format_exc())
    return known
