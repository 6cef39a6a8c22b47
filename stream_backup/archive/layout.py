"""The archive of one table in an object store, and the names of the objects in it.

[PREFIX/]TABLE/<md5>     one object for each item; its versions are the item's history
[PREFIX/]TABLE/meta/…    the catalog of the archive; the name does not begin with a hex digit
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from stream_backup.archive.announce import Announcer
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.meta import Meta
from stream_backup.archive.store import Attempts, ConflictError, ObjectStore, once
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.stamp import MARK, Stamp
from stream_backup.core.time_rule import FOREVER, NEVER, Lateness
from stream_backup.core.version import Version
from stream_backup.errors import foreign

_NAME = re.compile(r"[0-9a-f]{32}")
_WIDE = Lateness()

_ATTEMPTS = 20
"""How often `reassert` starts over before it gives up."""


class History(NamedTuple):
    """The versions of one item as listed, newest written first. `name` is the hash of its key.
    Delete markers are among them only where they were asked for."""

    name: str
    versions: tuple[Version, ...]


class Object(NamedTuple):
    """The S3 object that stores a change: its path in the bucket, payload, and user metadata."""

    path: str
    payload: bytes
    metadata: dict[str, str]


class Archive:
    """The archive of `table` in the bucket of `store`, under `prefix` (empty, or ending with a
    slash).

    With a `schema`, each version that is read has its key, and the key is checked against the name
    of the object. The handler has no schema. Errors of the store are raised unchanged. Everything
    that is put is announced if it is late by `clock`, which must be AWS's, and put as often as
    `attempts` says.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        table: str,
        schema: KeySchema | None = None,
        clock: Callable[[], float] = time.time,
        attempts: Attempts = once,
    ) -> None:
        self.store = store
        self.table = table
        self.schema = schema
        self.root = f"{prefix}{table}/"
        self.meta = Meta(store, self.root, attempts)
        self.announcer = Announcer(Catalog(self).announce, clock, attempts)

    def object_of(self, change: Change) -> Object:
        """Returns the object that stores a change, with the mark of a writer that announces."""
        payload, metadata = change.object()
        metadata.update(MARK)
        return Object(self.root + change.name, payload, metadata)

    def put(self, change: Change) -> None:
        """Writes a change as the newest version of its item."""
        self.announcer.put(change.stamp.at, self.store.put, *self.object_of(change))

    def put_baseline(self, row: Object, floor: int, *, empty: bool) -> bool:
        """Writes a scanned item unless the archive already has a version of it in this epoch.
        Returns whether it was written.

        A current version stamped before `floor`, the floor of the epoch, belongs to an earlier
        epoch or table and is replaced. When another writer puts a version at the same time, this
        method reads the current version again, because that version may itself be stamped before
        the floor. `empty` states that no such older version can exist.

        Raises ArchiveError when the current version has no valid stamp.
        """
        path, payload, metadata = row
        at, put = int(metadata["at"]), self.announcer.put
        while not put(at, self.store.create, path, payload, metadata):
            if empty:
                return False
            found = self.store.current(path)
            if found is None:
                continue  # A delete marker was added meanwhile; create succeeds on top of it.
            if _stamp(path, found.metadata).at >= floor:
                return False
            if put(at, self.store.replace, path, payload, metadata, found.etag):
                return True
        return True

    def histories(
        self,
        shard: str = "",
        *,
        after: str = "",
        markers: bool = False,
        strangers: Callable[[History], None] = lambda _: None,
    ) -> Iterator[History]:
        """Yields the histories whose name begins with `shard`, in order of name, from the one that
        follows the name `after`. Other objects under the prefix are skipped; `strangers` receives
        those of a shard. Delete markers are skipped unless `markers`."""
        path_after = self.root + after if after else ""
        versions = self.store.versions(self.root + shard, after=path_after, markers=markers)
        for path, group in groupby(versions, attrgetter("path")):
            name = path[len(self.root) :]
            if _NAME.fullmatch(name):
                yield History(name, tuple(sorted(group, key=attrgetter("written"), reverse=True)))
            elif name.startswith("meta/") and not shard:
                return
            elif shard:
                strangers(History(name, tuple(group)))

    def history(self, key: dict[str, Any]) -> History:
        """Returns the history of the item with this key, without versions when the archive has
        none. Raises ValueError when `key` is not a valid key."""
        name = key_hash(key)
        return History(name, next((found.versions for found in self.histories(name)), ()))

    def read(self, version: Version) -> Change:
        """Reads a version with its payload, in one GET. Raises ArchiveError when it is not in
        format 1, or when its key does not match its name."""
        return self.decode(self.load(version))

    def load(self, version: Version) -> "Loaded":
        """Reads a version with its payload, in one GET, and parses only its stamp. Raises
        ArchiveError when it has no valid stamp."""
        payload, metadata = self.store.get(version.path, version.version_id)
        return Loaded(_stamp(version.path, metadata), version, payload, metadata)

    def decode(self, loaded: "Loaded") -> Change:
        """Returns the change in a version that was loaded. Raises ArchiveError like `read`."""
        path = loaded.version.path
        try:
            stamp, metadata = loaded.stamp, dict(loaded.metadata)
            change = Change.stored(loaded.payload, metadata, self.schema, stamp)
            if (change.key or self.schema) and change.name != path[len(self.root) :]:
                raise ValueError("its key does not match the name of the object")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise foreign(path, error) from error
        return change

    def stat(self, version: Version) -> "Stat":
        """Reads the stamp of a version, in one HEAD. Raises ArchiveError when it has no valid
        stamp."""
        return Stat(
            _stamp(version.path, self.store.stat(version.path, version.version_id)), version
        )

    def current(self, name: str) -> "Top | None":
        """Returns the current version of the item under `name`, None when there is none or when it
        is a delete marker. Raises ArchiveError when it has no valid stamp."""
        found = self.store.current(self.root + name)
        return Top(_stamp(self.root + name, found.metadata), found.etag) if found else None

    def current_stamp(self, name: str) -> Stamp | None:
        """Returns the stamp of the current version, like `current`."""
        found = self.current(name)
        return found.stamp if found else None

    def put_on(self, change: Change, looked: "Top | None") -> bool:
        """Writes a change if the current version of its item is still the one that was looked at.
        Returns whether it was written."""
        row, at, put = self.object_of(change), change.stamp.at, self.announcer.put
        if looked is None:
            return put(at, self.store.create, *row)
        return put(at, self.store.replace, *row, looked.etag)

    def reassert(self, name: str, lateness: Lateness = _WIDE) -> bool:
        """Makes the highest-ranked version of the item under `name` the current version, by writing
        it again if another version is the current one. Returns whether that was necessary.
        `lateness` is that of `item_at`.

        A listing does not show for certain which of two versions of about the same second is the
        current one, so this method reads the stamp of the current version. Each put is conditional
        on what it read (`If-Match`), but versions with equal content share an ETag, as all empty
        tombstones do. A version that arrived meanwhile may therefore have been covered, so after
        each put this method starts over. Raises ConflictError when others keep writing.
        """
        path, needed = self.root + name, False
        for _ in range(_ATTEMPTS):
            versions = next((found.versions for found in self.histories(name)), ())
            best = item_at(versions, FOREVER, NEVER, self.stat, lateness)
            if best is None:
                return needed
            current = self.store.current(path)
            if current and _stamp(path, current.metadata).rank >= best.stamp.rank:
                return needed
            payload, found = self.store.get(path, best.version.version_id)
            at, put, metadata = best.stamp.at, self.announcer.put, {**found, **MARK}
            if current is None:
                # Under a delete marker no condition but this one is true.
                needed |= put(at, self.store.create, path, payload, metadata)
            else:
                needed |= put(at, self.store.replace, path, payload, metadata, current.etag)
        raise ConflictError(f"{path} keeps changing")

    def is_empty(self) -> bool:
        """Returns whether the archive has no version of any item. It takes one LIST, because names
        of items begin with a hex digit, and hex digits sort before `meta`."""
        return next(self.histories(), None) is None


class Loaded(NamedTuple):
    """A version with its stamp and its payload, which is not decoded yet. The stamp says whether
    the version counts. One that does not may be of an earlier table with the same name and another
    key, so its payload is never decoded."""

    stamp: Stamp
    version: Version
    payload: bytes
    metadata: Mapping[str, str]


class Top(NamedTuple):
    """The stamp and the ETag of an item's current version."""

    stamp: Stamp
    etag: str


class Stat(NamedTuple):
    """A version with its stamp, read without its payload."""

    stamp: Stamp
    version: Version


def _stamp(path: str, metadata: Any) -> Stamp:
    try:
        return Stamp.of(dict(metadata))
    except ValueError as error:
        raise foreign(path, error) from error
