"""A versioned bucket in memory: the fake for model tests, held to S3's behaviour by the conformance suite."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from threading import Lock
from typing import NamedTuple

from stream_backup.item import digest
from stream_backup.store import Current, Version


class _Stored(NamedTuple):
    version: Version
    payload: bytes
    metadata: Mapping[str, str]
    deleted: bool = False


class MemoryStore:
    """`clock` gives S3's time in epoch seconds; tests turn it by hand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.requests: Counter[str] = Counter()
        self.objects: dict[str, list[_Stored]] = {}  # oldest written first
        self._clock = clock
        self._ids = count()
        self._lock = Lock()

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        with self._lock:
            self._write(path, payload, metadata)

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        with self._lock:
            return self._write(path, payload, metadata, allowed=self._newest(path) is None)

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        with self._lock:
            newest = self._newest(path)
            return self._write(path, payload, metadata, allowed=newest is not None and newest.version.etag == etag)

    def current(self, path: str) -> Current | None:
        self.requests["head"] += 1
        newest = self._newest(path)
        return Current(newest.version.etag, newest.metadata) if newest else None

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        self.requests["get"] += 1
        found = self._find(path, version_id)
        return found.payload, found.metadata

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        self.requests["head"] += 1
        return self._find(path, version_id).metadata

    def versions(self, prefix: str) -> Iterator[Version]:
        self.requests["list"] += 1
        for path in sorted(path for path in self.objects if path.startswith(prefix)):
            yield from (stored.version for stored in reversed(self.objects[path]) if not stored.deleted)

    def delete(self, path: str) -> None:
        """What `aws s3 rm` does to a versioned bucket: a delete marker on top."""
        marker = Version(path, str(next(self._ids)), int(self._clock()), 0, "")
        self.objects.setdefault(path, []).append(_Stored(marker, b"", {}, deleted=True))

    def _write(self, path: str, payload: bytes, metadata: Mapping[str, str], allowed: bool = True) -> bool:
        self.requests["put"] += 1  # a put that is refused is a request too
        if not allowed:
            return False
        version = Version(path, str(next(self._ids)), int(self._clock()), len(payload), digest(payload))
        self.objects.setdefault(path, []).append(_Stored(version, payload, dict(metadata)))
        return True

    def _newest(self, path: str) -> _Stored | None:
        stored = self.objects.get(path)
        return None if not stored or stored[-1].deleted else stored[-1]

    def _find(self, path: str, version_id: str) -> _Stored:
        return next(each for each in self.objects[path] if each.version.version_id == version_id)
