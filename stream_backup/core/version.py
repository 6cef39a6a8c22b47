"""A version of an object as S3 lists it."""

from typing import NamedTuple


class Version(NamedTuple):
    """One entry of a listing. It has no metadata, so its stamp is not known.

    `written` is S3's time in epoch seconds, `size` is in bytes. `etag` is hex without quotes; in a
    bucket encrypted with SSE-S3 it is the MD5 of the payload. A delete `marker` has no size, ETag
    or content; readers of this format ignore it, and are given it only if they ask for it.
    """

    path: str
    version_id: str
    written: int
    size: int
    etag: str
    marker: bool = False
