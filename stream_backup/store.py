"""What the archive asks of an object store with versions: seven verbs. `S3Store` and `MemoryStore` answer them, and one
conformance suite runs over both.

Paths are relative to nothing: `PREFIX/TABLE/<md5>`. Times are whole epoch seconds, as S3 gives them in a listing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol


class Version(NamedTuple):
    """One line of a listing: no metadata, so no stamp. `etag` is bare hex; on SSE-S3 it is the MD5 of the payload."""

    path: str
    version_id: str
    written: int
    size: int
    etag: str


class Current(NamedTuple):
    """The current version of a path: its ETag, for a conditional put on top of it, and its user metadata."""

    etag: str
    metadata: Mapping[str, str]


class ObjectStore(Protocol):
    requests: Counter[str]
    """Requests sent so far, by kind: `list`, `get`, `head`, `put`."""

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        """Writes a new version, whatever is there."""

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        """Writes only where no object is, or a delete marker (`If-None-Match: *`); whether it did."""

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        """Writes only on top of this ETag (`If-Match`); whether it did."""

    def current(self, path: str) -> Current | None:
        """The current version, or None where there is none or a delete marker hides it."""

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        """One version's payload and user metadata."""

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        """One version's user metadata."""

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version under `prefix`, paths in order, each path's newest written first; delete markers left out."""
