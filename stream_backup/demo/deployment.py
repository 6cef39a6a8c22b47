"""The bad deployment: what damages the table."""

from typing import NamedTuple

from stream_backup.core.item import Item
from stream_backup.core.moment import iso
from stream_backup.demo.live import DemoTable
from stream_backup.demo.rows import text

COUNTRIES = {"BR", "CA", "MX"}
"""The countries whose airports are damaged. They neither open nor close for good."""

BAD: Item = {"open": {"S": "undefined"}}
"""What the deployment writes into each of their rows, where `open` was true."""


class Deployed(NamedTuple):
    """How many rows were damaged, and the first and the last second in which that happened."""

    rows: int
    first: int
    last: int

    @property
    def before(self) -> int:
        """The last second before the damage."""
        return self.first - 1

    @property
    def window(self) -> tuple[str, ...]:
        """The seconds of the damage as `diff` and `undo` take them."""
        return "--from", iso(self.before), "--to", iso(self.last)


def deploy(table: DemoTable) -> Deployed:
    """Damages all airports in COUNTRIES, and returns when it did."""
    rows = table.truth.rows
    names = sorted(name for name, item in list(rows.items()) if text(item["country"]) in COUNTRIES)
    first = table.look()
    table.damage(names, BAD)
    return Deployed(len(names), first, table.second)
