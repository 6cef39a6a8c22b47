"""The rows of the bench: every byte follows from a row's number, so the null server stores nothing and client and server
agree. A row is an order of 640 bytes in wire form, with a map, lists and a set in it.
"""

from bisect import bisect_left, bisect_right
from functools import cache
from hashlib import md5
from typing import Any

from stream_backup.item import Item, encode
from stream_backup.key import KeySchema, key_hash

BUCKET = "bench"
SCHEMA = KeySchema((("id", "S"),))
VERSIONS = 5
WEEK = 7 * 24 * 3600
BASE = 1_767_225_600
"""When every row was first written; it was written again each week."""

MOMENT = BASE + (VERSIONS - 2) * WEEK + 3600
"""After the last but one version: as in a real restore the last one is passed over by the listing alone."""

GOOD = BASE + (VERSIONS - 1) * WEEK + 3600
"""After the last version, before the damage."""

_NUMBER, _VERSION = "@@@@@@@@", "%%"


def table_name(count: int) -> str:
    """The table says how many rows it has."""
    return f"rows-{count}"


def damaged_name(count: int, damaged: int) -> str:
    """A table of `count` rows of which `damaged` were written once more, after `GOOD`. Its ETags are true, and a scan gives what
    the rows are now."""
    return f"rows-{count}-{damaged}"


def count_of(table: str) -> int:
    return int(table.split("-")[1])


def newest(table: str, number: int) -> int | None:
    """The row's last version; None where the table does not care."""
    damaged = table.split("-")[2:]
    if not damaged:
        return None
    return VERSIONS if number % (count_of(table) // int(damaged[0])) == 0 else VERSIONS - 1


def key(number: int) -> Item:
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
        "address": {"M": {"city": {"S": "Köln"}, "street": {"S": "Domkloster 4"}, "zip": {"S": "50667"}}},
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
    """The row's canonical JSON; `version` 0 to 9."""
    return _BODY.replace(b"@@@@@@@@", b"%08d" % number).replace(b"%%", b"%02d" % (version + 10))


def name(number: int) -> str:
    """The row's object, as `key_hash` names it."""
    return md5(b'{"id":{"S":"order-%08d"}}' % number, usedforsecurity=False).hexdigest()


def at(version: int) -> int:
    return BASE + version * WEEK


class Table:
    """The rows in order of their objects' names."""

    def __init__(self, count: int) -> None:
        self.count = count
        pairs = sorted((name(number), number) for number in range(count))
        self.names = [pair[0] for pair in pairs]
        self.numbers = [pair[1] for pair in pairs]

    def after(self, prefix: str, marker: str) -> tuple[int, int]:
        """Positions (first, end) of names with `prefix` that come after `marker`."""
        first = bisect_right(self.names, marker) if marker else bisect_left(self.names, prefix)
        return first, bisect_left(self.names, prefix + "g")


@cache
def table(count: int) -> Table:
    return Table(count)


def event(count: int, start: int = 0) -> dict[str, Any]:
    """A batch of `count` stream records: of every ten one row changes twice, one is inserted, one removed."""
    records = []
    for place in range(count):
        number = start + (place - 1 if place % 10 == 9 else place)
        kind = {0: "INSERT", 5: "REMOVE"}.get(place % 10, "MODIFY")
        row = _template()
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": float(BASE + place // 100),
            "Keys": key(number),
            "SequenceNumber": str(10**20 + 17 * place),
            "SizeBytes": 1400,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        for image, version, there in (("NewImage", 1, kind != "REMOVE"), ("OldImage", 0, kind != "INSERT")):
            if there:
                data[image] = row | key(number) | {"version": {"N": str(version + 10)}}
        records.append(
            {
                "eventID": f"{place:032x}",
                "eventName": kind,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "us-east-1",
                "dynamodb": data,
                "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000",
            }
        )
    return {"Records": records}


assert name(7) == key_hash(key(7))
