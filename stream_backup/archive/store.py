"""The interface of an object store with versions: the seven operations that an archive uses.
`S3Store` and `MemoryStore` implement it, and the same conformance tests run for both.

Paths are complete: `PREFIX/TABLE/<md5>`. Times are whole epoch seconds, as in S3's listings.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

from stream_backup.core.version import Version

Found = TypeVar("Found")


class Attempts(Protocol):
    """How often a request is made: once, or again for as long as AWS does not accept it."""

    def __call__(self, what: str, work: Callable[[], Found]) -> Found:
        """Returns what `work` returns. `what` names the service and the operation, for example
        `S3 PutObject`."""


def once(what: str, work: Callable[[], Found]) -> Found:  # noqa: ARG001 - as `Attempts` has it
    """Makes a request once: its caller is called again when it fails, as the function is."""
    return work()


class Current(NamedTuple):
    """The current version of a path: its ETag in hex, for a conditional put on top of it, and its
    user metadata."""

    etag: str
    metadata: Mapping[str, str]


class ConflictError(OSError):
    """S3 rejected a put because another operation on the same path was under way (status 409).

    Nothing was written, and nothing is known about the path: the other operation may also have
    failed, or deleted the object. The put can be tried again.
    """


class ObjectStore(Protocol):
    """One bucket with versioning enabled."""

    requests: Counter[str]
    """The number of requests sent so far, by kind: `list`, `get`, `head`, `put`."""

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        """Writes a new version, whether or not the path exists. Raises ConflictError like
        `create`."""

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        """Writes a version only if the path has no current version, or if that is a delete marker
        (`If-None-Match: *`). Returns whether it was written; if not, the path had a current version
        then. Raises ConflictError when that could not be found out."""

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        """Writes a version only if the current version has this ETag (`If-Match`). Returns whether
        it was written. If not, the caller reads the current version again: it may be another one,
        or the same one after a conflict."""

    def current(self, path: str) -> Current | None:
        """Returns the current version, None when there is none or when it is a delete marker."""

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Returns the payload and the user metadata of one version."""

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        """Returns the user metadata of one version."""

    def versions(self, prefix: str, *, after: str = "", markers: bool = False) -> Iterator[Version]:
        """Yields every version under `prefix`, in order of path, and the newest written first for
        each path. Paths up to and including `after` may be left out. Delete markers are left out
        unless `markers`."""
