"""The answers of the null servers, derived from the request and from the numbers of rows."""

import json
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs

from bench import rows
from stream_backup.core.moment import iso

SCANNED = 1000
"""Rows on a page of a scan, about 640 KB. DynamoDB ends a page at 1 MB."""

LISTED = 1000
"""Versions on a page of a listing, as in S3."""

_VERSION = (
    b'ETag: "%s"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
    b"Content-Type: application/octet-stream\r\nx-amz-version-id: %s\r\n"
    b"x-amz-meta-format: 1\r\nx-amz-meta-kind: %s\r\nx-amz-meta-at: %d\r\n"
    b"x-amz-meta-sequence: %d\r\nx-amz-meta-seen: %d\r\n"
)

_SCAN = (
    b'{"ConsumedCapacity":{"TableName":"t","CapacityUnits":128.0},'
    b'"Count":%d,"ScannedCount":%d,"Items":[%s]%s}'
)

_LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<Name>{rows.BUCKET}</Name><Prefix>%s</Prefix><KeyMarker></KeyMarker>"
    "<VersionIdMarker></VersionIdMarker>%s<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
    "<IsTruncated>%s</IsTruncated>%s</ListVersionsResult>"
)

_ENTRY = (
    "<Version><Key>%s/%s</Key><VersionId>%d.%d</VersionId><IsLatest>%s</IsLatest>"
    "<LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size>"
    "<StorageClass>STANDARD</StorageClass>"
    "<Owner><ID>0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef</ID></Owner>"
    "</Version>"
)

_MARKERS = "<NextKeyMarker>%s/%s</NextKeyMarker><NextVersionIdMarker>0</NextVersionIdMarker>"

_SIZE = len(rows.body(0, 0))
_WRITTEN = [iso(rows.at(version) + 1).replace("Z", ".000Z") for version in range(rows.VERSIONS + 1)]


def version(version_id: bytes) -> tuple[bytes, bytes]:
    """Returns the body and the headers of a version. Its ID contains the row and its version."""
    number, version = map(int, version_id.split(b"."))
    at = rows.at(version)
    body = rows.body(number, version)
    headers = _VERSION % (
        md5(body, usedforsecurity=False).hexdigest().encode(),
        version_id,
        b"modify" if version else b"insert",
        at,
        10**20 + at,
        at,
    )
    return body, headers


def live(request: dict[str, Any], where: str) -> bytes:
    """Returns the current row of GetItem (`where` is `Key`) and of PutItem (`Item`)."""
    number = int(request[where]["id"]["S"].removeprefix("order-"))
    return rows.body(number, rows.newest(request["TableName"], number) or 0)


def scan(request: dict[str, Any]) -> bytes:
    """Returns a page of a segment. Rows are in the order of their numbers."""
    name = request["TableName"]
    count = rows.count_of(name)
    total, segment = request.get("TotalSegments", 1), request.get("Segment", 0)
    first, end = count * segment // total, count * (segment + 1) // total
    if start := request.get("ExclusiveStartKey"):
        first = int(start["id"]["S"].removeprefix("order-")) + 1
    stop = min(end, first + SCANNED)
    page = b",".join(
        rows.body(number, rows.newest(name, number) or 0) for number in range(first, stop)
    )
    last = b"" if stop == end else b',"LastEvaluatedKey":' + json.dumps(rows.key(stop - 1)).encode()
    return _SCAN % (stop - first, stop - first, page, last)


def listing(query: str) -> bytes:
    """Returns a page of the versions under the prefix, in the format of S3."""
    asked = parse_qs(query, keep_blank_values=True)
    prefix = asked["prefix"][0]
    folder, _, start = prefix.rpartition("/")
    table = rows.table(rows.count_of(folder))
    first, end = table.after(start, asked.get("key-marker", [""])[0].rpartition("/")[2])
    stop = min(end, first + LISTED // rows.VERSIONS)
    entries = "".join(_entries(folder, table, place) for place in range(first, stop))
    more = stop < end
    markers = _MARKERS % (folder, table.names[stop - 1]) if more else ""
    return (_LISTING % (prefix, markers, "true" if more else "false", entries)).encode()


def _entries(folder: str, table: rows.SortedRows, place: int) -> str:
    """Returns the versions of one row, the newest first."""
    name, number = table.names[place], table.numbers[place]
    newest = rows.newest(folder, number)
    last = rows.VERSIONS - 1 if newest is None else newest
    return "".join(
        _ENTRY
        % (
            folder,
            name,
            number,
            version,
            "true" if version == last else "false",
            _WRITTEN[version],
            name if newest is None else md5(rows.body(number, version)).hexdigest(),
            _SIZE,
        )
        for version in range(last, -1, -1)
    )
