"""Reads the receipt of a rewind or an undo, to undo it.

Every line of a receipt has a checksum. A last line that was cut off is accepted, because a run that
was killed leaves one; any other damage is refused.
"""

import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from restore.receipt import GZIP, VERSION, Line, ReceiptHeader
from stream_backup.core.edits import Edit
from stream_backup.core.key import key_json
from stream_backup.core.moment import from_iso
from stream_backup.errors import UsageError

_CHECK = re.compile(rb', "crc": (\d+)}$')
_BLOCK = 2**16


class Sent(NamedTuple):
    """A request of a receipt: the second in which it was sent by AWS's clock, and whether it is
    `certain` that it was executed."""

    time: int
    line: Line
    certain: bool


class ReceiptFile:
    """A receipt that was read and found whole. `ended` says that its run came to an end. Its
    requests are kept in a temporary file, so that memory does not grow with the receipt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ended = False
        self._sent = sqlite3.connect("", check_same_thread=False)
        self._sent.execute("CREATE TABLE sent (seq INTEGER PRIMARY KEY, key, line, outcome, old)")
        try:
            self._read()
        except BaseException:
            self._sent.close()
            raise

    def _read(self) -> None:
        try:
            lines = _lines(self.path)
            self.header = _header(next(lines, None))
            for line in lines:
                self._add(line)
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise UsageError(
                f"{self.path} is not a receipt, or is damaged: {error}.",
                "Use the file as the run wrote it. Nothing was written.",
            ) from error
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be read: {error.strerror}.", "Check its name."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sent.close()

    def rows(self) -> Iterator[list[Sent]]:
        """Yields the requests of one row after another, without those that were not executed. The
        last request of a row comes first."""
        rows = self._sent.execute(
            "SELECT key, line, outcome, old FROM sent WHERE outcome IS NOT 'not written'"
            " ORDER BY key, seq DESC"
        )
        found: list[Sent] = []
        last = None
        for key, line, outcome, old in rows:
            if found and key != last:
                yield found
                found = []
            found.append(_sent(json.loads(line), json.loads(old) if old else None, outcome))
            last = key
        if found:
            yield found

    def _add(self, line: dict[str, Any]) -> None:
        if self.ended:
            raise ValueError("it has lines after its last one")
        if "end" in line:
            (lines,) = self._sent.execute("SELECT count(*) FROM sent").fetchone()
            if lines != line["lines"]:
                raise ValueError("lines are missing")
            self.ended = True
        elif "outcome" in line:
            old = line.get("before")
            changed = self._sent.execute(
                "UPDATE sent SET outcome = ?, old = ? WHERE seq = ? AND outcome IS NULL",
                (line["outcome"], old and json.dumps(old), line["seq"]),
            )
            if changed.rowcount != 1 or line["outcome"] not in ("done", "not written"):
                raise ValueError("an outcome does not belong to a line")
        else:
            (last,) = self._sent.execute("SELECT coalesce(max(seq), 0) FROM sent").fetchone()
            if line["seq"] != last + 1:
                raise ValueError("lines are missing")
            _sent(line, None, None)
            row = (line["seq"], key_json(line["key"]), json.dumps(line))
            self._sent.execute("INSERT INTO sent VALUES (?, ?, ?, NULL, NULL)", row)


def _sent(line: dict[str, Any], old: Any, outcome: str | None) -> Sent:
    edits = tuple(
        Edit(tuple(each["path"]), each["before"], each["after"]) for each in line["paths"]
    )
    found = Line(line["key"], old or line["before"], line["after"], edits)
    return Sent(from_iso(line["time"]), found, outcome is not None)


def _header(line: dict[str, Any] | None) -> ReceiptHeader:
    if line is None or "receipt" not in line:
        raise ValueError("it has no header")
    if line["receipt"] != VERSION:
        raise ValueError(f"its format is {line['receipt']}, which this release does not know")
    return ReceiptHeader.of(line)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of a receipt. Raises ValueError or zlib.error where it is damaged."""
    unzip, text = zlib.decompressobj(wbits=GZIP), b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            text += unzip.decompress(block)
            *whole, text = text.split(b"\n")
            yield from map(_line, whole)
            if unzip.eof and (unzip.unused_data or file.read(1)):
                raise ValueError("something follows it")
    if unzip.eof and text:
        raise ValueError("its last line is incomplete")


def _line(text: bytes) -> dict[str, Any]:
    check = _CHECK.search(text, max(0, len(text) - 20))
    if not check or zlib.crc32(text[: check.start()]) != int(check[1]):
        raise ValueError("the checksum of a line is wrong")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("a line is not a JSON object")
    return found
