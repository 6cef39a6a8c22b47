"""A versioned S3 bucket as an `ObjectStore`.

Objects travel through obstore (Rust, its own connection pool, no GIL held: about a twentieth of boto3's CPU a request);
versions are listed through boto3, which is passed in, so that the function needs none. Botocore's own parser spends ten
times expat's time on a listing, so the page is parsed here (`listing.py`) and botocore keeps signing and retrying.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import S3Store as Objects

from stream_backup import listing
from stream_backup.store import Current, Version

if TYPE_CHECKING:
    from obstore import Attributes, PutMode

_PATIENCE, _PAUSE = 10.0, 0.5
"""Seconds for which a put under a condition is tried again, and between two tries. obstore leaves it at a connection that broke,
for the put may have arrived: then the next try finds the object there, as it would find another writer's."""

_RETRIES = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}


def open_objects(bucket: str, *, endpoint: str | None = None, **settings: Any) -> Objects:
    """obstore's client for `bucket`. Credentials and region come from the environment unless `settings` name them;
    an endpoint (a stand-in for S3) is addressed by path. Every put carries its SHA-256: a bucket with Object
    Lock takes none without a checksum (Amazon S3 User Guide, "Managing Object Lock")."""
    settings.setdefault("checksum_algorithm", "SHA256")
    if endpoint:
        settings |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        settings["client_options"] = {"allow_http": True}
    return Objects(bucket, retry_config=_RETRIES, **settings)  # type: ignore[arg-type]


class S3Store:
    """`objects` is obstore's client for the bucket; `client` boto3's `s3` client, needed only to list."""

    def __init__(self, bucket: str, objects: Objects, client: Any = None) -> None:
        self.bucket = bucket
        self.requests: Counter[str] = Counter()
        self._objects = objects
        self._client = client
        if client is not None:
            listing.install(client)

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        self._put(path, payload, metadata, "overwrite")

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        try:
            self._put(path, payload, metadata, "create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        try:
            self._put(path, payload, metadata, {"e_tag": f'"{etag}"'})
        except (PreconditionError, AlreadyExistsError, FileNotFoundError):
            return False  # 412; 409 against a rival put; 404 when a delete marker has come on top
        return True

    def current(self, path: str) -> Current | None:
        self.requests["head"] += 1
        try:
            found = obstore.get(self._objects, path, options={"head": True})
        except FileNotFoundError:
            return None
        return Current((found.meta["e_tag"] or "").strip('"'), _text(found.attributes))

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        self.requests["get"] += 1
        found = obstore.get(self._objects, path, options={"version": version_id})
        return found.bytes().to_bytes(), _text(found.attributes)

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        self.requests["head"] += 1
        found = obstore.get(self._objects, path, options={"version": version_id, "head": True})
        return _text(found.attributes)

    def versions(self, prefix: str) -> Iterator[Version]:
        markers: dict[str, str] = {}
        while True:
            self.requests["list"] += 1
            page = self._client.list_object_versions(Bucket=self.bucket, Prefix=prefix, **markers)[listing.PAGE]
            yield from page.versions
            if not page.markers:
                return
            markers = page.markers

    def _put(self, path: str, payload: bytes, metadata: Mapping[str, str], mode: "PutMode") -> None:
        attributes = cast("Attributes", metadata)
        began = time.monotonic()
        while True:
            self.requests["put"] += 1
            try:
                obstore.put(self._objects, path, payload, attributes=attributes, mode=mode, use_multipart=False)
            except GenericError:
                if mode == "overwrite" or time.monotonic() - began > _PATIENCE:
                    raise
                time.sleep(_PAUSE)
            else:
                return


def _text(attributes: "Attributes") -> dict[str, str]:
    """User metadata alone: its names arrive in lower case, where obstore calls the standard ones `Content-Type` and so on."""
    return {name: str(value) for name, value in attributes.items() if name.islower()}
