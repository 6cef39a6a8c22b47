"""What a verification keeps on disk, so that its memory grows neither with the table nor with its
errors."""

import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import IO

from stream_backup.archive.slices import SLICES
from stream_backup.verify.compare import Row, Suspect


class Rows:
    """The rows of a scan in temporary files, one for each slice of the archive: 32 bytes and the
    key of each row. SQLite sorts them there."""

    def __init__(self) -> None:
        self._slices = {part: _Slice() for part in SLICES}
        self._lock = Lock()
        self.count = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Adds rows of any slice. Thread-safe."""
        by_slice = defaultdict(list)
        for row in rows:
            by_slice[row.name[0]].append(row)
        for part, found in by_slice.items():
            self._slices[part].add(found)
        with self._lock:
            self.count += sum(map(len, by_slice.values()))

    def of(self, part: str) -> Iterator[Row]:
        """Yields the rows of a slice in order of name."""
        return self._slices[part].sorted()

    def close(self) -> None:
        """Removes the files."""
        for part in self._slices.values():
            part.close()


class _Slice:
    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE rows (name BLOB, digest BLOB, key TEXT)")
        self._lock = Lock()

    def add(self, rows: list[Row]) -> None:
        packed = [(bytes.fromhex(row.name), bytes.fromhex(row.digest), row.key) for row in rows]
        with self._lock:
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?)", packed)

    def sorted(self) -> Iterator[Row]:
        for name, digest, key in self._database.execute(
            "SELECT name, digest, key FROM rows ORDER BY name"
        ):
            yield Row(name.hex(), digest.hex(), key)

    def close(self) -> None:
        self._database.close()


class SuspectSpool:
    """Suspects in a temporary file, in the order in which they came; the file is removed when it is
    closed."""

    def __init__(self, suspects: Iterable[Suspect]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-verify-")  # noqa: SIM115 - closed by `close`
        self.count = 0
        for suspect in suspects:
            self._file.write(json.dumps(suspect).encode() + b"\n")
            self.count += 1

    def __iter__(self) -> Iterator[Suspect]:
        self._file.seek(0)
        for line in self._file:
            name, key, live, newest, since = json.loads(line)
            yield Suspect(name, key, tuple(live), newest, since)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
