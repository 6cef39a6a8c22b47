"""How long a bucket keeps superseded versions, and which moments that leaves.

A version becomes noncurrent when its successor is written, and a lifecycle rule removes it no
earlier than `NoncurrentDays` after that (Amazon S3 User Guide, "Lifecycle configuration elements").
So of a moment that is no older than that many days, every version still exists. A rule that was
shorter once has removed versions that no longer rule brings back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from stream_backup.core.moment import iso
from stream_backup.core.record import Record
from stream_backup.core.time_rule import FOREVER, NEVER, oldest_kept

DAY = 24 * 3600


class Bound(NamedTuple):
    """A moment beyond which nothing is exact, in epoch seconds, and one sentence that says why."""

    moment: int
    why: str

    @property
    def text(self) -> str | None:
        """The moment in ISO-8601, None when no moment is meant."""
        return iso(self.moment) if NEVER < self.moment < FOREVER else None


@dataclass(frozen=True, slots=True)
class Retention(Record):
    """The bucket keeps superseded versions for `days` days: as far as is known it still does, or it
    did until `until` at the latest, where that is not `current`."""

    days: int
    until: int
    current: bool

    TIMES: ClassVar = ("until",)


ALL = Bound(NEVER, "The bucket keeps every version.")
"""The bound of a bucket that never had a rule for superseded versions."""

UNKNOWN = Bound(
    FOREVER,
    "It is unknown how long the bucket keeps superseded versions: its lifecycle rules may not be"
    " read, and none is on record.",
)
"""The bound where nothing says how long versions are kept: no moment is exact."""


def kept_since(days: int | None, known: bool, records: Iterable[Retention], now: int) -> Bound:
    """Returns the earliest moment of which every version still exists. `days` is the shortest rule
    that applies now, None when no rule does; `known` says whether the rules could be read;
    `records` are the rules that were seen before."""
    found = [
        Bound(
            oldest_kept(record.days * DAY, now if record.current else record.until), _kept(record)
        )
        for record in records
    ]
    if not known and not found:
        return UNKNOWN
    if days is not None:
        found.append(Bound(oldest_kept(days * DAY, now), _kept(Retention(days, now, current=True))))
    return max([ALL, *found], key=lambda bound: bound.moment)


def changes(days: int | None, records: Sequence[Retention], now: int) -> list[Retention]:
    """Returns the records to write when the shortest rule is seen to be `days`, None for no
    rule."""
    ended = [
        Retention(record.days, now, current=False)
        for record in records
        if record.current and record.days != days
    ]
    same = any(record.current and record.days == days for record in records)
    return ended if days is None or same else [*ended, Retention(days, now, current=True)]


def _kept(record: Retention) -> str:
    verb = "keeps" if record.current else f"kept until {iso(record.until)}"
    unit = "day" if record.days == 1 else "days"
    return f"The bucket {verb} superseded versions for {record.days} {unit}."
