"""The plan of a restore: for each item what must be put, deleted or left, computed from the archive alone. It only reads.

`Rebuild` asks what every item was at the moment; `Rewind` asks it only of items with a version written after the moment,
and says how they differ from what they are now. Both hand out their steps shard by shard, so that memory does not grow
with the table, and tally what they found. Executing a plan consumes these very steps.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import Literal, NamedTuple, Protocol

from restore.reading import Reading
from stream_backup.archive import SHARDS, Archive, History, Stat
from stream_backup.change import MARGIN
from stream_backup.errors import ArchiveError
from stream_backup.item import Item, digest
from stream_backup.key import key_hash
from stream_backup.store import Version
from stream_backup.timeline import FOREVER as FOREVER
from stream_backup.timeline import item_at, latest_at

Action = Literal["put", "delete", "unchanged", "absent"]

CHUNK_ITEMS = 100
TASK = 5
"""Items a thread reads one after another: handing one over costs as much as a fifth of reading it."""

CHUNK_BYTES = 4 * 2**20
"""How much of a shard is looked at together: what bounds memory."""


class Step(NamedTuple):
    """`key` is empty where no body or tombstone was read; `body` is what to put; `now` the digest of what the archive
    says is there at present, None for nothing. `unread` is the version `now` is only the ETag of: no MD5 under SSE-KMS."""

    action: Action
    name: str
    key: Item
    body: bytes | None = None
    now: str | None = None
    unread: Version | None = None


@dataclass(slots=True)
class Tally:
    """What a plan found so far. `unreadable` holds the errors of versions that could not be read."""

    steps: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    unreadable: list[ArchiveError] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def listed(self, versions: int) -> None:
        with self._lock:
            self.versions += versions

    def planned(self, step: Step | ArchiveError) -> None:
        with self._lock:
            if isinstance(step, ArchiveError):
                self.unreadable.append(step)
            else:
                self.steps[step.action] += 1


class Planner(Protocol):
    @property
    def archive(self) -> Archive: ...

    def step(self, history: History) -> Step: ...


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Every item as it was at `moment`. Without `bodies` the steps only count: stamps are read, items are not.
    `lateness` as in `item_at`."""

    archive: Archive
    moment: int
    floor: int
    bodies: bool = True
    lateness: int = 0

    def step(self, history: History) -> Step:
        if not self.bodies:
            stat = item_at(history.versions, self.moment, self.floor, self.archive.stat, self.lateness)
            return Step("absent" if stat is None or stat.stamp.kind == "remove" else "put", history.name, {})
        reading = Reading(self.archive, self.moment)
        change = reading.whole(item_at(history.versions, self.moment, self.floor, reading.look, self.lateness))
        if change is None or change.body is None:
            return Step("absent", history.name, {})
        return Step("put", history.name, change.key, change.body)


@dataclass(frozen=True, slots=True)
class Rewind:
    """How the live table must change to be as it was at `moment`, given that it is now what the archive says it is.

    `floor_now` is the floor of the epoch that holds the present; where it is another than the moment's, no item can be
    passed over unread.
    """

    archive: Archive
    moment: int
    floor: int
    floor_now: int
    lateness: int = 0

    def step(self, history: History) -> Step:
        newest = history.versions[0]
        settled = latest_at(newest) + 1 + MARGIN <= self.moment
        if settled and self.floor == self.floor_now:
            return Step("unchanged" if newest.size and latest_at(newest) >= self.floor else "absent", history.name, {})
        reading = Reading(self.archive, self.moment)
        then = reading.whole(item_at(history.versions, self.moment, self.floor, reading.look, self.lateness))
        now = item_at(history.versions, FOREVER, self.floor_now, reading.look, self.lateness)
        wanted = then.body if then else None
        if then and isinstance(now, Stat) and now.stamp.kind != "remove" and _etags_are_digests(history, wanted):
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


def _etags_are_digests(history: History, body: bytes | None) -> bool:
    """As this body shows: its own version's is, so those of other versions are too, unless the bucket's encryption was changed
    in between."""
    return body is not None and any(version.etag == digest(body) for version in history.versions)


@dataclass(frozen=True, slots=True)
class Selection:
    """The items a restore is about: every one, or those with the given keys."""

    archive: Archive
    keys: tuple[Item, ...] = ()

    @property
    def shards(self) -> tuple[str, ...]:
        if not self.keys:
            return SHARDS
        return tuple(sorted({key_hash(key)[0] for key in self.keys}))

    def histories(self, shard: str) -> Iterable[History]:
        """Of the items in this shard that the archive has versions of."""
        if not self.keys:
            return self.archive.histories(shard)
        chosen = {key_hash(key): key for key in self.keys if key_hash(key).startswith(shard)}
        found = (self.archive.history(key) for key in chosen.values())
        return (history for history in found if history.versions)


def steps(planner: Planner, histories: Iterable[History], pool: Executor, tally: Tally) -> Iterator[Step]:
    """The steps of these histories, in their order, read by `pool` a chunk at a time. A history with an unreadable
    version goes to the tally instead."""

    def plan(group: Sequence[History]) -> list[Step | ArchiveError]:
        return [one(history) for history in group]

    def one(history: History) -> Step | ArchiveError:
        try:
            return planner.step(history)
        except ArchiveError as error:
            return error

    for chunk in _chunks(histories):
        tally.listed(sum(len(history.versions) for history in chunk))
        groups = (chunk[start : start + TASK] for start in range(0, len(chunk), TASK))
        for step in chain.from_iterable(pool.map(plan, groups)):
            tally.planned(step)
            if not isinstance(step, ArchiveError):
                yield step


def _chunks(histories: Iterable[History]) -> Iterator[Sequence[History]]:
    chunk: list[History] = []
    size = 0
    for history in histories:
        chunk.append(history)
        size += max(version.size for version in history.versions)
        if len(chunk) == CHUNK_ITEMS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
