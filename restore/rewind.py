"""Executes a rewind on the live table, row by row, each under the condition that the row still is
what the plan saw.

A row that changed after the plan was made is left unchanged and reported. Running the same rewind
again is harmless: a row that already matches is not written.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from botocore.exceptions import ClientError

from restore.pace import Pace
from restore.plan import Step
from restore.receipt import Line, Receipt
from restore.sending import send
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.row import read_row, replacement
from stream_backup.core.item import decode, digest, encode
from stream_backup.core.key import key_json
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError


class Result(Enum):
    """What became of one row."""

    DONE = "done"
    ALREADY = "already matched"
    CHANGED = "changed since the plan"
    OVERWRITTEN = "changed during the write; that change was overwritten (it is in the archive)"
    FAILED = "not written"


@dataclass(slots=True)
class Rewound:
    """What became of all rows. `left` are the keys that were not rewound, or not cleanly, each with
    the reason."""

    done: int = 0
    already: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: "Rewound") -> None:
        """Adds what became of other rows."""
        self.done += other.done
        self.already += other.already
        self.left += other.left


def rewind(
    dynamodb: DynamoDB,
    archive: Archive,
    steps: Iterable[Step],
    pool: Executor,
    tell: Callable[[], None] = lambda: None,
    receipt: Receipt | None = None,
    pace: Pace | None = None,
    table: str = "",
) -> Rewound:
    """Executes `put` and `delete` steps, as fast as `pace` allows; the others need nothing. Calls
    `tell` after each, and writes each request into the `receipt`. The rows are those of `table`,
    which is a copy, or of the table of the archive. Raises UnavailableError when AWS
    is out of reach for too long; running the rewind again resumes it."""
    whole = Rewound()
    todo = (step for step in steps if step.action in ("put", "delete"))
    rows = _Rows(dynamodb, archive, table or archive.table, receipt)
    for step, result, reason in _windowed(rows, todo, pool, pace or Pace()):
        tell()
        if result is Result.DONE:
            whole.done += 1
        elif result is Result.ALREADY:
            whole.already += 1
        else:
            whole.left.append((key_json(step.key), f"{result.value}{reason and f': {reason}'}"))
    return whole


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of `table`, and what they are changed with."""

    dynamodb: DynamoDB
    archive: Archive
    table: str
    receipt: Receipt | None


def _windowed(
    rows: _Rows, steps: Iterable[Step], pool: Executor, pace: Pace
) -> Iterable[tuple[Step, Result, str]]:
    def rewind_one(step: Step) -> tuple[Step, Result, str]:
        pace.wait()
        return _rewind_one(rows, step)

    rest = iter(steps)
    while chunk := [*islice(rest, CONCURRENCY)]:
        yield from pool.map(rewind_one, chunk)


def _rewind_one(rows: _Rows, step: Step) -> tuple[Step, Result, str]:
    try:
        live = read_row(rows.dynamodb, rows.table, step.key)
        wanted = None if step.body is None else digest(step.body)
        present = None if live is None else digest(encode(live))
        if present == wanted:
            return step, Result.ALREADY, ""
        unread = step.unread
        if present != step.now and not (unread and present == _content(rows.archive, unread)):
            return step, Result.CHANGED, ""
        body = None if step.body is None else decode(step.body)
        request = replacement(rows.table, step.key, live, body)
        operation = "delete_item" if body is None else "put_item"
        line = Line(step.key, live, body)
        old = send(rows.dynamodb, rows.receipt, operation, request, line)
        if (before := digest(encode(old)) if old else None) != present:
            return step, Result.ALREADY if before == wanted else Result.OVERWRITTEN, ""
        return step, Result.DONE, ""
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return step, _after_refusal(rows, step), ""
        return step, Result.FAILED, str(error)
    except ArchiveError as error:
        return step, Result.FAILED, str(error)


def _after_refusal(rows: _Rows, step: Step) -> Result:
    """Returns what became of a row that is not what was read any more. It may be as wanted: then
    the answer to the write was lost, and the condition failed when it was sent again."""
    live = read_row(rows.dynamodb, rows.table, step.key)
    wanted = None if step.body is None else digest(step.body)
    present = None if live is None else digest(encode(live))
    return Result.ALREADY if present == wanted else Result.CHANGED


def _content(archive: Archive, version: Version) -> str:
    """Returns the digest of a version whose ETag may not be one."""
    return digest(archive.read(version).body or b"")
