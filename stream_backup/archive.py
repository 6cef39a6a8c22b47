"""A table's archive in an object store: the one home of its layout.

[PREFIX/]TABLE/<md5>     one object per item, its versions are the item's history
[PREFIX/]TABLE/meta/…    what is known of the table and of the archive itself (never starts with a hex digit)
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, Self

from stream_backup.change import Change
from stream_backup.errors import ArchiveError, UsageError
from stream_backup.key import KeySchema, key_hash
from stream_backup.stamp import Stamp
from stream_backup.store import ObjectStore, Version
from stream_backup.timeline import FOREVER, NEVER, item_at

SHARDS = tuple("0123456789abcdef")
"""A table's histories fall into these by the first digit of their name, evenly: MD5 sees to it."""

_NAME = re.compile(r"[0-9a-f]{32}")


class Location(NamedTuple):
    """`s3://BUCKET[/PREFIX]`, the prefix with its slash or empty."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        found = re.fullmatch(r"s3://([^/]+)(?:/(.*?))?/*", text)
        if not found:
            raise UsageError(f"{text!r} is not an archive.", "Write it like s3://my-backups or s3://my-backups/production.")
        return cls(found[1], f"{found[2]}/" if found[2] else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


class History(NamedTuple):
    """One item's versions as listed, newest written first. `name` is the hash of its key."""

    name: str
    versions: tuple[Version, ...]


class Object(NamedTuple):
    """What a change is in the bucket."""

    path: str
    payload: bytes
    metadata: dict[str, str]


class Archive:
    """Everything in one bucket under one prefix. `schema` lets versions say their key; the handler has none."""

    def __init__(self, store: ObjectStore, prefix: str, table: str, schema: KeySchema | None = None) -> None:
        self.store = store
        self.table = table
        self.schema = schema
        self.root = f"{prefix}{table}/"

    def object_of(self, change: Change) -> Object:
        return Object(self.root + change.name, change.payload, change.metadata)

    def put(self, change: Change) -> None:
        """Writes a change as its item's newest version."""
        self.store.put(*self.object_of(change))

    def put_baseline(self, row: Object, floor: int, *, empty: bool) -> bool:
        """Writes a scanned item unless this epoch already knows the item; whether it did.

        What is stamped before the epoch's floor belongs to an older life and is replaced. When the put loses to another
        writer it looks again, for the winner may itself be an old record. With `empty` nothing older can be there.
        """
        path, payload, metadata = row
        while not self.store.create(path, payload, metadata):
            if empty:
                return False
            found = self.store.current(path)
            if found is None:
                continue  # a delete marker came on top: create succeeds over it
            if _stamp(path, found.metadata).at >= floor:
                return False
            if self.store.replace(path, payload, metadata, found.etag):
                return True
        return True

    def histories(self, shard: str = "") -> Iterator[History]:
        """The histories whose name begins with `shard`, in order of name. Objects that are none of ours are passed over."""
        versions = self.store.versions(self.root + shard)
        for path, group in groupby(versions, attrgetter("path")):
            name = path[len(self.root) :]
            if _NAME.fullmatch(name):
                yield History(name, tuple(sorted(group, key=attrgetter("written"), reverse=True)))
            elif name.startswith("meta/") and not shard:
                return

    def history(self, key: dict[str, Any]) -> History:
        """The history of the item with this key; no versions when the archive never saw it."""
        name = key_hash(key)
        return History(name, next((found.versions for found in self.histories(name)), ()))

    def read(self, version: Version) -> Change:
        """A version whole, at one GET. Raises ArchiveError when it is not one that format 1 wrote, or under a wrong name."""
        payload, metadata = self.store.get(version.path, version.version_id)
        try:
            change = Change.stored(payload, dict(metadata), self.schema)
            if (change.key or self.schema) and change.name != version.path[len(self.root) :]:
                raise ValueError("its key does not belong under this name")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise foreign(version.path, error) from error
        return change

    def stat(self, version: Version) -> "Stat":
        """A version's stamp, at one HEAD."""
        return Stat(_stamp(version.path, self.store.stat(version.path, version.version_id)), version)

    def reassert(self, name: str, lateness: int = 0) -> bool:
        """Makes the newest version by stamp of the item under `name` the newest written too, by writing it again on top;
        whether that was needed. `lateness` as in `item_at`.

        It only ever puts on top of what it has seen (`If-Match`), so a change that arrives meanwhile stays on top.
        """
        path, needed = self.root + name, False
        while True:
            versions = next((found.versions for found in self.histories(name)), ())
            best = item_at(versions, FOREVER, NEVER, self.stat, lateness)
            if best is None or best.version == versions[0]:
                return needed
            payload, metadata = self.store.get(path, best.version.version_id)
            if not self.store.replace(path, payload, metadata, versions[0].etag):
                self.store.create(path, payload, metadata)  # succeeds only where a delete marker lies on top
            needed = True

    def write_meta(self, name: str, content: dict[str, Any]) -> None:
        """Writes `meta/NAME.json`; what it held before stays as an older version."""
        payload = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        self.store.put(f"{self.root}meta/{name}.json", payload, {"format": "1"})

    def read_meta(self, under: str) -> dict[str, dict[str, Any]]:
        """The newest version of each `meta/UNDER/….json` by name, whether or not a delete marker hides it."""
        start = f"{self.root}meta/{under}/"
        by_path = groupby(self.store.versions(start), attrgetter("path"))
        return {path[len(start) :].removesuffix(".json"): self._read_json(next(group)) for path, group in by_path}

    def read_one_meta(self, name: str) -> dict[str, Any] | None:
        """The newest version of `meta/NAME.json`, at one LIST and one GET however often it was written."""
        newest = next(self.store.versions(f"{self.root}meta/{name}.json"), None)
        return self._read_json(newest) if newest else None

    def _read_json(self, version: Version) -> dict[str, Any]:
        payload, _ = self.store.get(version.path, version.version_id)
        try:
            found = json.loads(payload)
            if not isinstance(found, dict):
                raise ValueError("it is no JSON object")
        except ValueError as error:
            raise foreign(version.path, error) from error
        return found

    def is_empty(self) -> bool:
        """Whether no object of any item is there. One LIST: names begin with a hex digit, and those sort before `meta`."""
        return next(self.histories(), None) is None


class Stat(NamedTuple):
    """A version whose stamp is known and whose body was not fetched."""

    stamp: Stamp
    version: Version


def _stamp(path: str, metadata: Any) -> Stamp:
    try:
        return Stamp.of(dict(metadata))
    except ValueError as error:
        raise foreign(path, error) from error


def foreign(path: str, reason: Exception) -> ArchiveError:
    """The error of an object that lies where this format writes, and is none that it wrote."""
    return ArchiveError(
        f"{path} in the archive is not a version this format wrote: {reason}.",
        "Find out who put it there; nothing else writes under an archive's prefix.",
    )
