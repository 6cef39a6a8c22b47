"""What one worker does, a process of its own: it opens its own clients, scans its share of the segments, tells its parent the
counts of each page, and ends when its parent is gone."""

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from queue import SimpleQueue
from threading import Event, Lock, Thread

from backfill.capacity import Capacity
from backfill.credentials import Lent
from backfill.segment import Counts
from backfill.share import Share
from stream_backup.archive import Archive
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import StreamBackupError
from stream_backup.translate import translate

Clients = Callable[[Callable[[], Lent]], tuple[DynamoDB, Archive]]
"""Opens a process's own; handed to another process, so it holds no client yet. It is given whom to ask for credentials."""

ASKED = "credentials"

Told = Counts | StreamBackupError | str | None
"""The counts of a page, the error that ended the worker, ASKED, or None when its share is scanned."""


def work(clients: Clients, share: Share, capacity: Capacity, parent: Pipe) -> None:
    answers: SimpleQueue[Lent] = SimpleQueue()
    Thread(target=_listen, args=(parent, answers), daemon=True).start()
    telling, asking = Lock(), Lock()

    def tell(told: Told) -> None:
        with telling:
            parent.send(told)

    def ask() -> Lent:
        with asking:
            tell(ASKED)
            return answers.get()

    try:
        share.scan(*clients(ask), capacity, Event(), tell)
        tell(None)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        tell(_sendable(error))


def _listen(parent: Pipe, answers: "SimpleQueue[Lent]") -> None:
    """Ends this process when its parent is gone, however that ended."""
    while True:
        try:
            answers.put(parent.recv())
        except (EOFError, OSError):
            os._exit(1)


def _sendable(error: Exception) -> StreamBackupError:
    """An error of AWS's clients may not survive the way to another process; its sentence does, and where it came from."""
    unforeseen = StreamBackupError(f"Unexpected: {type(error).__name__}: {error}", "--debug shows where; please report it.")
    known = translate(error) or unforeseen
    known.add_note(traceback.format_exc())
    return known
