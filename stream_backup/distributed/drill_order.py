"""What every worker of a distributed drill must know, as data: the settings of its job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from restore.order import RestoreOrder
from restore.rewind_slices import RewindOrder
from restore.target import Target
from stream_backup.archive.layout import Archive
from stream_backup.archive.ranges import Ranges
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.drill import DrillRecord
from stream_backup.core.key import KeySchema
from stream_backup.core.records import TableDescription
from stream_backup.core.slice import NameSlice
from stream_backup.drill.compare import CompareOrder
from stream_backup.drill.scratch import Scratch


@dataclass(frozen=True, slots=True)
class DrillOrder:
    """A drill whose scratch table has just been created. `record` is what is known of it so far.

    Its worker may change the scratch table until the second `until`. `restoring` is the second in
    which the restore began. `restore` and `rewind` say what is written; without another exact
    moment there is no rewind. The items are those whose names are in `part`, all of them where it
    is empty. `arn`, `identity` and `description` are those of the scratch table. Names are cut into
    `slices`, and a scan of the scratch table has so many `segments`.
    """

    record: DrillRecord
    until: int
    restoring: int
    restore: RestoreOrder
    rewind: RewindOrder | None
    key: KeySchema
    part: tuple[NameSlice, ...]
    arn: str
    identity: str
    description: TableDescription
    slices: int
    segments: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Reads an order from the settings of a job. Raises KeyError, TypeError or ValueError when
        they are none."""
        rewind = settings["rewind"]
        return cls(
            record=DrillRecord.of(settings["record"]),
            until=int(settings["until"]),
            restoring=int(settings["restoring"]),
            restore=RestoreOrder.of(settings["restore"]),
            rewind=RewindOrder.of(rewind) if rewind else None,
            key=KeySchema(tuple((name, kind) for name, kind in settings["key"])),
            part=tuple(NameSlice.of(each) for each in settings["part"]),
            arn=str(settings["arn"]),
            identity=str(settings["identity"]),
            description=TableDescription.of(settings["description"]),
            slices=int(settings["slices"]),
            segments=int(settings["segments"]),
        )

    def settings(self) -> dict[str, Any]:
        """Returns the order as a JSON object."""
        return {
            "record": self.record.record(),
            "until": self.until,
            "restoring": self.restoring,
            "restore": self.restore.record(),
            "rewind": self.rewind.record() if self.rewind else None,
            "key": [list(each) for each in self.key.attributes],
            "part": [each.record() for each in self.part],
            "arn": self.arn,
            "identity": self.identity,
            "description": self.description.record(),
            "slices": self.slices,
            "segments": self.segments,
        }

    @property
    def scratch(self) -> Scratch:
        """The scratch table."""
        found = self.record
        return Scratch(found.scratch, found.archive, found.table, self.until)

    @property
    def first(self) -> CompareOrder:
        """How the copy is compared after it was restored."""
        return CompareOrder(self.restore.moment, self.restore.floor)

    @property
    def second(self) -> CompareOrder | None:
        """How it is compared after it was rewound."""
        return CompareOrder(self.rewind.moment, self.rewind.floor) if self.rewind else None

    def archive(self, connection: Connection) -> Archive:
        """Returns the archive with only the items of the drill."""
        whole = connection.archive(self.record.table, self.key)
        return Ranges(whole, self.part) if self.part else whole

    def target(self, dynamodb: DynamoDB) -> Target:
        """Returns the scratch table as the restore fills it."""
        known = dynamodb, self.scratch.name, self.arn, self.description, self.identity
        return Target(*known, resumed=False, had_rows=False)
