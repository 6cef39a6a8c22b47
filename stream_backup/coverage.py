"""Which moments the archive answers exactly: epochs, computed from the records under `meta/`.

History is complete only while one stream of one table is read without a hole, and only from the end of the first complete
backfill on: before that, an item without a version may still have existed. So each stream, and each stretch of a stream
after an outage, may carry one epoch:

    floor   no version stamped before it counts: older lives of the table cannot come back
    start   the earliest exact moment: the end of the first complete backfill
    end     the latest exact moment; None while the stream is on and read

Changes that wait in a failed batch are a hole: from the first of them on no moment of their epoch is exact, until they are
put back. A moment in a hole, between two epochs, or outside all, is refused. Pure: it reads no clock and no store.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, Self

from stream_backup.errors import CoverageError
from stream_backup.moment import from_iso, iso

Reader = Literal["function", "follow"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as `enable` found it. `floor` is the second it was created; `empty`: the archive held nothing then."""

    label: str
    arn: str
    table_id: str
    floor: int
    empty: bool
    reader: Reader
    recorded: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        known = {name: record[name] for name in cls.__slots__}
        return cls(**known | {name: from_iso(record[name]) for name in ("floor", "recorded")})

    def record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {
            "floor": iso(self.floor),
            "recorded": iso(self.recorded),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A backfill: its epoch's floor, when it asked first and was done, in the table's own time."""

    name: str
    stream: str
    floor: int
    asked: int
    answered: int
    complete: bool
    counts: Mapping[str, int]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        known = {name: record[name] for name in cls.__slots__}
        return cls(**known | {name: from_iso(record[name]) for name in ("floor", "asked", "answered")})

    def record(self) -> dict[str, Any]:
        times = {name: iso(getattr(self, name)) for name in ("floor", "asked", "answered")}
        return {name: getattr(self, name) for name in self.__slots__} | times


class Outage(NamedTuple):
    """Changes of this stream after `since` and up to `until` may be lost."""

    stream: str
    since: int
    until: int
    reason: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        return cls(record["stream"], from_iso(record["since"]), from_iso(record["until"]), record["reason"])

    def record(self) -> dict[str, Any]:
        return self._asdict() | {"since": iso(self.since), "until": iso(self.until)}


class Hole(NamedTuple):
    """Changes of this stream, stamped from `since` up to `until`, wait in a failed batch. Nothing about them is lost yet."""

    stream: str
    since: int
    until: int


class Epoch(NamedTuple):
    stream: str
    floor: int
    start: int
    end: int | None

    def holds(self, moment: int, latest: int) -> bool:
        return self.start <= moment <= (latest if self.end is None else self.end)


class Stretch(NamedTuple):
    """A piece of one stream without a hole, which a backfill may turn into an epoch. `healed_from` is where the outage
    before it ended, None at the beginning of the stream."""

    stream: Stream
    healed_from: int | None
    end: int | None


def stretches(streams: Iterable[Stream], ends: Mapping[str, int], outages: Iterable[Outage]) -> list[Stretch]:
    """In order of time. A stream with a later one but no recorded end is closed where it began: nothing witnesses more."""
    ordered = sorted(streams, key=lambda stream: stream.floor)
    found = []
    for stream, successor in zip_longest(ordered, ordered[1:]):
        end = ends.get(stream.label, stream.floor if successor else None)
        if end is not None and successor:
            end = min(end, successor.floor - 1)
        healed_from = None
        for outage in sorted(outage for outage in outages if outage.stream == stream.label):
            found.append(Stretch(stream, healed_from, outage.since if end is None else min(end, outage.since)))
            healed_from = max(outage.until, healed_from or 0)
        found.append(Stretch(stream, healed_from, end))
    return found


def epochs(pieces: Iterable[Stretch], runs: Iterable[Run]) -> list[Epoch]:
    """Each stretch from the end of its first complete backfill on; stretches without one carry none."""
    complete = sorted((run for run in runs if run.complete), key=lambda run: run.answered)
    found = []
    for stream, healed_from, end in pieces:
        for run in complete:
            fits = run.stream == stream.label and run.floor >= (stream.floor if healed_from is None else healed_from)
            if fits and (end is None or run.answered <= end):
                floor = stream.floor if healed_from is None else run.floor
                found.append(Epoch(stream.label, floor, run.answered, end))
                break
    return found


@dataclass(frozen=True, slots=True)
class Coverage:
    """`latest` is the last exact moment of an epoch that has no end yet: how far the stream has been read for certain."""

    epochs: tuple[Epoch, ...]
    latest: int
    holes: tuple[Hole, ...] = ()

    def epoch_at(self, moment: int) -> Epoch | None:
        return next((epoch for epoch in self.epochs if epoch.start <= moment <= self.end_of(epoch)), None)

    def end_of(self, epoch: Epoch) -> int:
        """The last exact moment of an epoch, before its start where it has none."""
        end = self.latest if epoch.end is None else epoch.end
        return min([end, *(hole.since - 1 for hole in self.holes_in(epoch))])

    def holes_in(self, epoch: Epoch) -> list[Hole]:
        """Those that concern this epoch: what is stamped before its floor does not count in it anyway."""
        return [hole for hole in self.holes if hole.stream == epoch.stream and hole.until >= epoch.floor]

    @property
    def bounds(self) -> tuple[int, int] | None:
        """(earliest, latest) exact moments of the newest epoch, or None when there is none."""
        if not self.epochs:
            return None
        newest = self.epochs[-1]
        return newest.start, self.end_of(newest)

    def require(self, moment: int, table: str) -> Epoch:
        """The epoch that holds `moment`; raises CoverageError with the bounds and the way out."""
        if epoch := self.epoch_at(moment):
            return epoch
        override = "or pass --incomplete-ok to take what there is, which may not be exact."
        if not self.epochs:
            raise CoverageError(
                f"The archive of {table} covers no moment yet: no complete backfill was made while its stream was on.",
                f"Run: stream-backup backfill {table}; {override}",
            )
        newest = self.epochs[-1]
        if torn := next((epoch for epoch in self.epochs if epoch.holds(moment, self.latest)), None):
            since = iso(min(hole.since for hole in self.holes_in(torn)))
            way = f"Failed batches wait with changes from {since} on; put them back: stream-backup redrive {table}"
        elif newest.end is None and moment > self.latest:
            way = f"Its stream is read up to {iso(self.latest)}: wait, or without a function: stream-backup follow {table} --once"
        else:
            way = "Choose a moment inside"
        raise CoverageError(
            f"{iso(moment)} is outside what the archive of {table} can answer exactly: {self._spans()}.",
            f"{way}; {override}",
        )

    def _spans(self) -> str:
        spans = [(epoch.start, self.end_of(epoch)) for epoch in self.epochs]
        return ", and ".join(f"{iso(start)} to {iso(end)}" for start, end in spans if end >= start) or "no moment yet"
