"""The truth that tests compare the system with: a table, every change ever made to it, and its
streams.

The streams use the model's own clock, so "the end of second M" means the same as in the stamps of a
stream. The model knows nothing about the archive.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.moment import iso

T0 = 1795231959
DAY = 86400
SCHEMA = KeySchema((("pk", "S"), ("sk", "N")))
NAME = "orders"
ARN = f"arn:aws:dynamodb:eu-central-1:123456789012:table/{NAME}"

KEYS: list[Item] = [
    {"pk": {"S": "a"}, "sk": {"N": "1"}},
    {"pk": {"S": "é\u2028 "}, "sk": {"N": "-0.5"}},
    {"pk": {"S": "a"}, "sk": {"N": "12345678901234567890123456789012345678"}},
    {"pk": {"S": "b" * 2000}, "sk": {"N": "0"}},  # a tombstone whose key does not fit in metadata
]
NAMES = [key_hash(key) for key in KEYS]

VALUES: list[Item] = [
    {"v": {"N": "1.10"}},
    {"v": {"N": "98765432109876543210987654321098765432"}},
    {
        "v": {"S": ""},
        "m": {"M": {"b": {"B": "AP8="}, "l": {"L": [{"BS": ["AQ==", "Ag=="]}, {"NULL": True}]}}},
    },
    {"v": {"SS": ["x", "é", "a"]}},
]

Rows = dict[str, Item]
"""The rows of a table, by the hash of their key."""


@dataclass
class Record:
    """A record in a stream: the event as it is delivered, and the true time of the change."""

    event: dict[str, Any]
    at: float


@dataclass
class StreamLife:
    """One stream, from when it is switched on until it is switched off. Each shard holds its
    records in order. Records before index `trimmed` expired after a day."""

    label: str
    table_id: int = 1
    off_at: float | None = None
    shards: list[list[Record]] = field(default_factory=lambda: [[], []])
    trimmed: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def on(self) -> bool:
        return self.off_at is None

    @property
    def arn(self) -> str:
        return f"{ARN}/stream/{self.label}"


@dataclass
class Entry:
    """From `at` on, the row `name` is `item`. If `name` is None, the whole table was created or
    deleted instead, as `exists` says."""

    at: float
    name: str | None
    item: Item | None
    exists: bool = True


class Model:
    """One table name through all its lives. `random` decides what nobody asked to decide; the label
    of a stream is by a clock that is `label_skew` seconds ahead of that of its records."""

    def __init__(self, random: Random, label_skew: int = 0) -> None:
        self.label_skew = label_skew
        self.random = random
        self.now = float(T0)
        self.journal: list[Entry] = []
        self.rows: Rows | None = {}
        self.table_id = 1
        self.streams: list[StreamLife] = []
        self.stream: StreamLife | None = None
        self._sequence = random.choice([10**20, 10**21 - 3, 10**35])

    def tick(self, seconds: float) -> None:
        self.now += seconds
        for stream in self.streams:
            for shard, records in enumerate(stream.shards):
                while (
                    stream.trimmed[shard] < len(records)
                    and records[stream.trimmed[shard]].at < self.now - DAY - 1
                ):
                    stream.trimmed[shard] += 1

    def next_second(self) -> None:
        """Advances to the start of the next second, the shortest time in which a table or a stream
        can be created or deleted."""
        self.now = float(int(self.now) + 1)

    def write(self, key: Item, value: Item | None) -> None:
        """Performs PutItem or DeleteItem. A write that changes nothing leaves no record in the
        stream."""
        assert self.rows is not None
        name = key_hash(key)
        before = self.rows.get(name)
        after = None if value is None else value | key
        if before is after or (before and after and encode(before) == encode(after)):
            return
        if after is None:
            del self.rows[name]
        else:
            self.rows[name] = after
        self.journal.append(Entry(self.now, name, after))
        if self.stream:
            self.stream.shards[int(name, 16) % 2].append(
                Record(self._event(self.stream, key, before, after), self.now)
            )

    def switch_on(self) -> None:
        """By the clock of the records, every record of the new stream is stamped at or after the
        second in which it was created, every older one before."""
        self.next_second()
        created = int(self.now) + self.label_skew
        label = iso(created).replace("Z", f".{len(self.streams):03}")
        self.stream = StreamLife(label, self.table_id)
        self.streams.append(self.stream)

    def switch_off(self) -> None:
        """Switches the stream off. Nothing else is written in that second, because UpdateTable
        takes several seconds."""
        if self.stream:
            self.stream.off_at = self.now
            self.next_second()
        self.stream = None

    def drop(self) -> None:
        """Deletes the table with its rows. The stream has no records of the deletion."""
        self.switch_off()
        self.rows = None
        self.journal.append(Entry(self.now, None, None, exists=False))

    def create(self) -> None:
        self.next_second()
        self.rows = {}
        self.table_id += 1
        self.journal.append(Entry(self.now, None, None))

    def at(self, moment: int) -> dict[str, bytes] | None:
        """Returns the table at the end of this second, as canonical bytes by name, or None if it
        did not exist."""
        rows: dict[str, bytes] | None = {}
        for entry in self.journal:
            if int(entry.at) > moment:
                break
            if entry.name is None:
                rows = {} if entry.exists else None
            elif entry.item is None:
                assert rows is not None
                rows.pop(entry.name)
            else:
                assert rows is not None
                rows[entry.name] = encode(entry.item)
        return rows

    def _event(
        self, stream: StreamLife, key: Item, before: Item | None, after: Item | None
    ) -> dict[str, Any]:
        self._sequence += self.random.choice([1, 1, 7, 10**6])
        moment = self.now if self.random.random() < 0.3 else int(self.now)
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": moment,
            "SequenceNumber": str(self._sequence),
            "Keys": self._shuffled(key),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if before:
            data["OldImage"] = self._shuffled(before)
        if after:
            data["NewImage"] = self._shuffled(after)
        kind = "REMOVE" if after is None else "MODIFY" if before else "INSERT"
        return {"eventName": kind, "eventSourceARN": stream.arn, "dynamodb": data}

    def _shuffled(self, item: Item) -> Item:
        names = list(item)
        self.random.shuffle(names)
        return {name: item[name] for name in names}
