"""What a verification keeps on disk, so that its memory does not grow with the table nor with what is wrong with it."""

import json
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import IO

from stream_backup.archive import SHARDS
from verify.compare import Row, Suspect


class Rows:
    """The rows of a scan in temporary files, one for each shard of the archive: 32 bytes and the key of each. SQLite sorts
    them there."""

    def __init__(self) -> None:
        self._shards = {shard: _Shard() for shard in SHARDS}
        self._lock = Lock()
        self.count = 0

    def add(self, rows: Iterable[Row]) -> None:
        by_shard = defaultdict(list)
        for row in rows:
            by_shard[row.name[0]].append(row)
        for shard, found in by_shard.items():
            self._shards[shard].add(found)
        with self._lock:
            self.count += sum(map(len, by_shard.values()))

    def of(self, shard: str) -> Iterator[Row]:
        """In order of name."""
        return self._shards[shard].sorted()

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()


class _Shard:
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
        for name, digest, key in self._database.execute("SELECT name, digest, key FROM rows ORDER BY name"):
            yield Row(name.hex(), digest.hex(), key)

    def close(self) -> None:
        self._database.close()


class Spool:
    """Suspects in a temporary file, in the order they came, gone when it is closed."""

    def __init__(self, suspects: Iterable[Suspect]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-verify-")  # noqa: SIM115 - lives as long as we do
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
        self._file.close()
