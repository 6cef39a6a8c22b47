"""The data set: every airport that has an IATA code, from the package airportsdata (MIT license).

Rows are DynamoDB items in wire form. Numbers are read from the CSV file as decimal text and are
never converted to a float.
"""

import csv
from base64 import b64encode
from decimal import Decimal
from importlib.metadata import version
from math import asin, cos, radians, sin, sqrt
from pathlib import Path
from struct import pack

import airportsdata

from stream_backup.core.item import Item, Value

KEY = "iata"
"""The key attribute."""

SOURCE = f"airportsdata {version('airportsdata')}"
LICENSE = "MIT"

_TEXTS = ("iata", "icao", "name", "city", "subd", "country", "tz")


def airports() -> dict[str, Item]:
    """Returns the airports by IATA code.

    An item has text, a map of exact numbers, a set with its codes, and its position in 16 bytes.
    """
    table = Path(airportsdata.__file__).with_name("airports.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["iata"]: _item(row) for row in csv.DictReader(lines) if row["iata"]}


def number(exact: Decimal) -> Value:
    """Returns a number as DynamoDB returns it: plain digits without trailing zeros, and no -0."""
    return {"N": format(exact.normalize() + 0, "f")}


def text(value: Value) -> str:
    """Returns the content of a string value."""
    return str(value["S"])


def distance(start: Item, end: Item) -> Decimal:
    """Returns the great-circle distance between two airports, in kilometers with 3 decimals."""
    ((lat, lon), (lat2, lon2)) = (
        (radians(float(geo["lat"]["N"])), radians(float(geo["lon"]["N"])))
        for geo in (start["geo"]["M"], end["geo"]["M"])
    )
    half = sin((lat2 - lat) / 2) ** 2 + cos(lat) * cos(lat2) * sin((lon2 - lon) / 2) ** 2
    return Decimal(2 * 6371 * asin(sqrt(min(1, half)))).quantize(Decimal("0.001"))


def _item(row: dict[str, str]) -> Item:
    item: Item = {name: {"S": row[name]} for name in _TEXTS if row[name]}
    item["codes"] = {"SS": sorted({row[name] for name in ("iata", "icao", "lid") if row[name]})}
    item["geo"] = {
        "M": {
            "lat": number(Decimal(row["lat"])),
            "lon": number(Decimal(row["lon"])),
            "elevation_ft": number(Decimal(row["elevation"])),
        }
    }
    item["position"] = {"B": b64encode(pack(">dd", float(row["lat"]), float(row["lon"]))).decode()}
    item["open"] = {"BOOL": True}
    return item
