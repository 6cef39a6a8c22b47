"""A worker: a process that opens its own clients, scans its share of the segments, reports the
counts of each page to its parent, and ends when its parent is gone."""

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import NamedTuple

from backfill.credentials import Lent
from backfill.segment import Counts
from backfill.share import Share
from stream_backup.archive.layout import Archive
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import translate
from stream_backup.errors import StreamBackupError


class Parent(NamedTuple):
    """What a worker asks of its parent: the credentials, and to report trouble with AWS."""

    ask: Callable[[], Lent]
    note: Callable[[str], None]


Clients = Callable[[Parent], tuple[DynamoDB, Archive]]
"""Opens the clients of a process."""

ASKED = "credentials"


class Trouble(NamedTuple):
    """Trouble with AWS that a worker has met, as a sentence."""

    text: str


Message = Counts | StreamBackupError | Trouble | str | None
"""The counts of a page, the error that ended the worker, trouble that it waits for, ASKED, or None
when its share has been scanned."""


def work(clients: Clients, share: Share, budget: ReadBudget, parent: Pipe) -> None:
    """Scans a share: the main function of the process."""
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
        parts = clients(Parent(ask, lambda text: tell(Trouble(text))))
        share.scan(*parts, budget, Event(), tell)
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
