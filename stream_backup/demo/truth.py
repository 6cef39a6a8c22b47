"""The record of the truth: what the table contained at the end of every second.

The writer keeps it in memory, independently of the archive and without code of the product. A
restore is correct if every row and attribute, in wire form, is what was recorded here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_backup.core.item import Item
from stream_backup.core.moment import iso
from stream_backup.demo.differences import differences
from stream_backup.errors import StreamBackupError

_LISTED = 3
"""Differences that an error message lists."""


class Write(NamedTuple):
    """A write of the row `name`; `item` is None for a deletion.

    It happened in a second from `asked` to `answered`, by the server's clock.
    """

    name: str
    item: Item | None
    asked: int
    answered: int


class Checked(NamedTuple):
    """The number of rows and of values that were compared and are equal."""

    rows: int
    values: int
    """Each value in a map, a list or a set counts."""


@dataclass(slots=True)
class Truth:
    """The rows of a table over time, by the key attribute `key`, which is a string.

    `rows` are the current rows, `first` those before the first of `writes`.
    """

    key: str
    rows: dict[str, Item] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    first: dict[str, Item] = field(default_factory=dict)

    def begin(self, rows: dict[str, Item]) -> None:
        """Sets the rows before the first write."""
        self.first, self.rows = dict(rows), dict(rows)

    def wrote(self, write: Write) -> None:
        """Adds a write."""
        self.writes.append(write)
        _apply(self.rows, write)

    def at(self, moment: int) -> dict[str, Item]:
        """Returns the rows at the end of second `moment`.

        Raises ValueError if it is unknown whether a write happened before or after the end.
        """
        rows = dict(self.first)
        for write in self.writes:
            if write.asked <= moment < write.answered:
                raise ValueError(
                    f"a write of {write.name} was asked before the end of {iso(moment)} "
                    "and answered after it"
                )
            if write.answered <= moment:
                _apply(rows, write)
        return rows

    def moments(self) -> list[int]:
        """Returns the seconds in which rows were written and at whose end all rows are known."""
        torn = {second for write in self.writes for second in range(write.asked, write.answered)}
        return sorted({write.answered for write in self.writes} - torn)

    def check(self, what: str, moment: int, found: Iterable[Item]) -> Checked:
        """Compares `found` with the rows at the end of second `moment`.

        Raises StreamBackupError with the first differences.
        """
        expected = self.at(moment)
        if wrong := list(self._wrong(expected, found)):
            listed = "; ".join(wrong[:_LISTED])
            raise StreamBackupError(
                f"{what} differs from the rows at {iso(moment)}, in {len(wrong):,} places: "
                f"{listed}.",
                "This is a defect. Report it with the complete output above.",
            )
        return Checked(len(expected), sum(_values({"M": item}) for item in expected.values()))

    def _wrong(self, expected: dict[str, Item], found: Iterable[Item]) -> Iterator[str]:
        given: dict[str, Item] = {}
        for item in found:
            name = item[self.key]["S"]
            if name in given:
                yield f"{name} exists twice"
            given[name] = item
        for name in sorted({*expected, *given}):
            if name not in given:
                yield f"{name} is missing"
            elif name not in expected:
                yield f"{name} should not exist"
            else:
                for line in differences({"M": expected[name]}, {"M": given[name]}):
                    yield f"{name}: {line}"


def _apply(rows: dict[str, Item], write: Write) -> None:
    if write.item is None:
        rows.pop(write.name, None)
    else:
        rows[write.name] = write.item


def _values(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "M":
            return sum(map(_values, content.values()))
        case "L":
            return sum(map(_values, content))
        case "SS" | "NS" | "BS":
            return len(content)
    return 1
