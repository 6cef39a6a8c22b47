"""A versioned bucket in memory, for tests. The conformance tests ensure that it behaves like S3."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from threading import Lock
from typing import NamedTuple

from stream_backup.archive.store import ConflictError, Current
from stream_backup.core.item import digest
from stream_backup.core.version import Version


class _Stored(NamedTuple):
    version: Version
    payload: bytes
    metadata: Mapping[str, str]
    deleted: bool = False


class MemoryStore:
    """An `ObjectStore` in memory. `clock` returns the time of S3 in epoch seconds; tests set it.
    `conflicts` returns whether the next conditional put of a path meets another operation, which S3
    may answer with 409 whatever the path holds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.requests: Counter[str] = Counter()
        self.objects: dict[str, list[_Stored]] = {}  # By path, the oldest written first.
        self.conflicts: Callable[[str], bool] = lambda _: False
        self._clock = clock
        self._ids = count()
        self._lock = Lock()

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        """Writes a new version, whether or not the path exists."""
        with self._lock:
            self._write(path, payload, metadata)

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        """Writes a version only if the path has no current version, or if that is a delete marker.
        Returns whether it was written. Raises ConflictError."""
        with self._lock:
            if self.conflicts(path):
                self.requests["put"] += 1
                raise ConflictError(f"a conflicting operation on {path}")
            return self._write(path, payload, metadata, allowed=self._newest(path) is None)

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        """Writes a version only if the current version has this ETag. Returns whether it was
        written."""
        with self._lock:
            newest = self._newest(path)
            same = newest is not None and newest.version.etag == etag
            allowed = same and not self.conflicts(path)
            return self._write(path, payload, metadata, allowed=allowed)

    def current(self, path: str) -> Current | None:
        """Returns the current version, None when there is none or when it is a delete marker."""
        self.requests["head"] += 1
        newest = self._newest(path)
        return Current(newest.version.etag, newest.metadata) if newest else None

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Returns the payload and the user metadata of one version."""
        self.requests["get"] += 1
        found = self._find(path, version_id)
        return found.payload, found.metadata

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        """Returns the user metadata of one version."""
        self.requests["head"] += 1
        return self._find(path, version_id).metadata

    def versions(self, prefix: str, *, after: str = "", markers: bool = False) -> Iterator[Version]:
        """Yields every version under `prefix`, in order of path, and the newest written first for
        each path. Paths up to and including `after` are left out, and delete markers are unless
        `markers`."""
        self.requests["list"] += 1
        for path in sorted(path for path in self.objects if path.startswith(prefix)):
            if path <= after:
                continue
            yield from (
                stored.version
                for stored in reversed(self.objects[path])
                if markers or not stored.deleted
            )

    def delete(self, path: str) -> None:
        """Adds a delete marker as the current version, as `aws s3 rm` does in a versioned
        bucket."""
        marker = Version(path, str(next(self._ids)), int(self._clock()), 0, "", marker=True)
        self.objects.setdefault(path, []).append(_Stored(marker, b"", {}, deleted=True))

    def _write(
        self, path: str, payload: bytes, metadata: Mapping[str, str], allowed: bool = True
    ) -> bool:
        self.requests["put"] += 1  # A put that is rejected is a request as well.
        if not allowed:
            return False
        version = Version(
            path, str(next(self._ids)), int(self._clock()), len(payload), digest(payload)
        )
        self.objects.setdefault(path, []).append(_Stored(version, payload, dict(metadata)))
        return True

    def _newest(self, path: str) -> _Stored | None:
        stored = self.objects.get(path)
        return None if not stored or stored[-1].deleted else stored[-1]

    def _find(self, path: str, version_id: str) -> _Stored:
        return next(each for each in self.objects[path] if each.version.version_id == version_id)
