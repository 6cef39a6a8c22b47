"""The plan of a restore: for each item what must be put, deleted or left, computed from the archive
alone. It only reads.

`Rebuild` asks what every item was at the moment. `Rewind` asks that only of items with a version
written after the moment, and compares it with what they are now. Both produce their steps slice by
slice, so that memory does not grow with the table, and count what they found. Executing a plan
consumes these very steps.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, NamedTuple, Protocol

from stream_backup.archive.chunks import whole_chunks
from stream_backup.archive.layout import Archive, History, Stat
from stream_backup.archive.reading import Reading
from stream_backup.core.as_of import item_at
from stream_backup.core.item import Item, digest
from stream_backup.core.time_rule import FOREVER, Lateness, latest_stamp, settled
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError

Action = Literal["put", "delete", "unchanged", "absent", "unknown"]
"""`unknown` is an item that has no version that old, where that does not mean that it did not
exist."""


class Step(NamedTuple):
    """What to do with one item. `key` is empty where no body or tombstone was read; `body` is what
    to put; `now` is the digest of the present item according to the archive, None when there is
    none. `unread` is the version whose ETag `now` is, where no body was read: under SSE-KMS an ETag
    is not a digest."""

    action: Action
    name: str
    key: Item
    body: bytes | None = None
    now: str | None = None
    unread: Version | None = None


@dataclass(slots=True)
class Tally:
    """What a plan found so far. `unreadable` has the errors of versions that could not be read.
    Thread-safe."""

    steps: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    unreadable: list[ArchiveError] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def planned(self, found: "Iterable[tuple[Step | Unreadable, int]]") -> None:
        """Counts steps, and items whose versions could not be read, each with the number of
        versions that were listed for it."""
        with self._lock:
            for step, versions in found:
                self.versions += versions
                if isinstance(step, Unreadable):
                    self.unreadable.append(step.error)
                else:
                    self.steps[step.action] += 1

    def add(self, counted: "Counted") -> None:
        """Adds what was counted of a part."""
        with self._lock:
            self.steps.update(counted.steps)
            self.versions += counted.versions
            self.unreadable += counted.unreadable

    def counted(self) -> "Counted":
        """Returns what has been counted so far."""
        with self._lock:
            return Counted(dict(self.steps), self.versions, tuple(self.unreadable))


class Counted(NamedTuple):
    """What a tally has found, as data."""

    steps: dict[str, int]
    versions: int
    unreadable: tuple[ArchiveError, ...]


class Planner(Protocol):
    """Decides what to do with each item of an archive."""

    @property
    def archive(self) -> Archive:
        """The archive that is read."""

    def step(self, history: History) -> Step:
        """Returns what to do with one item. Raises ArchiveError when a version that it needs cannot
        be read."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Puts every item as it was at `moment`. Without `bodies` the steps only count: stamps are
    read, items are not. `lateness` is that of `item_at`."""

    archive: Archive
    moment: int
    floor: int
    bodies: bool = True
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen

    def step(self, history: History) -> Step:
        """Returns what the item was at the moment."""
        if not self.bodies:
            stat = item_at(
                history.versions, self.moment, self.floor, self.archive.stat, self.lateness
            )
            return Step("absent" if stat is None or stat.stamp.removes else "put", history.name, {})
        reading = Reading(self.archive, self.moment)
        change = reading.whole(
            item_at(history.versions, self.moment, self.floor, reading.look, self.lateness)
        )
        if change is None or change.body is None:
            return Step("absent", history.name, {})
        return Step("put", history.name, change.key, change.body)


@dataclass(frozen=True, slots=True)
class Rewind:
    """Changes the live table to what it was at `moment`, given that it is now what the archive says
    it is. A table that is a copy of another moment, `present`, is changed in the same way.

    Where the moment is not `exact`, an item without a version that old is left as it is: the
    version may have expired, or may never have been written.

    `floor_now` is the floor of the epoch that holds `present`. Where it is not the moment's
    floor, no item can be skipped unread.
    """

    archive: Archive
    moment: int
    floor: int
    floor_now: int
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen
    exact: bool = True
    present: int = FOREVER

    def step(self, history: History) -> Step:
        """Returns how the row of one item must change."""
        newest = history.versions[0]
        if settled(newest, min(self.moment, self.present)) and self.floor == self.floor_now:
            exists = newest.size and latest_stamp(newest) >= self.floor
            return Step("unchanged" if exists else "absent", history.name, {})
        reading = Reading(self.archive, self.moment)
        look, lateness = reading.look, self.lateness
        then = reading.whole(item_at(history.versions, self.moment, self.floor, look, lateness))
        if then is None and not self.exact and not self._existed(history):
            return Step("unknown", history.name, {})
        now = item_at(history.versions, self.present, self.floor_now, look, lateness)
        wanted = then.body if then else None
        known = isinstance(now, Stat) and not now.stamp.removes
        if then and isinstance(now, Stat) and known and _etags_are_digests(history, wanted):
            key, unread = then.key, now.version
            present: str | None = unread.etag
        else:
            whole, unread = reading.whole(now), None
            key = then.key if then else whole.key if whole else {}
            present = digest(whole.body) if whole and whole.body is not None else None
        if wanted is None:
            return Step("delete" if present else "absent", history.name, key, None, present)
        if digest(wanted) == present:
            return Step("unchanged", history.name, key, None, present)
        return Step("put", history.name, key, wanted, present, unread)

    def _existed(self, history: History) -> bool:
        """Whether any version says what the item was at the moment, be it that it was removed."""
        stamps = (self.archive.stat(version).stamp for version in history.versions)
        return any(stamp.at >= self.floor and stamp.seen <= self.moment for stamp in stamps)


def _etags_are_digests(history: History, body: bytes | None) -> bool:
    """Whether ETags are digests here, as this body shows: its own version's is, so those of other
    versions are too, unless the bucket's encryption was changed in between."""
    return body is not None and any(version.etag == digest(body) for version in history.versions)


def steps(
    planner: Planner, histories: Iterable[History], pool: Executor, tally: Tally
) -> Iterator[Step]:
    """Yields the steps of these histories in their order, read by `pool` a chunk at a time. A
    history with an unreadable version is counted instead."""
    for chunk in step_chunks(planner, histories, pool, tally):
        yield from (step for step in chunk if isinstance(step, Step))


class Unreadable(NamedTuple):
    """An item with a version that cannot be read."""

    name: str
    error: ArchiveError


def step_chunks(
    planner: Planner, histories: Iterable[History], pool: Executor, tally: Tally
) -> Iterator[Sequence[Step | Unreadable]]:
    """Yields what `steps` yields a chunk at a time, with the items that could not be read in their
    places."""

    def one(history: History) -> tuple[Step | Unreadable, int]:
        versions = len(history.versions)
        try:
            return planner.step(history), versions
        except ArchiveError as error:
            return Unreadable(history.name, error), versions

    for chunk in whole_chunks(one, histories, pool):
        tally.planned(chunk)  # not what was read ahead: that may be dropped
        yield [step for step, _ in chunk]
