"""What a verification keeps on disk, so that its memory grows neither with the table nor with its
errors."""

import heapq
import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Lock
from typing import IO

from stream_backup.archive.slices import SLICES, run_slices
from stream_backup.core.slice import NameSlice
from stream_backup.verify.compare import Row, Suspect, Wrong


class Rows:
    """The rows of a scan in files, one for each slice of the archive: 32 bytes and the key of each
    row. SQLite sorts them there. The files are temporary ones that nobody else sees, or are in a
    `folder`, where others can read them (`RowFiles`) once this is closed."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder:
            folder.mkdir()
        self._slices = {part: _Slice(str(folder / part) if folder else "") for part in SLICES}
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

    def within(self, part: NameSlice) -> Iterator[Row]:
        """Yields the rows in a slice that are not done, in order of name."""
        for digit in _digits(part):
            yield from self._slices[digit].sorted(part)

    def close(self) -> None:
        """Removes the temporary files; those in a folder stay."""
        for part in self._slices.values():
            part.close()


class RowFiles:
    """The rows that several processes have put into folders, one each."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(folders)

    def within(self, part: NameSlice) -> Iterator[Row]:
        """Yields the rows in a slice that are not done, in order of name."""
        for digit in _digits(part):
            with ExitStack() as stack:
                files = [
                    stack.enter_context(closing(_Slice(str(folder / digit))))
                    for folder in self._folders
                ]
                yield from heapq.merge(*(each.sorted(part) for each in files))


def _digits(part: NameSlice) -> str:
    """The first digits of the names that are not done."""
    if part.open_ends is None:
        return ""
    first, last = part.open_ends
    return "".join(digit for digit in SLICES if first[0] <= digit <= last[0])


class _Slice:
    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS rows (name BLOB, digest BLOB, key TEXT)")
        self._lock = Lock()

    def add(self, rows: list[Row]) -> None:
        packed = [(bytes.fromhex(row.name), bytes.fromhex(row.digest), row.key) for row in rows]
        with self._lock:
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?)", packed)

    def sorted(self, part: NameSlice | None = None) -> Iterator[Row]:
        ends = (part or NameSlice()).open_ends
        if ends is None:
            return
        for name, digest, key in self._database.execute(
            "SELECT name, digest, key FROM rows WHERE name BETWEEN ? AND ? ORDER BY name",
            [bytes.fromhex(name) for name in ends],
        ):
            yield Row(name.hex(), digest.hex(), key)

    def close(self) -> None:
        self._database.commit()
        self._database.close()


class SuspectSpool:
    """Suspects in a temporary file, in the order in which they came; the file is removed when it is
    closed."""

    def __init__(self, suspects: Iterable[Suspect] = ()) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-verify-")  # noqa: SIM115 - closed by `close`
        self.count = 0
        try:
            for suspect in suspects:
                self.add(suspect)
        except BaseException:
            self.close()
            raise

    def add(self, suspect: Suspect) -> None:
        """Adds a suspect at the end."""
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
