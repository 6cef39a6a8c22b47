"""What a repair was, and when it begins an epoch.

A repair compares every row of a table with the archive and writes what the archive had wrong on
top. The rows that were right keep their versions, so its epoch has the floor of the one before.
That is sound as long as no change from before its scan is written after its comparison: such a
change could rank above a version that was right, while a later one was lost. A writer announces
what it writes more than minutes late, and the comparison begins only after these minutes. So a
repair counts unless an announcement reaches behind it.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Mapping as Object
from dataclasses import dataclass
from typing import ClassVar

from stream_backup.core.record import Record
from stream_backup.core.records import Outage
from stream_backup.core.time_rule import late_hour


@dataclass(frozen=True, slots=True)
class Repair(Record):
    """A repair of one stream's epoch with this `floor`.

    Its scan was asked at `asked`, and every row was read by `read`. The comparison began at
    `listed`. What it wrote was written from `began` on, and counts from `answered` on. `since` and
    `until` are those of the outage that it recorded, 1970-01-01 where it recorded none. `counts`
    has the rows that it wrote, by kind.
    """

    name: str
    stream: str
    floor: int
    asked: int
    read: int
    listed: int
    began: int
    since: int
    until: int
    answered: int
    complete: bool
    counts: Object[str, int]

    TIMES: ClassVar = (
        "floor",
        "asked",
        "read",
        "listed",
        "began",
        "since",
        "until",
        "answered",
    )

    def heals(self, outages: Iterable[Outage]) -> bool:
        """Whether it repaired what was lost in these outages: those that were over when it asked
        for the first row, and its own, whose losses are what it found."""
        own = (self.since, self.until)
        return self.complete and all(
            each.until <= self.asked or (each.since, each.until) == own for each in outages
        )

    def late_until(self, announced: Mapping[int, int]) -> int:
        """Returns the last second in which versions from before its scan may have been written
        after its comparison began, 0 for never. `announced` has the seconds announced by hour."""
        hours = [late_hour(*each, self.read + 1) for each in announced.items()]
        return max((each.seen for each in hours if each and each.seen >= self.listed), default=0)


def standing(repairs: Iterable[Repair], announced: Mapping[int, int]) -> list[Repair]:
    """Returns the repairs that count."""
    return [each for each in repairs if each.complete and not each.late_until(announced)]
