"""The items that changed between two moments: what each was before and after, and by which changes.

A window is (since, until]: what happened in the second `since` is before it, what happened in the
second `until` is in it. The listing passes over every item that has no version in the window, so
bodies are read only of items that may have changed. The result is the same as if every version of
every item were read.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from threading import Lock

from stream_backup.archive.chunks import read_chunks
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.reading import Reading
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, merge_slices
from stream_backup.capture.point import RestorePoint
from stream_backup.core.as_of import from_the_future, item_at, require_announced
from stream_backup.core.change import Change
from stream_backup.core.item import Item
from stream_backup.core.second import distinct
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import FOREVER, NEVER, Lateness, is_ahead, latest_stamp, settled
from stream_backup.errors import ArchiveError
from stream_backup.progress import Progress, Task

_TOLD = 1000
"""Versions between two reports of how far a slice was examined."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One item that changed in a window, though it may have ended as it began.

    `name` is the hash of its key. `key` is empty where the item existed neither before nor after,
    and no version that has the key was read. `before` and `after` are the canonical bodies of the
    item at the two moments, None where it did not exist. `stamps` are those of its changes in the
    window, each once, in order. A scan among them means that a change was lost: it found the item
    as no change had left it. `history` is the item as it was listed.
    """

    name: str
    key: Item
    before: bytes | None
    after: bytes | None
    stamps: tuple[Stamp, ...]
    history: History = field(compare=False, repr=False)

    @property
    def differs(self) -> bool:
        """Whether the item ended otherwise than it began."""
        return self.before != self.after

    @property
    def first(self) -> int:
        """The second of the first change, in epoch seconds."""
        return self.stamps[0].at

    @property
    def last(self) -> int:
        """The second of the last change, in epoch seconds."""
        return self.stamps[-1].at

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its changes, in order, each once."""
        return tuple(dict.fromkeys(stamp.kind for stamp in self.stamps))

    @property
    def by(self) -> tuple[str, ...]:
        """Who made its changes as far as the stream recorded it, each once."""
        return tuple(dict.fromkeys(stamp.by for stamp in self.stamps if stamp.by))


@dataclass(frozen=True, slots=True)
class Since:
    """What happened to an item after a window. `changes` are its versions stamped after the window
    with their bodies, each once, by rank; scans are among them. `present` is the canonical body of
    the item now, according to the archive, None when it does not exist."""

    changes: tuple[Change, ...]
    present: bytes | None


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in (since, until], in epoch seconds.

    `archive` has the table's key schema. `floor` and `floor_until` are the floors of the two
    moments; they are the same in one epoch, and otherwise every item is read. `lateness` is how
    late the versions that count may have been written.
    """

    archive: Archive
    since: int
    until: int
    floor: int
    floor_until: int
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen

    @classmethod
    def between(cls, archive: Archive, since: RestorePoint, until: RestorePoint) -> "Window":
        """Returns the window between two moments that were resolved."""
        return cls(archive, since.moment, until.moment, since.floor, until.floor, until.lateness)

    def may_contain(self, history: History) -> bool:
        """Returns whether the listing allows that this item changed in the window."""
        if self.floor != self.floor_until:
            return True
        for version in history.versions:  # the newest written first
            if settled(version, self.since):
                return False
            if self.lateness.may_matter(version, self.until):
                return True
        return False

    def changed(self, history: History) -> Changed | None:
        """Returns what happened to this item in the window, None when nothing did.

        Raises ArchiveError when a version that it needs cannot be read.
        """
        if not self.may_contain(history):
            return None
        reading, versions = Reading(self.archive, self.until), history.versions
        early = reading.at(self.since)
        found = item_at(versions, self.until, self.floor_until, reading.look, self.lateness)
        former = item_at(versions, self.since, self.floor, early.look, self.lateness)
        stamps = self._stamps(history, reading.at(NEVER))
        after, before = reading.whole(found), early.whole(former)
        bodies = (before.body if before else None, after.body if after else None)
        if not stamps and bodies[0] == bodies[1]:
            return None
        if not stamps:  # what differs was found by a scan, and lost before
            stamps = [each.stamp for each in (found or former,) if each]
        key = next((each.key for each in (after, before) if each and each.key), {})
        return Changed(history.name, key, *bodies, tuple(stamps), history)

    def _stamps(self, history: History, reading: Reading) -> list[Stamp]:
        """The stamps of the streamed changes in the window. A change counts once, however often it
        was written. `reading` transfers no bodies."""
        found = []
        floor = min(self.floor, self.floor_until)
        for version in history.versions:
            if latest_stamp(version) <= self.since:
                break
            if not self.lateness.may_matter(version, self.until):
                continue
            stamp = reading.look(version).stamp
            if stamp.at < floor:
                continue
            require_announced(version, stamp, self.lateness)
            if self.since < stamp.at <= self.until and stamp.streamed:
                if is_ahead(version, stamp.at):
                    raise from_the_future(version, stamp)
                found.append(stamp)
        return distinct(found)

    def after(self, changed: Changed, floor_now: int) -> Since:
        """Returns what happened to an item since the window. `floor_now` is the floor of the epoch
        that holds the present. It reads every version written since, each once.

        Raises ArchiveError when one of them cannot be read.
        """
        versions = changed.history.versions
        if self.floor_until == floor_now and all(settled(each, self.until) for each in versions):
            return Since((), changed.after)
        reading = Reading(self.archive, FOREVER)
        found = {}
        for version in versions:
            if latest_stamp(version) <= self.until:
                break
            loaded = reading.look(version)
            if loaded.stamp.at > self.until and (change := reading.whole(loaded)):
                found[loaded.stamp.rank, loaded.stamp.seen] = change
        now = reading.whole(item_at(versions, FOREVER, floor_now, reading.look, self.lateness))
        return Since(tuple(found[rank] for rank in sorted(found)), now.body if now else None)


@dataclass(slots=True)
class Examined:
    """What was examined so far: `versions` that were listed, and the errors of items that could not
    be read. Thread-safe."""

    versions: int = 0
    unreadable: list[ArchiveError] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def walk(
        self, histories: Iterable[History], part: str, task: Task, fraction: HashFraction
    ) -> Iterator[History]:
        """Yields the histories of a slice, counts their versions, and reports how far it got."""
        count, name = 0, part.ljust(8, "0")
        for history in histories:
            count, name = count + len(history.versions), history.name
            if count >= _TOLD:
                self._tell(count, name, task, fraction)
                count = 0
            yield history
        self._tell(count, name, task, fraction)

    def _tell(self, count: int, name: str, task: Task, fraction: HashFraction) -> None:
        with self._lock:
            self.versions += count
        task.advance(count, fraction.reach(name))


def changes(
    window: Window, chosen: Selection, pool: Executor, examined: Examined, progress: Progress
) -> Iterator[Changed]:
    """Yields the selected items that changed in a window, in no particular order; those that ended
    as they began too. Memory does not grow with the table. An item that cannot be read is counted
    instead."""
    fraction = HashFraction(len(chosen.slices))

    def one(history: History) -> Changed | None:
        try:
            return window.changed(history)
        except ArchiveError as error:
            examined.unreadable.append(error)
            return None

    with progress.task("Examining the archive", "versions") as task:

        def candidates(part: str) -> Iterator[History]:
            for history in examined.walk(chosen.histories(part), part, task, fraction):
                if window.may_contain(history):
                    yield history

        def find(part: str) -> Iterator[Changed]:
            found = read_chunks(one, candidates(part), pool)
            return (changed for changed in found if changed)

        yield from merge_slices(find, chosen.slices)
