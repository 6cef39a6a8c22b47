"""The rows of the bench.

Every byte of a row is derived from its number, so the null server stores nothing. A row is an order
of 640 bytes in wire form, with a map, lists and a set.
"""

import time
from bisect import bisect_left, bisect_right
from functools import cache
from hashlib import md5
from typing import Any

from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash

BUCKET = "bench"
SCHEMA = KeySchema((("id", "S"),))
VERSIONS = 5
WEEK = 7 * 24 * 3600
BASE = 1_767_225_600
"""The time of the first version of every row. Each week has one more."""

MOMENT = BASE + (VERSIONS - 2) * WEEK + 3600
"""After the last version but one. As in a real restore, the listing is enough to skip the last."""

GOOD = BASE + (VERSIONS - 1) * WEEK + 3600
"""After the last version, before the damage."""

_NUMBER, _VERSION = "@@@@@@@@", "%%"

_STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


def table_name(count: int) -> str:
    """Returns the name of a table with `count` rows."""
    return f"rows-{count}"


def damaged_name(count: int, damaged: int) -> str:
    """Returns the name of a table with `count` rows, of which `damaged` have changed after `GOOD`.

    Its ETags are correct, and a scan returns the current rows.
    """
    return f"rows-{count}-{damaged}"


def count_of(table: str) -> int:
    """Returns the number of rows of a table, by its name."""
    return int(table.split("-")[1])


def newest(table: str, number: int) -> int | None:
    """Returns the last version of a row; None if the table is not a damaged one."""
    damaged = table.split("-")[2:]
    if not damaged:
        return None
    return VERSIONS if number % (count_of(table) // int(damaged[0])) == 0 else VERSIONS - 1


def key(number: int) -> Item:
    """Returns the key of a row."""
    return {"id": {"S": f"order-{number:08}"}}


def _template() -> Item:
    return {
        "id": {"S": f"order-{_NUMBER}"},
        "customer": {"S": f"customer-{_NUMBER}"},
        "status": {"S": "shipped"},
        "total": {"N": "149.95"},
        "version": {"N": _VERSION},
        "created": {"N": "1767225600"},
        "express": {"BOOL": False},
        "tags": {"SS": ["gift", "newsletter", "return-customer"]},
        "address": {
            "M": {"city": {"S": "Köln"}, "street": {"S": "Domkloster 4"}, "zip": {"S": "50667"}}
        },
        "lines": {
            "L": [
                {"M": {"sku": {"S": "SKU-0001"}, "count": {"N": "2"}, "price": {"N": "49.95"}}},
                {"M": {"sku": {"S": "SKU-0002"}, "count": {"N": "1"}, "price": {"N": "50.05"}}},
            ]
        },
        "note": {"S": "Leave it with the neighbours, or behind the gate when nobody opens. " * 2},
    }


_BODY = encode(_template())


def body(number: int, version: int) -> bytes:
    """Returns a row as canonical JSON; `version` is 0 to 9."""
    return _BODY.replace(b"@@@@@@@@", b"%08d" % number).replace(b"%%", b"%02d" % (version + 10))


def name(number: int) -> str:
    """Returns the name of a row's object, as `key_hash` does."""
    return md5(b'{"id":{"S":"order-%08d"}}' % number, usedforsecurity=False).hexdigest()


def at(version: int) -> int:
    """Returns the time of a version, in seconds since 1970."""
    return BASE + version * WEEK


class SortedRows:
    """The rows in the order of the names of their objects."""

    def __init__(self, count: int) -> None:
        self.count = count
        pairs = sorted((name(number), number) for number in range(count))
        self.names = [pair[0] for pair in pairs]
        self.numbers = [pair[1] for pair in pairs]

    def after(self, prefix: str, marker: str) -> tuple[int, int]:
        """Returns the positions (first, end) of names with `prefix` that follow `marker`."""
        first = bisect_right(self.names, marker) if marker else bisect_left(self.names, prefix)
        return first, bisect_left(self.names, prefix + "g")


@cache
def table(count: int) -> SortedRows:
    """Returns the rows of a table with `count` rows."""
    return SortedRows(count)


def event(count: int, start: int = 0) -> dict[str, Any]:
    """Returns a batch of `count` stream records of the last minute, as a function reads them.

    Of ten records, two change the same row, one inserts a row, and one deletes a row.
    """
    records = []
    began = int(time.time()) - 60
    for place in range(count):
        number = start + (place - 1 if place % 10 == 9 else place)
        kind = {0: "INSERT", 5: "REMOVE"}.get(place % 10, "MODIFY")
        row = _template()
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": float(began + place // 100),
            "Keys": key(number),
            "SequenceNumber": str(10**20 + 17 * place),
            "SizeBytes": 1400,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        for image, version, exists in (
            ("NewImage", 1, kind != "REMOVE"),
            ("OldImage", 0, kind != "INSERT"),
        ):
            if exists:
                data[image] = row | key(number) | {"version": {"N": str(version + 10)}}
        records.append(
            {
                "eventID": f"{place:032x}",
                "eventName": kind,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "us-east-1",
                "dynamodb": data,
                "eventSourceARN": _STREAM,
            }
        )
    return {"Records": records}


assert name(7) == key_hash(key(7))
