"""Every kind of ObjectStore, each with an empty versioned bucket, for the conformance suites."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.store import ObjectStore
from stream_backup.core.version import Version
from tests.servers import Aws

STAND_INS = ("moto", "ministack", "seaweedfs")


@dataclass(frozen=True)
class Backend:
    """A store, a deletion as an operator may perform it, and how many versions fit on a page."""

    store: ObjectStore
    delete: Callable[[str], object]
    page: int

    def listed(self, prefix: str) -> list[Version]:
        return list(self.store.versions(prefix))

    def paths(self, prefix: str) -> list[str]:
        return [version.path for version in self.listed(prefix)]

    def bodies(self, prefix: str) -> list[bytes]:
        return [
            self.store.get(version.path, version.version_id)[0] for version in self.listed(prefix)
        ]


def in_memory() -> Backend:
    ticks = count(1795231959 * 3)
    store = MemoryStore(lambda: next(ticks) // 3)  # several writes per second
    return Backend(store, store.delete, page=10**9)


def on(aws: Aws) -> Backend:
    bucket, client = aws.bucket(), aws.client("s3")
    return Backend(
        aws.store(bucket), lambda path: client.delete_object(Bucket=bucket, Key=path), page=1000
    )
