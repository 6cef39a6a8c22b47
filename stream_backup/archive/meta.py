"""The JSON objects under `meta/` of one table's archive, by name: read and written for the catalog.

They are read by versions: a delete marker on top of one hides nothing from a reader.
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from stream_backup.archive.store import Attempts, ObjectStore, once
from stream_backup.core.version import Version
from stream_backup.errors import foreign

Found = TypeVar("Found")
Source = TypeVar("Source")


class Meta:
    """Under `root`, which ends with a slash. Names are without `.json`. A record is put as often as
    `attempts` says. Reading raises ArchiveError when an object is not a JSON object, or not such a
    record."""

    def __init__(self, store: ObjectStore, root: str, attempts: Attempts = once) -> None:
        self._store = store
        self._attempts = attempts
        self._start = f"{root}meta/"

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes the JSON object `content` to `meta/NAME.json`. The previous content is kept as an
        older version."""
        payload = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        path = f"{self._start}{name}.json"
        self._attempts("S3 PutObject", lambda: self._store.put(path, payload, {"format": "1"}))

    def read(self, under: str) -> dict[str, dict[str, Any]]:
        """Returns the JSON objects in `meta/UNDER/` by name."""
        start = f"{self._start}{under}/"
        by_path = groupby(self._store.versions(start), attrgetter("path"))
        return {
            path[len(start) :].removesuffix(".json"): self._read(next(group))
            for path, group in by_path
        }

    def read_one(self, name: str) -> dict[str, Any] | None:
        """Returns the JSON object in `meta/NAME.json`, None when there is none. It takes one LIST
        and one GET, however many versions there are."""
        newest = next(self._store.versions(f"{self._start}{name}.json"), None)
        return self._read(newest) if newest else None

    def names(self, under: str) -> set[str]:
        """Returns the names in `meta/UNDER/`, from a listing alone."""
        start = f"{self._start}{under}/"
        every = self._store.versions(start)
        return {version.path[len(start) :].removesuffix(".json") for version in every}

    def named(self, under: str, of: Callable[[dict[str, Any]], Found]) -> dict[str, Found]:
        """Returns the records in `meta/UNDER/` by name, each as `of` reads it."""
        return {
            name: self.parse(f"{under}/{name}", of, each) for name, each in self.read(under).items()
        }

    def one(self, name: str, of: Callable[[dict[str, Any]], Found]) -> Found | None:
        """Returns the record in `meta/NAME.json` as `of` reads it, None when there is none."""
        found = self.read_one(name)
        return None if found is None else self.parse(name, of, found)

    def parse(self, name: str, of: Callable[[Source], Found], record: Source) -> Found:
        """Returns the record that `of` reads from `record`, which is that of this name."""
        try:
            return of(record)
        except KeyError as error:
            missing = ValueError(f"it has no {error.args[0]!r}")
            raise foreign(f"{self._start}{name}.json", missing) from error
        except (TypeError, ValueError) as error:
            raise foreign(f"{self._start}{name}.json", error) from error

    def every(self) -> Iterator[tuple[str, tuple[Version, ...]]]:
        """Yields each object under `meta/` with its versions, the newest written first, delete
        markers among them."""
        listed = self._store.versions(self._start, markers=True)
        for path, group in groupby(listed, attrgetter("path")):
            yield path[len(self._start) :].removesuffix(".json"), tuple(group)

    def load(self, name: str, version: Version, of: Callable[[dict[str, Any]], Found]) -> Found:
        """Returns one version of the record in `meta/NAME.json` as `of` reads it."""
        return self.parse(name, of, self._read(version))

    def hidden(self) -> Iterator[tuple[str, int]]:
        """Yields the names of the objects under a delete marker, and when the first marker on top
        of each was written. Readers find them, but a rule for superseded versions removes them."""
        for name, marker, _ in self._hidden():
            yield name, marker.written

    def show(self) -> None:
        """Writes each object under a delete marker again."""
        for name, _, newest in list(self._hidden()):
            self.write(name, self._read(newest))

    def _hidden(self) -> Iterator[tuple[str, Version, Version]]:
        """Yields names, the lowest of the markers on top, and the newest version."""
        every = self._store.versions(self._start, markers=True)
        for path, group in groupby(every, attrgetter("path")):
            marker = None
            for entry in group:
                if entry.marker:
                    marker = entry
                    continue
                if marker:
                    yield path[len(self._start) :].removesuffix(".json"), marker, entry
                break

    def _read(self, version: Version) -> dict[str, Any]:
        payload, _ = self._store.get(version.path, version.version_id)
        try:
            found = json.loads(payload)
            if not isinstance(found, dict):
                raise ValueError("it is not a JSON object")
        except ValueError as error:
            raise foreign(version.path, error) from error
        return found
