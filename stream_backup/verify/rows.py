"""What a verification keeps on disk, so that its memory grows neither with the table nor with its
errors."""

import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from threading import Event, Lock
from typing import IO

from stream_backup.archive.slices import SLICES, run_slices
from stream_backup.verify.compare import Row, Suspect, Wrong


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
        try:
            for suspect in suspects:
                self._file.write(json.dumps(suspect).encode() + b"\n")
                self.count += 1
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Suspect]:
        self._file.seek(0)
        for line in self._file:
            name, key, live, newest, since = json.loads(line)
            yield Suspect(name, key, tuple(live), newest, since)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()


def spooled(find: Callable[[str], Iterable[Suspect]], stop: Event) -> list[SuspectSpool]:
    """Returns what `find` yields for each slice. Nothing stays open when it raises."""
    made: list[SuspectSpool] = []

    def spool(part: str) -> SuspectSpool:
        found = SuspectSpool(find(part))
        made.append(found)
        return found

    try:
        return run_slices(spool, SLICES, stop)
    except BaseException:
        close(made)
        raise


def close(spools: Iterable[SuspectSpool]) -> None:
    """Closes spools."""
    for spool in spools:
        spool.close()


class WrongRows:
    """Rows to be repaired, in a temporary file that is removed when it is closed. Thread-safe until
    they are read."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-verify-")  # noqa: SIM115 - closed by `close`
        self._lock = Lock()
        self.count = 0

    def add(self, row: Wrong) -> None:
        """Keeps a row."""
        with self._lock:
            self._file.write(json.dumps(row).encode() + b"\n")
            self.count += 1

    def __iter__(self) -> Iterator[Wrong]:
        self._file.seek(0)
        for line in self._file:
            yield Wrong(*json.loads(line))

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
