"""What every worker of a restore into a table must know besides its slices, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from restore.plan import Rebuild
from restore.writer import PATIENCE
from stream_backup.archive.layout import Archive
from stream_backup.core.item import Item
from stream_backup.core.lateness_record import lateness_of, lateness_record
from stream_backup.core.time_rule import Lateness


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """Every item is written into table `into` as it was at `moment`, by the rule of time that
    `floor` and `lateness` complete (`Rebuild`); with `keys` only these items. `rate` is the limit
    of one worker in items a second, None for no limit. A table that takes nothing for `patience`
    seconds is a failure.

    Every worker must be given the same order: a lateness that was read later would be another rule.
    """

    into: str
    moment: int
    floor: int
    lateness: Lateness
    keys: tuple[Item, ...] = ()
    rate: float | None = None
    patience: float = PATIENCE

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Reads an order from its JSON object. Raises KeyError, TypeError or ValueError when the
        object is none."""
        return cls(
            into=str(record["into"]),
            moment=int(record["moment"]),
            floor=int(record["floor"]),
            lateness=lateness_of(record["lateness"]),
            keys=tuple(record["keys"]),
            rate=record["rate"],
            patience=float(record["patience"]),
        )

    def record(self) -> dict[str, Any]:
        """Returns the order as a JSON object."""
        return {
            "into": self.into,
            "moment": self.moment,
            "floor": self.floor,
            "lateness": lateness_record(self.lateness),
            "keys": list(self.keys),
            "rate": self.rate,
            "patience": self.patience,
        }

    def plan(self, archive: Archive) -> Rebuild:
        """Returns the plan, which reads this archive."""
        return Rebuild(archive, self.moment, self.floor, lateness=self.lateness)
