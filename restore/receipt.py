"""The receipt of a run that changes a live table: what it wrote, row by row, so that it can be
undone (`stream_backup/undo/receipts.py` reads it).

A receipt is a gzip file of JSON lines: a header, for each request a line before it is sent and one
after it was answered, and a last line when the run ends. Everything is flushed line by line, so
that a run that is killed leaves a receipt of all that it sent. Such a receipt ends early, and the
line of a request that was under way has no outcome.

    {"receipt": 1, "what": "undo", "table": …, "arn": …, "table_id": …, "since": …, …}
    {"seq": 1, "key": …, "time": …, "before": …, "after": …, "paths": [{"path": […], …}, …]}
    {"seq": 1, "outcome": "done"}
    {"end": …, "lines": 1}
"""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import IO, Any, ClassVar, Literal, NamedTuple, Self

from stream_backup.core.edits import Edit
from stream_backup.core.item import Item
from stream_backup.core.moment import iso
from stream_backup.core.record import Record
from stream_backup.errors import IncompleteError, UsageError

VERSION = 1

GZIP = 16 + zlib.MAX_WBITS
"""The `wbits` of zlib with which it writes and reads gzip files."""

LONGEST_WAIT = 10.0
"""Seconds for which a receipt that is closed waits for requests under way."""

What = Literal["rewind", "undo"]

Outcome = Literal["done", "not written"]


class Line(NamedTuple):
    """A request: the row before and after it, None where there is no row, and the paths that it
    changes, none where it replaces the whole row."""

    key: Item
    before: Item | None
    after: Item | None
    edits: Sequence[Edit] = ()

    def record(self) -> dict[str, Any]:
        """Returns the line as members of a JSON object."""
        paths = [
            {"path": list(edit.path), "before": edit.now, "after": edit.after}
            for edit in self.edits
        ]
        return {"key": self.key, "before": self.before, "after": self.after, "paths": paths}


@dataclass(frozen=True, slots=True)
class ReceiptHeader(Record):
    """The first line. `what` was done to the table with this `arn` and `table_id`, and `started` is
    when. A rewind has its moment in `since`, an undo its window there and in `until`, in ISO-8601.
    `options` are those of the command, `mark` the attribute that an undo added, with its value."""

    what: What
    table: str
    arn: str
    table_id: str
    started: int
    since: str | None = None
    until: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    mark: dict[str, Any] | None = None

    TIMES: ClassVar = ("started",)

    def record(self) -> dict[str, Any]:
        """Returns the header as a JSON object."""
        return {"receipt": VERSION, **super(ReceiptHeader, self).record()}


def checked(line: dict[str, Any]) -> bytes:
    """Returns a line with a checksum as its last member, because gzip checks a file only as a
    whole, and a receipt may end early."""
    text = json.dumps(line, ensure_ascii=False)[:-1].encode()
    return text + b', "crc": %d}\n' % zlib.crc32(text)


def require_writable(folder: Path) -> None:
    """Raises UsageError when no file can be created in `folder`."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".stream-backup-"):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


class Receipt:
    """A receipt that is being written, in `folder`. It is a context manager; leaving it waits for
    the requests that are under way, and without an error writes the last line. A receipt without
    lines is removed. Thread-safe.

    Its methods raise IncompleteError when the file cannot be written, or is closed.
    """

    def __init__(self, folder: Path, header: ReceiptHeader, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = Condition()
        self._lines = 0
        self._under_way = 0
        self._closing = False
        self._zip = zlib.compressobj(wbits=GZIP)
        self.path, self._file = _created(folder, header)
        self._write(header.record())

    @contextmanager
    def request(self, line: Line) -> Iterator[int]:
        """Writes the line of the request that is sent in the block, and gives its number."""
        with self._changed:
            if self._closing:
                raise IncompleteError("The run was ended before this row was written.")
            self._lines += 1
            number = self._lines
            self._write({"seq": number, "time": iso(int(self._clock())), **line.record()})
            self._under_way += 1
        try:
            yield number
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def end(self, number: int, outcome: Outcome, before: Item | None = None) -> None:
        """Writes what became of a request. `before` is the row that it replaced, where that was not
        what the first line says."""
        more = {"before": before} if before else {}
        with self._changed:
            self._write({"seq": number, "outcome": outcome, **more})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._under_way, LONGEST_WAIT)
            try:
                if kind is None:
                    self._write({"end": iso(int(self._clock())), "lines": self._lines})
                    self._file.write(self._zip.flush(zlib.Z_FINISH))
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
                if not self._lines:
                    self.path.unlink()

    @property
    def name(self) -> str | None:
        """The name of the file, None where nothing was sent."""
        return str(self.path) if self._lines else None

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(self._zip.compress(checked(line)) + self._zip.flush(zlib.Z_SYNC_FLUSH))
            self._file.flush()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self._closing = True
            raise IncompleteError(
                f"The receipt {self.path} cannot be written: {error}.",
                "No more rows are written. Fix the cause and run the same command again to resume.",
            ) from error


def _created(folder: Path, header: ReceiptHeader) -> tuple[Path, IO[bytes]]:
    """Creates the file exclusively, readable by its owner only."""
    moment = iso(header.started).replace(":", "").replace("-", "")
    turn, more = 1, ""
    while True:
        path = folder / f"{header.table}-{header.what}-{moment}{more}.receipt.jsonl.gz"
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            return path, os.fdopen(number, "wb")
        except FileExistsError:
            turn += 1
            more = f"-{turn}"
        except OSError as error:
            raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"The receipt of this run cannot be written to the folder {folder.absolute()}:"
        f" {error.strerror}.",
        "Change to a folder that you may write to, and run the same command there.",
    )
