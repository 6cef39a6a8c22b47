"""One page of ListObjectVersions, parsed with expat into `Version` tuples.

Botocore builds dictionaries and dates for every field: 127 µs an entry, where this takes about 10. `install` puts the
parser before botocore's own on one client (its `before-parse` event), and leaves signing, retries and errors to it.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from stream_backup.store import Version

PAGE = "ParsedVersionPage"
"""Where the answer of `list_object_versions` carries its `Page`."""

_EMPTY = b"<ListVersionsResult/>"


class Page(NamedTuple):
    versions: list[Version]
    markers: dict[str, str]
    """Arguments of the request for the next page; empty after the last."""


def parse(body: bytes) -> Page:
    """Versions in the page's order; delete markers are left out, for they remove nothing from history."""
    versions: list[Version] = []
    top: dict[str, str] = {}
    fields = top
    text = ""

    def start(name: str, _: object) -> None:
        nonlocal fields, text
        text = ""
        if name in ("Version", "DeleteMarker"):
            fields = {}

    def end(name: str) -> None:
        nonlocal fields
        if name == "Version":
            versions.append(
                Version(
                    path=fields["Key"],
                    version_id=fields["VersionId"],
                    written=_seconds(fields["LastModified"]),
                    size=int(fields["Size"]),
                    etag=fields["ETag"].strip('"'),
                )
            )
        if name in ("Version", "DeleteMarker"):
            fields = top
        else:
            fields[name] = text

    def characters(data: str) -> None:
        nonlocal text
        text += data

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.Parse(body, True)
    quoted = top.get("EncodingType") == "url"  # may come after the versions it speaks of
    if quoted:
        versions = [version._replace(path=unquote_plus(version.path)) for version in versions]
    if top.get("IsTruncated") != "true":
        return Page(versions, {})
    marker = top["NextKeyMarker"]
    markers = {"KeyMarker": unquote_plus(marker) if quoted else marker}
    if version_id := top.get("NextVersionIdMarker"):  # S3 refuses an empty one
        markers["VersionIdMarker"] = version_id
    return Page(versions, markers)


def install(client: Any) -> None:
    """Makes this client's `list_object_versions` answer with a `Page` under `PAGE`."""
    client.meta.events.register("before-parse.s3.ListObjectVersions", _take_over, unique_id="stream-backup-listing")


def _take_over(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] == 200:
        customized_response_dict[PAGE] = parse(response_dict["body"])
        response_dict["body"] = _EMPTY


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
