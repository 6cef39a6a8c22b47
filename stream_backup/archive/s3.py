"""A versioned S3 bucket as an `ObjectStore`.

Objects are read and written with obstore, which is written in Rust, has its own connection pool and
releases the GIL: a request takes about a twentieth of the CPU time that it takes in boto3. Versions
are listed with a boto3 client that is passed in, so the Lambda function does not need boto3.
Botocore's parser takes ten times as long as expat for a listing, so `listing.py` parses the pages,
and botocore still signs and retries the requests.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError
from obstore.store import S3Store as Objects

from stream_backup.archive import listing
from stream_backup.archive.store import Attempts, ConflictError, Current, once
from stream_backup.core.version import Version

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, PutMode

PATIENCE, PAUSE = 10.0, 0.5
"""Seconds for which a conditional put is retried, and seconds between two attempts. obstore does
not retry a conditional put after a broken connection, because the put may have succeeded. In that
case the next attempt finds an existing object, as if another writer had put it. A put that S3
answers with 409 is retried too: another operation on the path was under way (Amazon S3 API
Reference, "PutObject", If-None-Match)."""

_REFUSED = "412 Precondition Failed"
"""What an error contains if S3 evaluated the condition of a create and found a current version.
obstore raises AlreadyExistsError for 409 as well; any error without this text counts as 409."""

_ANSWERED = "status code"
"""What an error contains if S3 answered."""

RETRY_TIMEOUT, TIMEOUT, CONNECT_TIMEOUT = 60, 30, 5
"""Seconds after which a request is not sent again, for which one attempt may last, and for which it
may wait for a connection. A put with its retries must end within the time that it was announced for
(`time_rule.BUDGET`)."""

_FAILED = re.compile(
    r"Error performing (?P<request>[A-Z]+ \S+) in"
    r" .*?non-2xx status code: (?P<status>\d+[A-Za-z -]*)"
)
_TOLD = re.compile(r"<(Code|RequestId)>([\w.+/=-]{1,80})</")

_RETRIES = {"max_retries": 8, "retry_timeout": timedelta(seconds=RETRY_TIMEOUT)}
FEW_RETRIES = _RETRIES | {"max_retries": 2}
"""For a client whose requests are made again anyway."""

_TIMEOUTS = {"timeout": f"{TIMEOUT}s", "connect_timeout": f"{CONNECT_TIMEOUT}s"}


def open_objects(bucket: str, *, endpoint: str | None = None, **settings: Any) -> Objects:
    """Returns an obstore client for `bucket`.

    Credentials and Region come from the environment unless `settings` contain them. An `endpoint`
    is called with path-style requests, unless `settings` say that it contains the name of the
    bucket. Every put sends the SHA-256 of its payload, because a bucket with Object Lock rejects a
    put without a checksum (Amazon S3 User Guide, "Managing Object Lock").
    """
    given: dict[str, Any] = {"checksum_algorithm": "SHA256", "retry_config": _RETRIES}
    if endpoint:
        given |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    options = _TIMEOUTS | ({"allow_http": True} if endpoint else {})
    settings["client_options"] = options | settings.get("client_options", {})
    return Objects(bucket, **(given | settings))


class S3Store:
    """An S3 bucket with versioning enabled. `objects` is an obstore client for the bucket. `client`
    is a boto3 `s3` client, which is needed only by `versions`. Objects are read as often as
    `attempts` says; whoever puts one decides that for itself, because a late put must be announced
    again before each attempt.

    Errors of S3 are raised as the exceptions of obstore and botocore.
    """

    def __init__(
        self, bucket: str, objects: Objects, client: Any = None, attempts: Attempts = once
    ) -> None:
        self.bucket = bucket
        self.requests: Counter[str] = Counter()
        self._attempts = attempts
        self._objects = objects
        self._client = client
        if client is not None:
            listing.install(client)

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        """Writes a new version, whether or not the path exists. Raises ConflictError."""
        self._put(path, payload, metadata, "overwrite")

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        """Writes a version only if the path has no current version, or if that is a delete marker.
        Returns whether it was written. Raises ConflictError."""
        try:
            self._put(path, payload, metadata, "create")
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        """Writes a version only if the current version has this ETag. Returns whether it was
        written."""
        try:
            self._put(path, payload, metadata, {"e_tag": f'"{etag}"'})
        except (PreconditionError, AlreadyExistsError, FileNotFoundError):
            return False  # 412: another ETag; 409 after several attempts; 404: a delete marker
        return True

    def current(self, path: str) -> Current | None:
        """Returns the current version, None when there is none or when it is a delete marker."""

        def head() -> Current | None:
            self.requests["head"] += 1
            try:
                found = obstore.get(self._objects, path, options={"head": True})
            except FileNotFoundError:
                return None
            except BaseError as error:
                raise brief(error) from None
            return Current((found.meta["e_tag"] or "").strip('"'), _text(found.attributes))

        return self._attempts("S3 HeadObject", head)

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        """Returns the payload and the user metadata of one version."""

        def get() -> tuple[bytes, Mapping[str, str]]:
            self.requests["get"] += 1
            try:
                found = obstore.get(self._objects, path, options={"version": version_id})
                return found.bytes().to_bytes(), _text(found.attributes)
            except (BaseError, FileNotFoundError) as error:
                raise brief(error) from None

        return self._attempts("S3 GetObject", get)

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        """Returns the user metadata of one version."""

        def head() -> Mapping[str, str]:
            self.requests["head"] += 1
            options: GetOptions = {"version": version_id, "head": True}
            try:
                return _text(obstore.get(self._objects, path, options=options).attributes)
            except (BaseError, FileNotFoundError) as error:
                raise brief(error) from None

        return self._attempts("S3 HeadObject", head)

    def versions(self, prefix: str, *, after: str = "", markers: bool = False) -> Iterator[Version]:
        """Yields every version under `prefix` in the order of S3's listing: by path, and the newest
        written first for each path. Paths up to `after` are left out, and delete markers are unless
        `markers`."""
        following = {"KeyMarker": after} if after else {}
        while True:
            self.requests["list"] += 1
            request = {"Bucket": self.bucket, "Prefix": prefix} | following
            page = self._client.list_object_versions(**request)[listing.PAGE]
            yield from (each for each in page.versions if markers or not each.marker)
            if not page.markers:
                return
            following = page.markers

    def _put(self, path: str, payload: bytes, metadata: Mapping[str, str], mode: "PutMode") -> None:
        attributes = cast("Attributes", metadata)
        began = time.monotonic()
        while True:
            self.requests["put"] += 1
            try:
                obstore.put(
                    self._objects,
                    path,
                    payload,
                    attributes=attributes,
                    mode=mode,
                    use_multipart=False,
                )
            except GenericError as error:
                answered = _ANSWERED in str(error)  # obstore has sent it again after such answers
                if answered or mode == "overwrite" or time.monotonic() - began > PATIENCE:
                    raise brief(error) from None
            except AlreadyExistsError as error:
                if isinstance(mode, dict) or _REFUSED in str(error):
                    raise brief(error) from None
                if time.monotonic() - began > PATIENCE:
                    raise ConflictError(f"S3 reports a conflicting operation on {path}") from None
            except (BaseError, FileNotFoundError) as error:
                raise brief(error) from None
            else:
                return
            time.sleep(PAUSE)


def brief(error: BaseException) -> BaseException:
    """Returns an error of obstore without S3's answer, which obstore repeats whole: an error of the
    same class that has the request, its status, and S3's error code and request ID."""
    return type(error)(shortened(error))


def shortened(error: BaseException) -> str:
    """Returns the text of an error, of obstore or another library, without an answer of S3."""
    text = str(error)
    if failed := _FAILED.search(text):
        told = dict(_TOLD.findall(text))
        ids = ", ".join(f"{name} {told[name]}" for name in ("Code", "RequestId") if name in told)
        found = f"{failed['request']} failed, status code: {failed['status'].strip()}"
        return found + (f" ({ids})" if ids else "")
    return text.partition("\n")[0].partition(" - Server returned")[0]


def _text(attributes: "Attributes") -> dict[str, str]:
    """Returns the user metadata in an object's attributes. Its names are in lowercase, while
    obstore returns standard attributes with names such as `Content-Type`."""
    return {name: str(value) for name, value in attributes.items() if name.islower()}
