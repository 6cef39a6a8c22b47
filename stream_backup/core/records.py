"""The records that an archive keeps under `meta/` about its own history, and the live table they
are compared with.

Each record is a frozen value, see `Record`. `archive/catalog.py` is the only module that stores
them.
"""

from collections.abc import Mapping as Object
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

from stream_backup.core.moment import iso
from stream_backup.core.record import Record, require_name

ReaderKind = Literal["function", "follow"]
"""Who reads a stream: the deployed Lambda function, or the command `follow`."""


@dataclass(frozen=True, slots=True)
class Stream(Record):
    """A stream as `enable` found it. `floor` is the second in which it was created; `empty` says
    that the archive held no item then; `recorded` is when it was enabled; `announces` says that
    every writer of its changes announces what it writes late."""

    label: str
    arn: str
    table_id: str
    floor: int
    empty: bool
    reader: ReaderKind
    recorded: int
    announces: bool = False

    TIMES: ClassVar = ("floor", "recorded")

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object."""
        found = super(Stream, cls).of(record)
        require_name(found.label)
        return found


@dataclass(frozen=True, slots=True)
class End(Record):
    """The end of a stream that was switched off or replaced: `end` is the last second in which it
    was certainly on."""

    end: int
    reason: str

    TIMES: ClassVar = ("end",)


NO_STREAM = ""
"""The label of a backfill without a stream."""


@dataclass(frozen=True, slots=True)
class Run(Record):
    """A backfill: the floor of its epoch, and the seconds between which it read the table, in the
    table's own time. `counts` has its number of segments and, once it ended, what it read and
    wrote. `witness` is the last second in which it is certain that the stream was still on, 0 where
    nobody looked after the backfill ended."""

    name: str
    stream: str
    floor: int
    asked: int
    answered: int
    complete: bool
    counts: Object[str, int]
    witness: int = 0

    TIMES: ClassVar = ("floor", "asked", "answered", "witness")

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object, which need not have a witness."""
        return super(Run, cls).of({"witness": iso(0), **record})


@dataclass(frozen=True, slots=True, order=True)
class Outage(Record):
    """Changes of this stream after `since` and up to `until` may be lost."""

    stream: str
    since: int
    until: int
    reason: str

    TIMES: ClassVar = ("since", "until")


@dataclass(frozen=True, slots=True)
class Mapping(Record):
    """An event source mapping that reads a stream: `stream` is the stream's label, `failures` the
    bucket that receives its failed batches."""

    uuid: str
    stream: str
    function: str
    failures: str | None
    recorded: int

    TIMES: ClassVar = ("recorded",)

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object."""
        found = super(Mapping, cls).of(record)
        require_name(found.uuid)
        return found


@dataclass(frozen=True, slots=True)
class EnableAttempt(Record):
    """The last attempt to enable the table. `reason` and `hint` say why it failed; they are empty
    once it succeeded."""

    recorded: int
    reason: str
    hint: str

    TIMES: ClassVar = ("recorded",)


@dataclass(frozen=True, slots=True)
class Enrolment(Record):
    """A table that the stack enabled by itself: its TableId, when that was begun (`asked`) and done
    (`enabled`, 0 before), `by` whom (the ARN of the function's role) and `why`: the pattern or the
    tag."""

    table_id: str
    asked: int
    enabled: int
    by: str
    why: str

    TIMES: ClassVar = ("asked", "enabled")


@dataclass(frozen=True, slots=True)
class RedriveRecord(Record):
    """A redrive, recorded before it writes and after each batch: when it `began`, until when it
    `last` wrote at the latest, and what. `lateness` is by how many seconds its versions may be
    later than a stream delivers, where it did not announce that."""

    name: str
    last: int
    batches: int
    changes: int
    reasserted: int
    lateness: int = 0
    began: int = 0

    TIMES: ClassVar = ("last", "began")

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object, which an older release wrote without a
        beginning."""
        return super(RedriveRecord, cls).of({"began": iso(0), **record})


@dataclass(frozen=True, slots=True)
class HoleRecord(Record):
    """A failed batch that was seen at `path` in the failures bucket: changes of this stream from
    `since` to `until` that are not in the archive. It counts until it is closed, even if its object
    has expired."""

    bucket: str
    path: str
    stream: str
    since: int
    until: int
    recorded: int

    TIMES: ClassVar = ("since", "until", "recorded")


@dataclass(frozen=True, slots=True)
class ClosedHole(Record):
    """A failed batch that was redriven or given up, and is therefore no hole any more. `moved` is
    the prefix under which its object is kept."""

    bucket: str
    path: str
    moved: str
    recorded: int

    TIMES: ClassVar = ("recorded",)


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table's settings as they are kept, so that a deleted table can be created again:
    DescribeTable's `Table` in wire form, DescribeTimeToLive's answer, the tags, whether
    point-in-time recovery is on and for how many days (None for AWS's default), and who manages the
    key that encrypts it (`AWS` or `CUSTOMER`), where that is known."""

    table: dict[str, Any]
    time_to_live: dict[str, Any]
    tags: tuple[dict[str, str], ...]
    point_in_time_recovery: bool
    key_manager: str = ""
    recovery_days: int | None = None

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads a description from its JSON object."""
        if not isinstance(record["Table"], dict):
            raise TypeError("it does not describe a table")
        return cls(
            table=record["Table"],
            time_to_live=record.get("TimeToLive", {}),
            tags=tuple(record.get("Tags", ())),
            point_in_time_recovery=bool(record.get("PointInTimeRecovery", False)),
            key_manager=str(record.get("KeyManager", "")),
            recovery_days=record.get("RecoveryPeriodInDays"),
        )

    def record(self) -> dict[str, Any]:
        """Returns the description as a JSON object."""
        known = {"KeyManager": self.key_manager, "RecoveryPeriodInDays": self.recovery_days}
        return {
            "Table": self.table,
            "TimeToLive": self.time_to_live,
            "Tags": list(self.tags),
            "PointInTimeRecovery": self.point_in_time_recovery,
        } | {name: value for name, value in known.items() if value}


class Live(NamedTuple):
    """The table as DescribeTable shows it now. `label` is that of the stream that is on, None when
    no stream is on. `filling` says that it is not the table that the archive knows, but a new one
    with the same name, which a restore is filling."""

    description: dict[str, Any]
    label: str | None
    filling: bool = False

    @property
    def created(self) -> int:
        """The second in which the table was created."""
        return int(self.description["CreationDateTime"])
