"""How far unfinished work has come, as it is kept under `meta/` so that the same command resumes it
on any machine."""

from collections.abc import Mapping as Object
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from stream_backup.core.item import Item
from stream_backup.core.record import Record


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """How far `follow` has read a shard: `position` is the sequence number of the last record that
    was delivered, None before the first. A shard that was read to its end is `done`, and its
    `parent` is kept for its children."""

    done: bool
    parent: str | None = None
    position: str | None = None

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads a position from its JSON object."""
        return cls(bool(record["done"]), record["parent"], record.get("position"))

    def record(self) -> dict[str, Any]:
        """Returns the position as a JSON object."""
        found = {"done": self.done, "parent": self.parent}
        return found if self.done else found | {"position": self.position}


@dataclass(frozen=True, slots=True)
class FollowCheckpoint(Record):
    """How far `follow` has read a stream. `caught_up` is the second up to which every change has
    been delivered, `beat` when this was written, `running` whether the process goes on, `drained`
    whether the stream is off and was read to its end."""

    caught_up: int
    beat: int
    running: bool
    drained: bool
    shards: Object[str, ShardPosition]

    TIMES: ClassVar = ("caught_up", "beat")

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads a checkpoint from its JSON object."""
        shards = {name: ShardPosition.of(each) for name, each in record["shards"].items()}
        return super(FollowCheckpoint, cls).of({**record, "shards": shards})

    def record(self) -> dict[str, Any]:
        """Returns the checkpoint as a JSON object."""
        shards = {name: position.record() for name, position in self.shards.items()}
        return super(FollowCheckpoint, self).record() | {"shards": shards}


@dataclass(frozen=True, slots=True)
class SegmentCheckpoint(Record):
    """How far a segment of a backfill has been scanned: `next` is the key to scan from, None at the
    end; `counts` are those of all its pages so far."""

    next: Item | None
    counts: Object[str, int]
