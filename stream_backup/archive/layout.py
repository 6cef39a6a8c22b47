"""The archive of one table in an object store, and the names of the objects in it.

[PREFIX/]TABLE/<md5>     one object for each item; its versions are the item's history
[PREFIX/]TABLE/meta/…    the catalog of the archive; the name does not begin with a hex digit
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, Self

from stream_backup.archive.store import ObjectStore
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import FOREVER, NEVER
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError, UsageError

_NAME = re.compile(r"[0-9a-f]{32}")


class Location(NamedTuple):
    """The location of an archive, `s3://BUCKET[/PREFIX]`. `prefix` ends with a slash or is
    empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the location in an archive URL. Raises UsageError when `text` is not one."""
        found = re.fullmatch(r"s3://([^/]+)(?:/(.*?))?/*", text)
        if not found:
            raise UsageError(
                f"{text!r} is not a valid archive URL.",
                "Use the form s3://BUCKET[/PREFIX], for example s3://my-backups/production.",
            )
        return cls(found[1], f"{found[2]}/" if found[2] else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class History(NamedTuple):
    """The versions of one item as listed, newest written first. `name` is the hash of its key."""

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
    of the object. The handler has no schema. Errors of the store are raised unchanged.
    """

    def __init__(
        self, store: ObjectStore, prefix: str, table: str, schema: KeySchema | None = None
    ) -> None:
        self.store = store
        self.table = table
        self.schema = schema
        self.root = f"{prefix}{table}/"

    def object_of(self, change: Change) -> Object:
        """Returns the object that stores a change."""
        return Object(self.root + change.name, change.payload, change.metadata)

    def put(self, change: Change) -> None:
        """Writes a change as the newest version of its item."""
        self.store.put(*self.object_of(change))

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
        while not self.store.create(path, payload, metadata):
            if empty:
                return False
            found = self.store.current(path)
            if found is None:
                continue  # A delete marker was added meanwhile; create succeeds on top of it.
            if _stamp(path, found.metadata).at >= floor:
                return False
            if self.store.replace(path, payload, metadata, found.etag):
                return True
        return True

    def histories(self, shard: str = "") -> Iterator[History]:
        """Yields the histories whose name begins with `shard`, in order of name. Other objects
        under the prefix are skipped."""
        versions = self.store.versions(self.root + shard)
        for path, group in groupby(versions, attrgetter("path")):
            name = path[len(self.root) :]
            if _NAME.fullmatch(name):
                yield History(name, tuple(sorted(group, key=attrgetter("written"), reverse=True)))
            elif name.startswith("meta/") and not shard:
                return

    def history(self, key: dict[str, Any]) -> History:
        """Returns the history of the item with this key, without versions when the archive has
        none. Raises ValueError when `key` is not a valid key."""
        name = key_hash(key)
        return History(name, next((found.versions for found in self.histories(name)), ()))

    def read(self, version: Version) -> Change:
        """Reads a version with its payload, in one GET. Raises ArchiveError when it is not in
        format 1, or when its key does not match its name."""
        payload, metadata = self.store.get(version.path, version.version_id)
        try:
            change = Change.stored(payload, dict(metadata), self.schema)
            if (change.key or self.schema) and change.name != version.path[len(self.root) :]:
                raise ValueError("its key does not match the name of the object")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise foreign(version.path, error) from error
        return change

    def stat(self, version: Version) -> "Stat":
        """Reads the stamp of a version, in one HEAD. Raises ArchiveError when it has no valid
        stamp."""
        return Stat(
            _stamp(version.path, self.store.stat(version.path, version.version_id)), version
        )

    def reassert(self, name: str, lateness: int = 0) -> bool:
        """Makes the highest-ranked version of the item under `name` the current version, by writing
        it again if another version was written later. Returns whether that was necessary.
        `lateness` is that of `item_at`.

        Each put is conditional on the version that was last listed (`If-Match`), so a change that
        arrives meanwhile is not overwritten.
        """
        path, needed = self.root + name, False
        while True:
            versions = next((found.versions for found in self.histories(name)), ())
            best = item_at(versions, FOREVER, NEVER, self.stat, lateness)
            if best is None or best.version == versions[0]:
                return needed
            payload, metadata = self.store.get(path, best.version.version_id)
            if not self.store.replace(path, payload, metadata, versions[0].etag):
                # This put succeeds only if the current version is a delete marker.
                self.store.create(path, payload, metadata)
            needed = True

    def write_meta(self, name: str, content: dict[str, Any]) -> None:
        """Writes the JSON object `content` to `meta/NAME.json`. The previous content is kept as an
        older version."""
        payload = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        self.store.put(f"{self.root}meta/{name}.json", payload, {"format": "1"})

    def read_meta(self, under: str) -> dict[str, dict[str, Any]]:
        """Returns the JSON objects in `meta/UNDER/` by name, without `.json`. Each is the newest
        version, even under a delete marker. Raises ArchiveError when one is not a JSON object."""
        start = f"{self.root}meta/{under}/"
        by_path = groupby(self.store.versions(start), attrgetter("path"))
        return {
            path[len(start) :].removesuffix(".json"): self._read_json(next(group))
            for path, group in by_path
        }

    def read_one_meta(self, name: str) -> dict[str, Any] | None:
        """Returns the JSON object in the newest version of `meta/NAME.json`, None when there is no
        version. It takes one LIST and one GET, however many versions there are. Raises ArchiveError
        when it is not a JSON object."""
        newest = next(self.store.versions(f"{self.root}meta/{name}.json"), None)
        return self._read_json(newest) if newest else None

    def _read_json(self, version: Version) -> dict[str, Any]:
        payload, _ = self.store.get(version.path, version.version_id)
        try:
            found = json.loads(payload)
            if not isinstance(found, dict):
                raise ValueError("it is not a JSON object")
        except ValueError as error:
            raise foreign(version.path, error) from error
        return found

    def is_empty(self) -> bool:
        """Returns whether the archive has no version of any item. It takes one LIST, because names
        of items begin with a hex digit, and hex digits sort before `meta`."""
        return next(self.histories(), None) is None


class Stat(NamedTuple):
    """A version with its stamp, read without its payload."""

    stamp: Stamp
    version: Version


def _stamp(path: str, metadata: Any) -> Stamp:
    try:
        return Stamp.of(dict(metadata))
    except ValueError as error:
        raise foreign(path, error) from error


def foreign(path: str, reason: Exception) -> ArchiveError:
    """Returns the error for an object in the archive that is not in format 1, for the `reason` that
    was raised when it was parsed."""
    return ArchiveError(
        f"{path} in the archive is not in format 1: {reason}.",
        "Find out what wrote this object. Only stream-backup may write under the prefix of an"
        " archive.",
    )
