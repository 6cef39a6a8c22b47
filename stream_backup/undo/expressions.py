"""From the edits of a row to the requests that make them.

UpdateItem writes only the paths that are edited, each under the condition that it still is what was
read, and that the row exists: otherwise a row that was deleted would come back as a stump. A path
that is created in a map has the condition that the map exists. Names and values are always passed
as placeholders, so that any attribute name can be used.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from stream_backup.core.edits import Edit, Path
from stream_backup.core.item import Item, Value

LONGEST = 4096
"""Bytes of an expression (Amazon DynamoDB Developer Guide, "Quotas")."""

OPERATORS = 300
"""Operators and functions of an expression, from the same page. They are counted for the update and
its condition together, and a period in a path counts as one."""


class Update(NamedTuple):
    """One UpdateItem and the edits that it makes."""

    request: dict[str, Any]
    edits: tuple[Edit, ...]


def updates(table: str, key: Item, edits: Sequence[Edit], mark: Edit | None = None) -> list[Update]:
    """Returns the requests that make these edits, in the order in which they must be sent. None of
    the edits is of the row itself. Removals come first, so that a row gets larger last.

    `mark` is written together with the counters, under the condition that it is not there.
    """
    counters = [edit for edit in edits if edit.counter]
    marked = [(mark, *counters)] if mark else [(counter,) for counter in counters]
    others = [(edit,) for edit in edits if not edit.counter]
    shrinking = [each for each in others if each[0].after is None]
    growing = [each for each in others if each[0].after is not None]
    groups = [*shrinking, *marked, *growing]
    packed = _packed((next(iter(key)),), groups)
    return [Update(_request(table, key, parts), tuple(part)) for parts, part in packed]


def _packed(key: Path, groups: Iterable[Sequence[Edit]]) -> Iterator[tuple["_Parts", list[Edit]]]:
    """Yields the edits in as few requests as fit, without dividing a group."""
    parts, edits = _Parts.of(key), list[Edit]()
    for group in groups:
        parts.add(group)
        if edits and not parts.fit:
            # The parts have one group too many: they are made again, which happens once a request.
            yield _Parts.of(key, edits), edits
            parts, edits = _Parts.of(key, group), []
        edits.extend(group)
    if edits:
        yield parts, edits


def _request(table: str, key: Item, parts: "_Parts") -> dict[str, Any]:
    found = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": parts.update,
        "ConditionExpression": parts.condition,
        "ExpressionAttributeNames": {text: name for name, text in parts.names.items()},
    }
    return found | ({"ExpressionAttributeValues": parts.values} if parts.values else {})


@dataclass(slots=True)
class _Parts:
    """The parts of one request. `names` has the placeholder of each attribute name."""

    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    sets: list[str] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)
    conditions: dict[str, None] = field(default_factory=dict)
    operators: int = 0

    @classmethod
    def of(cls, key: Path, edits: Iterable[Edit] = ()) -> Self:
        """Returns the parts of a request that makes these edits if the row exists; `key` is the
        path of a key attribute."""
        parts = cls()
        parts.require(f"attribute_exists({parts.path(key)})")
        parts.add(edits)
        return parts

    @property
    def update(self) -> str:
        """The update expression."""
        clauses = {"SET ": self.sets, "REMOVE ": self.removes}
        return " ".join(clause + ", ".join(found) for clause, found in clauses.items() if found)

    @property
    def condition(self) -> str:
        """The condition expression."""
        return " AND ".join(self.conditions)

    @property
    def fit(self) -> bool:
        """Whether one request can have these parts."""
        return self.operators <= OPERATORS and max(len(self.update), len(self.condition)) <= LONGEST

    def add(self, edits: Iterable[Edit]) -> None:
        """Adds edits and their conditions."""
        for edit in edits:
            self._add(edit)

    def _add(self, edit: Edit) -> None:
        path = self.path(edit.path)
        if edit.after is None:
            self.removes.append(path)
        else:
            self.sets.append(f"{path} = {self.value(edit.after)}")
        self.operators += len(edit.path)
        if edit.now is not None:
            self.require(f"{path} = {self.value(edit.now)}")
            return
        self.require(f"attribute_not_exists({path})")
        if len(edit.path) > 1:
            self.values[":map"] = {"S": "M"}
            self.require(f"attribute_type({self.path(edit.path[:-1])}, :map)")

    def require(self, condition: str) -> None:
        """Adds a condition, once."""
        if condition not in self.conditions:
            self.conditions[condition] = None
            self.operators += 2 + condition.count(".")

    def path(self, path: Path) -> str:
        """Returns a path with the placeholders of its names."""
        return ".".join(self.names.setdefault(name, f"#{len(self.names)}") for name in path)

    def value(self, value: Value) -> str:
        """Returns the placeholder of a value."""
        text = f":{len(self.values)}"
        self.values[text] = value
        return text
