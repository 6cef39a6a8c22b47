"""Parses a page of ListObjectVersions into `Version` tuples.

Botocore creates dictionaries and dates for every field, which takes 127 µs for each entry. This
module parses a page in the format that S3 writes with one regular expression, in 3 µs for each
entry. It parses other pages (of other S3 implementations, or with delete markers) with expat, in
13 µs for each entry. `install` runs it before botocore's parser on one client; botocore still
handles signing, retries and errors.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from stream_backup.core.version import Version

PAGE = "ParsedVersionPage"
"""The name of the member of a `list_object_versions` response that contains its `Page`."""

_ROOT = b"<ListVersionsResult"
_EMPTY = b"<ListVersionsResult/>"

_ENTRY = re.compile(
    r"<Version><Key>([^<&]+)</Key><VersionId>([^<&]+)</VersionId><IsLatest>[a-z]+</IsLatest>"
    r"<LastModified>([^<&]+)</LastModified><ETag>(?:&[^<;]+;|\")?([0-9a-f-]+)(?:&[^<;]+;|\")?</ETag>"
    r"(?:<(?!Size>|/Version>)[^<]*+)*+<Size>(\d++)</Size>(?:<(?!Size>|/Version>)[^<]*+)*+</Version>"
)


class Page(NamedTuple):
    """One page of a listing of versions."""

    versions: list[Version]
    """Delete markers too."""

    markers: dict[str, str]
    """The arguments of the request for the next page, empty on the last page."""


def parse(body: bytes) -> Page:
    """Returns the page in a ListObjectVersions response, with its versions and delete markers in
    the same order. Raises what `parse_any` raises, and UnicodeDecodeError when `body` is not
    UTF-8."""
    text = body.decode()
    first, last = text.find("<Version>"), text.rfind("</Version>") + len("</Version>")
    found = _ENTRY.findall(text)
    other = "<DeleteMarker>" in text or ("!" in text and "<!" in text)  # the first is found faster
    if len(found) != text.count("<Version>") or other:
        return parse_any(body)
    rest = parse_any((text[:first] + text[last:]).encode()) if found else parse_any(body)
    quoted = "<EncodingType>url</EncodingType>" in text and ("%" in text or "+" in text)
    versions = [
        Version(
            unquote_plus(path) if quoted else path, version_id, _seconds(written), int(size), etag
        )
        for path, version_id, written, etag, size in found
    ]
    return Page(versions, rest.markers)


def parse_any(body: bytes) -> Page:
    """Returns the same as `parse` for a page in any XML notation. Raises ExpatError when `body` is
    not XML, and KeyError or ValueError when an entry has a missing or invalid field."""
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
        if name in ("Version", "DeleteMarker"):
            marker = name == "DeleteMarker"
            versions.append(
                Version(
                    path=fields["Key"],
                    version_id=fields["VersionId"],
                    written=_seconds(fields["LastModified"]),
                    size=0 if marker else int(fields["Size"]),
                    etag="" if marker else fields["ETag"].strip('"'),
                    marker=marker,
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
    quoted = top.get("EncodingType") == "url"  # This element may follow the versions.
    if quoted:
        versions = [version._replace(path=unquote_plus(version.path)) for version in versions]
    if top.get("IsTruncated") != "true":
        return Page(versions, {})
    marker = top["NextKeyMarker"]
    markers = {"KeyMarker": unquote_plus(marker) if quoted else marker}
    if version_id := top.get("NextVersionIdMarker"):  # S3 rejects an empty marker.
        markers["VersionIdMarker"] = version_id
    return Page(versions, markers)


def install(client: Any) -> None:
    """Makes `list_object_versions` of this client return a `Page` under `PAGE`.

    Botocore parses every response of S3 completely to detect an error with status 200 (an `<Error>`
    element in the body). It does so before it calls the handlers that are registered for this
    operation, and also before the first handler registered for S3. Only a handler for all services
    runs earlier, so this function registers one.
    """
    client.meta.events.register_first(
        "before-parse.*.*", _take_over, unique_id="stream-backup-listing"
    )


def _take_over(
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    event_name: str,
    **_: Any,
) -> None:
    body = response_dict["body"]
    if (
        event_name.endswith(".ListObjectVersions")
        and response_dict["status_code"] == 200
        and _ROOT in body[:300]
    ):
        customized_response_dict[PAGE] = parse(body)
        response_dict["body"] = _EMPTY


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
