"""The data set: every airport that has an IATA code, from the package airportsdata (MIT), as DynamoDB items.

Numbers are taken from its CSV as decimal text: they never become a float on their way into the table.
"""

import csv
from base64 import b64encode
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from struct import pack

import airportsdata

from stream_backup.item import Item, Value

KEY = "iata"

SOURCE = f"airportsdata {version('airportsdata')}"
LICENCE = "MIT"

_TEXTS = ("iata", "icao", "name", "city", "subd", "country", "tz")


def airports() -> dict[str, Item]:
    """IATA code → the airport's item: text, a map of exact numbers, a set of its codes, its position in 16 bytes."""
    table = Path(airportsdata.__file__).with_name("airports.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["iata"]: _item(row) for row in csv.DictReader(lines) if row["iata"]}


def number(exact: Decimal) -> Value:
    """Spelled as DynamoDB gives it back: plain digits, no trailing zeros, no minus before a zero."""
    return {"N": format(exact.normalize() + 0, "f")}


def text(value: Value) -> str:
    return str(value["S"])


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
