"""The rows of a replaced table that did not exist at the moment: they are deleted once everything
else is written."""

import sqlite3
from collections.abc import Iterable
from threading import Event, Lock

from restore.target import Target
from restore.writer import BatchWriter, Failure
from stream_backup.archive.selection import Selection
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.scan import TableScan
from stream_backup.core.key import KeySchema, key_hash, key_json


def delete_others(
    chosen: Selection, target: Target, writer: BatchWriter, names: "Names", stop: Event
) -> list[Failure]:
    """Deletes the rows of a table that are not among `names`; of selected items only those."""
    if chosen.keys:
        return writer.delete(
            key_json(key).encode() for key in chosen.keys if key_hash(key) not in names
        )
    schema = KeySchema.of(target.description.table)
    names_of_key = tuple(name for name, _ in schema.attributes)
    scan = TableScan(target.dynamodb, target.name, names=names_of_key)
    failures: list[Failure] = []
    for page in scan.pages(ReadBudget(None), stop):
        others = [key for key in page.items if key_hash(key) not in names]
        failures += writer.delete(key_json(key).encode() for key in others)
    return failures


class Names:
    """The names of items on disk, so that a table of any size can be compared. Thread-safe."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._lock = Lock()

    def add(self, names: Iterable[str]) -> None:
        """Adds the names of items that were written."""
        with self._lock:
            self._database.executemany(
                "INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names)
            )

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return (
                self._database.execute("SELECT 1 FROM names WHERE name = ?", (name,)).fetchone()
                is not None
            )

    def close(self) -> None:
        """Removes the names from the disk."""
        with self._lock:
            self._database.close()
