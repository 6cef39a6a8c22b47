"""One page of ListObjectVersions → `Version` tuples.

Botocore builds dictionaries and dates for every field: 127 µs an entry. A page spelled as S3 spells it is read here by one
regular expression, 3 µs an entry; whatever is spelled in another way (another S3, delete markers) by expat, 13 µs.
`install` puts this before botocore's own parser on one client, and leaves signing, retries and errors to it.
"""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from stream_backup.store import Version

PAGE = "ParsedVersionPage"
"""Where the answer of `list_object_versions` carries its `Page`."""

_ROOT = b"<ListVersionsResult"
_EMPTY = b"<ListVersionsResult/>"

_ENTRY = re.compile(
    r"<Version><Key>([^<&]+)</Key><VersionId>([^<&]+)</VersionId><IsLatest>[a-z]+</IsLatest>"
    r"<LastModified>([^<&]+)</LastModified><ETag>(?:&[^<;]+;|\")?([0-9a-f-]+)(?:&[^<;]+;|\")?</ETag>"
    r"(?:<(?!Size>|/Version>)[^<]*)*<Size>(\d+)</Size>(?:<(?!Size>|/Version>)[^<]*)*</Version>"
)


class Page(NamedTuple):
    versions: list[Version]
    markers: dict[str, str]
    """Arguments of the request for the next page; empty after the last."""


def parse(body: bytes) -> Page:
    """Versions in the page's order; delete markers are left out, for they remove nothing from history."""
    text = body.decode()
    first, last = text.find("<Version>"), text.rfind("</Version>") + len("</Version>")
    found = _ENTRY.findall(text)
    if len(found) != text.count("<Version>") or "<DeleteMarker>" in text or "<!" in text:
        return parse_any(body)
    rest = parse_any((text[:first] + text[last:]).encode()) if found else parse_any(body)
    quoted = "<EncodingType>url</EncodingType>" in text and ("%" in text or "+" in text)
    versions = [
        Version(unquote_plus(path) if quoted else path, version_id, _seconds(written), int(size), etag)
        for path, version_id, written, etag, size in found
    ]
    return Page(versions, rest.markers)


def parse_any(body: bytes) -> Page:
    """The same of any page that is XML, however it is spelled."""
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
    """Makes this client's `list_object_versions` answer with a `Page` under `PAGE`.

    Botocore parses every page whole, to see that it is no error in disguise (status 200, `<Error>` inside), before it asks
    whoever listens to this operation, and even the first of those who listen to S3; only listeners to all come before it.
    """
    client.meta.events.register_first("before-parse.*.*", _take_over, unique_id="stream-backup-listing")


def _take_over(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], event_name: str, **_: Any) -> None:
    body = response_dict["body"]
    if event_name.endswith(".ListObjectVersions") and response_dict["status_code"] == 200 and _ROOT in body[:300]:
        customized_response_dict[PAGE] = parse(body)
        response_dict["body"] = _EMPTY


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
