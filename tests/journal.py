"""A table's history in records of its stream, and the table's rows at each second: the truth to
compare an archive with."""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from stream_backup.archive.layout import Archive
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.time_rule import NEVER, Lateness

SCHEMA = KeySchema((("id", "S"),))
LABEL = "2026-11-21T03:32:40.266"
T0 = 1_795_231_960
"""The second of LABEL."""

Rows = dict[str, bytes]
"""A table's rows, as canonical bytes by the hash of their key."""


class Journal:
    """Writes occur one after another, several per second. Each is a record of the stream."""

    def __init__(self, table: str = "orders", start: int = T0, seed: int = 0) -> None:
        self.arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/{LABEL}"
        self.now = start
        self.records: list[dict[str, Any]] = []
        self._rows: dict[str, Item] = {}
        self._random = Random(seed)
        self._sequence = 10**23

    def write(self, key: str, value: str | None) -> dict[str, Any]:
        """Puts or removes the item and returns the record. Writes a record even if there was
        nothing to remove."""
        old = self._rows.pop(key, None)
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": self.now,
            "Keys": {"id": {"S": key}},
            "SequenceNumber": str(self._sequence),
            "SizeBytes": 59,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        self._sequence += self._random.randint(1, 1000)
        if old:
            data["OldImage"] = old
        if value is not None:
            self._rows[key] = data["NewImage"] = {"id": {"S": key}, "value": {"S": value}}
        kind = "REMOVE" if value is None else "MODIFY" if old else "INSERT"
        record = {"eventID": "1", "eventName": kind, "eventSourceARN": self.arn, "dynamodb": data}
        self.records.append(record)
        return record

    def fill(self, writes: int, keys: int = 20, per_second: int = 4) -> list[dict[str, Any]]:
        """Makes `writes` random puts and removals of `keys` items, on average `per_second` per
        second. Returns their records."""
        start = len(self.records)
        for number in range(writes):
            key = f"k{self._random.randrange(keys)}"
            removed = key in self._rows and self._random.random() < 0.25
            self.write(key, None if removed else f"value {number}")
            self.now += self._random.random() < 1 / per_second
        return self.records[start:]

    @property
    def moments(self) -> range:
        """All seconds from before the first write until after the last."""
        return range(
            int(self.records[0]["dynamodb"]["ApproximateCreationDateTime"]) - 1, self.now + 2
        )

    def at(self, moment: int) -> Rows:
        """Returns the table at the end of this second."""
        rows: Rows = {}
        for record in self.records:
            data = record["dynamodb"]
            if data["ApproximateCreationDateTime"] <= moment:
                rows.pop(key_hash(data["Keys"]), None)
                if "NewImage" in data:
                    rows[key_hash(data["Keys"])] = encode(data["NewImage"])
        return rows


def poisoned(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record with an image that cannot be parsed."""
    return record | {"dynamodb": record["dynamodb"] | {"NewImage": {"id": {"UNKNOWN": "type"}}}}


def restored(archive: Archive, moment: int, lateness: Lateness | None = None) -> Rows:
    """Returns the archive's answer for the whole table."""
    rows = {}
    for history in archive.histories():
        found = item_at(history.versions, moment, NEVER, archive.read, lateness or Lateness())
        if found and found.body is not None:
            rows[history.name] = found.body
    return rows


def check_equal(archive: Archive, journal: Journal, moments: Iterable[int] | None = None) -> None:
    """Checks that the archive contains every change of the journal and nothing else, that it gives
    the table's rows for every moment, and that the newest version of every item by stamp is the
    last one written."""
    wanted = {_identity(Change.streamed(record)) for record in journal.records}
    assert {_identity(change) for change in changes_in(archive)} == wanted
    for moment in journal.moments if moments is None else moments:
        assert restored(archive, moment) == journal.at(moment), moment
    assert_order(archive)


def assert_order(archive: Archive) -> None:
    for history in archive.histories():
        newest, *_ = stamps = [archive.stat(version).stamp.rank for version in history.versions]
        assert newest == max(stamps), history.name


def changes_in(archive: Archive) -> Iterator[Change]:
    return (
        archive.read(version) for history in archive.histories() for version in history.versions
    )


def _identity(change: Change) -> tuple[Any, ...]:
    return change.name, change.stamp, change.body
