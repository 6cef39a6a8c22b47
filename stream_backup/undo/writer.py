"""Undoes one row of the live table: reads it, merges, and writes under the condition that nothing
changed in between. When something did, it starts again, a bounded number of times.

A request whose answer was lost is sent again by botocore, and then fails against its own success.
After a failure of which that may be true, reading the row again shows what there is to do.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from restore.receipt import Line, Receipt
from restore.sending import send
from stream_backup.aws.dynamodb import Caller
from stream_backup.aws.errors import is_denied, is_transient, may_have_been_written
from stream_backup.aws.row import read_row, replacement
from stream_backup.core.edits import Conflict, Edit, applied, as_value, value_at
from stream_backup.core.item import Item
from stream_backup.core.values import same
from stream_backup.errors import UnavailableError
from stream_backup.undo.damage import Damage
from stream_backup.undo.expressions import updates
from stream_backup.undo.rule import Rule

TRIES = 8
"""How often a row is read and merged before it is left: somebody is writing it all the time."""

PATIENCE = 600.0
"""Seconds for which a row is tried again while the table is busy."""

_FAILURES = (ClientError, BotoCoreError, UnavailableError)
"""How a request ends that failed, however often it was sent."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0

TOO_LARGE = "it would become larger than a row may be"
BUSY = "it kept changing, or the table was busy"
DOUBTFUL = "it is not known whether the change of an earlier run was written"
RACED = "it changed while it was being deleted, and was put back"
GONE = "it changed while it was being deleted, and was created again: the change is in the archive"
LOST = (
    "it changed while it was being deleted, and could not be put back: undo the receipt, or restore"
    " the row with restore --in-place --key"
)
UNSURE = "it was deleted, but the answer was lost, so that a change just before it may be lost too"


@dataclass(slots=True)
class RowUndone:
    """What became of one row. `written` are the edits that were made, in all requests; `left` has
    the reasons for which something else was left than `conflicts`. `outside` is that of `Merged`,
    and `expired` that of `Damage`."""

    key: Item
    written: list[Edit] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    outside: bool = False
    expired: bool = False


class _StaleError(Exception):
    """The row is no longer what was read. `edits` are those that may have been made all the same:
    the request was sent more than once, and an answer was lost."""

    def __init__(self, error: ClientError, edits: Sequence[Edit]) -> None:
        super().__init__()
        self.error = error
        self.edits = edits


@dataclass(frozen=True, slots=True)
class RowWriter:
    """Undoes rows of `table` by this `rule`, and writes a receipt. Once `stop` is set, it no longer
    waits for a table that is busy."""

    dynamodb: Caller
    table: str
    rule: Rule
    receipt: Receipt
    stop: Event

    def undo(self, damage: Damage) -> RowUndone:
        """Undoes a row. Raises ClientError when the table may not be read or written at all, and
        whatever else keeps AWS from answering."""
        found = RowUndone(damage.key, expired=damage.expired)
        unsure: list[Edit] = []
        pause, give_up = FIRST_PAUSE, time.monotonic() + PATIENCE
        tries = 0
        while tries < TRIES:
            try:
                self._try(damage, found, unsure)
            except _StaleError as stale:
                unsure += stale.edits
                busy = is_transient(stale.error)
                tries += not busy
            except ClientError as error:
                if is_denied(error):
                    raise
                busy = is_transient(error)
                if not busy:
                    found.left.append(_reason(error))
                    return found
            else:
                return found
            if busy:
                if time.monotonic() > give_up or self.stop.is_set():
                    break
                self.stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(2 * pause, LONGEST_PAUSE)
        found.left.append(BUSY)
        return found

    def _try(self, damage: Damage, found: RowUndone, unsure: Sequence[Edit]) -> None:
        live = read_row(self.dynamodb, self.table, damage.key)
        verdict = self.rule.judge(damage, live)
        found.conflicts, found.outside = verdict.conflicts, verdict.outside
        found.left = [verdict.refused] if verdict.refused else []
        found.left += [DOUBTFUL] if verdict.doubtful else []
        for edit in unsure:  # those that were made are there now, whoever made them
            if same(value_at(live, edit.path), edit.after):
                found.left += [UNSURE] if not edit.path and edit.after is None else []
                found.written += [edit] if edit not in found.written else []
        if not verdict.edits:
            return
        first = verdict.edits[0]
        if not first.path:
            self._replace(live, first, found)
            return
        row = live
        for request, edits in updates(self.table, found.key, verdict.edits, verdict.mark):
            after = applied(row, edits)
            self._send("update_item", request, Line(found.key, row, after, edits), edits)
            found.written += [edit for edit in edits if edit is not verdict.mark]
            row = after

    def _replace(self, live: Item | None, edit: Edit, found: RowUndone) -> None:
        """Puts or deletes the row."""
        key, wanted = found.key, edit.after and edit.after["M"]
        operation = "delete_item" if wanted is None else "put_item"
        request = replacement(self.table, key, live, wanted)
        old = self._send(operation, request, Line(key, live, wanted), [edit])
        if wanted is None and not same(as_value(old), as_value(live)):
            found.left.append(self._put_back(old, key))
        else:
            found.written.append(edit)

    def _put_back(self, old: Item | None, key: Item) -> str:
        """Puts back a row that was deleted although it was not what was read any more. Whatever
        fails is tried again, and reported: nobody else knows that the row is missing."""
        line, pause = Line(key, None, old), FIRST_PAUSE
        for _ in range(TRIES):
            try:
                send(
                    self.dynamodb,
                    self.receipt,
                    "put_item",
                    replacement(self.table, key, None, old),
                    line,
                )
                return RACED
            except _FAILURES:
                live = self._peek(key)
            if live is not None:
                return RACED if same(as_value(live), as_value(old)) else GONE
            self.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return LOST

    def _peek(self, key: Item) -> Item | None:
        """Returns the row if there is one and it can be read."""
        try:
            return read_row(self.dynamodb, self.table, key)
        except _FAILURES:
            return None

    def _send(
        self, operation: str, request: dict[str, Any], line: Line, edits: Sequence[Edit]
    ) -> Item | None:
        """Sends a request between two lines of the receipt; returns the row that was replaced.
        Raises _StaleError when the row must be read again."""
        try:
            return send(self.dynamodb, self.receipt, operation, request, line)
        except ClientError as error:
            unsure = may_have_been_written(error)
            if unsure or _is_stale(error):
                raise _StaleError(error, edits if unsure else ()) from error
            raise


def _is_stale(error: ClientError) -> bool:
    """Whether the row is no longer what was read."""
    found = error.response["Error"]
    if found["Code"] == "ValidationException":
        return "document path" in found.get("Message", "")
    return found["Code"] in ("ConditionalCheckFailedException", "TransactionConflictException")


def _reason(error: ClientError) -> str:
    found = error.response["Error"]
    if found["Code"] == "ValidationException" and "Item size" in found.get("Message", ""):
        return TOO_LARGE
    return f"not written: {found['Code']}: {found.get('Message', '')}"
