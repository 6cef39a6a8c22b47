"""How far the checks of an archive have come that look at a part of it each time."""

from collections.abc import Mapping as Object
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from stream_backup.core.record import Record

CheckKind = Literal["listing", "deep"]
"""Whether the versions were only listed, or each of them was read."""


@dataclass(frozen=True, slots=True)
class CheckRound(Record):
    """A round of checks through all items, each of which looked at a part. It began at `began`, and
    the last of them ended at `last`. `next` has for each slice the name after which the next check
    goes on, null at its end. `found` has the number of findings of each kind in the round."""

    began: int
    last: int
    next: Object[str, str | None] = field(default_factory=dict)
    found: Object[str, int] = field(default_factory=dict)

    TIMES: ClassVar = ("began", "last")

    @property
    def over(self) -> bool:
        """Whether every item has been looked at."""
        return bool(self.next) and all(name is None for name in self.next.values())
