"""The record of the truth: what was in the table at the end of every second, kept by whoever wrote it.

It is kept in memory, knows nothing of the archive, and shares no code with what is under test: a restore is right when,
row by row and attribute by attribute, it shows in wire form what is written down here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stream_backup.errors import StreamBackupError
from stream_backup.item import Item
from stream_backup.moment import iso

_LISTED = 3


class Write(NamedTuple):
    """`item` is None for a removal. The change happened in a second from `asked` to `answered`, by the server's clock."""

    name: str
    item: Item | None
    asked: int
    answered: int


class Checked(NamedTuple):
    rows: int
    values: int
    """Values compared: those within maps, lists and sets each count."""


@dataclass(slots=True)
class Truth:
    """`rows` is what is in the table now, by the key attribute `key` (a string); `first` what was in it at the beginning."""

    key: str
    rows: dict[str, Item] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    first: dict[str, Item] = field(default_factory=dict)

    def begin(self, rows: dict[str, Item]) -> None:
        self.first, self.rows = dict(rows), dict(rows)

    def wrote(self, write: Write) -> None:
        self.writes.append(write)
        _apply(self.rows, write)

    def at(self, moment: int) -> dict[str, Item]:
        """Every row at the end of second `moment`. Raises ValueError when a write may lie on either side of it."""
        rows = dict(self.first)
        for write in self.writes:
            if write.asked <= moment < write.answered:
                raise ValueError(f"a write of {write.name} was asked before the end of {iso(moment)} and answered after it")
            if write.answered <= moment:
                _apply(rows, write)
        return rows

    def moments(self) -> list[int]:
        """The seconds in which something was written, and whose end lies within no write."""
        torn = {second for write in self.writes for second in range(write.asked, write.answered)}
        return sorted({write.answered for write in self.writes} - torn)

    def check(self, what: str, moment: int, found: Iterable[Item]) -> Checked:
        """Compares `found` with the rows at `moment`. Raises StreamBackupError with the first differences."""
        expected = self.at(moment)
        given: dict[str, Item] = {}
        wrong = []
        for item in found:
            name = item[self.key]["S"]
            if name in given:
                wrong.append(f"{name} is there twice")
            given[name] = item
        for name in sorted({*expected, *given}):
            if name not in given:
                wrong.append(f"{name} is missing")
            elif name not in expected:
                wrong.append(f"{name} should not be there")
            else:
                wrong += (f"{name}: {line}" for line in differences({"M": expected[name]}, {"M": given[name]}))
        if wrong:
            listed = "; ".join(wrong[:_LISTED])
            raise StreamBackupError(
                f"{what} is not what was there at {iso(moment)}, in {len(wrong):,} places: {listed}.",
                "This must never happen; please report it with all of the output above.",
            )
        return Checked(len(expected), sum(_values({"M": item}) for item in expected.values()))


def differences(expected: dict[str, Any], found: dict[str, Any], where: str = "") -> Iterator[str]:
    """How two typed values differ, one sentence each, by the path of what differs. Only sets have no order."""
    if expected == found:
        return
    if set(expected) != set(found) or len(expected) != 1:
        yield f"{where} is {found}, not {expected}"
        return
    ((kind, right),) = expected.items()
    given = found[kind]
    if kind == "M":
        for name in sorted({*right, *given}):
            path = f"{where}.{name}" if where else name
            if name not in given:
                yield f"{path} is missing"
            elif name not in right:
                yield f"{path} should not be there"
            else:
                yield from differences(right[name], given[name], path)
    elif kind == "L" and len(right) == len(given):
        for index, (one, other) in enumerate(zip(right, given, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif kind not in ("SS", "NS", "BS") or sorted(right) != sorted(given):
        yield f"{where} is {found}, not {expected}"


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
