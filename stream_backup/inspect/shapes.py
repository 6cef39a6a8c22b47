"""Groups differences by shape, because that is how people recognize damage: which attributes
changed, and to what.

Items whose same attributes changed belong together. Among them, a new value is literal when it
occurs often, and a former value when all items of the group had it; any other is `*`. Every item
belongs to exactly one shape, and the counts are exact. What is counted is kept on disk, so that
memory does not grow with the number of items.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from math import isqrt
from typing import Literal, NamedTuple, cast

from stream_backup.core.difference import Difference, differences, plain
from stream_backup.core.item import Item, Value, decode, digest
from stream_backup.core.key import key_json
from stream_backup.inspect.window import Changed

ANY = "*"
"""Stands for values, or names in a map, that are not the same for all items of a shape."""

Changes = tuple[tuple[str, str, str], ...]
"""The path, the old and the new value of each attribute, as text."""

Fate = Literal["modify", "insert", "remove", "expire"]
"""What became of an item between two moments; `expire` is a removal by its time to live."""

SETS = 1000
"""Sets of changed attributes that are told apart."""

LITERALS = 10
"""Values of one attribute that are told apart."""

GROUPS = 200
"""Shapes into which the items with one set of changed attributes are divided."""

LONGEST = 200
"""Characters of a value that are kept."""

_TABLES = """
PRAGMA journal_mode = OFF;
CREATE TABLE row (paths INTEGER, new TEXT, old TEXT, items INTEGER, first INTEGER, last INTEGER,
                  name TEXT, key TEXT, PRIMARY KEY (paths, new, old)) WITHOUT ROWID;
CREATE TABLE cell (paths INTEGER, place INTEGER, value TEXT, items INTEGER,
                   PRIMARY KEY (paths, place, value)) WITHOUT ROWID;
"""
_ADD_ROW = """
INSERT INTO row VALUES (?, ?, ?, 1, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET items = items + 1,
  first = min(first, excluded.first), last = max(last, excluded.last),
  key = iif(excluded.name < name, excluded.key, key), name = min(name, excluded.name)
"""
_ADD_CELL = "INSERT INTO cell VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET items = items + 1"


class Shape(NamedTuple):
    """`items` items that changed alike. `changes` has the path, the old and the new value of each
    attribute as text; it is empty unless the `fate` is `modify`. `first` and `last` are the seconds
    of the first and the last change, and `key` is the key of one of the items."""

    fate: Fate
    changes: Changes
    items: int
    first: int
    last: int
    name: str
    key: Item

    def joined(self, other: "Shape", changes: Changes) -> "Shape":
        """Returns both as one shape with these `changes`. Its key is the one whose name is
        lower."""
        return Shape(
            self.fate,
            changes,
            self.items + other.items,
            min(self.first, other.first),
            max(self.last, other.last),
            *min((self.name, self.key), (other.name, other.key), key=lambda each: each[0]),
        )


class Shapes:
    """Counts items by shape, in a database that nobody else sees."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")
        self._sets: dict[tuple[str, ...], int] = {}

    def close(self) -> None:
        """Deletes the database."""
        self._database.close()

    def add(self, changed: Changed, found: Iterable[Difference]) -> None:
        """Counts an item with its differences, which are empty unless it was modified."""
        fate = fate_of(changed)
        changes = [(each.path, _text(each.old), _text(each.new)) for each in found]
        if fate != "modify":
            changes = []
        number = self._number(fate, changes, SETS)
        if number is None:  # too many: names in maps are not told apart
            changes = _collapsed(changes)
            number = self._number(fate, changes, 2 * SETS)
        if number is None:
            changes = [(ANY, ANY, ANY)]
            number = self._number(fate, changes, 2 * SETS + 1)
        news, olds = [new for _, _, new in changes], [old for _, old, _ in changes]
        row = (number, json.dumps(news), json.dumps(olds), changed.first, changed.last)
        self._database.execute(_ADD_ROW, (*row, changed.name, key_json(changed.key)))
        self._database.executemany(
            _ADD_CELL, ((number, place, new) for place, new in enumerate(news))
        )

    def _number(
        self, fate: Fate, changes: Iterable[tuple[str, str, str]], limit: int
    ) -> int | None:
        """The number of a set of changed attributes, None when it would be one too many."""
        paths = (fate, *(path for path, _, _ in changes))
        if paths not in self._sets and len(self._sets) < limit:
            self._sets[paths] = len(self._sets)
        return self._sets.get(paths)

    def found(self) -> list[Shape]:
        """Returns the shapes: modifications first, then insertions, removals and expiries, and of
        each the most frequent first."""
        shapes = [shape for paths in self._sets for shape in self._divided(paths)]
        order = ("modify", "insert", "remove", "expire")
        return sorted(
            _merged(shapes), key=lambda each: (order.index(each.fate), -each.items, each.changes)
        )

    def _divided(self, paths: tuple[str, ...]) -> Iterable[Shape]:
        """The shapes of the items with one set of changed attributes."""
        number, places = self._sets[paths], range(len(paths) - 1)
        literals = [self._literals(number, place) for place in places]
        while True:
            groups: dict[tuple[str, ...], Shape] = {}
            for new, shape in self._rows(number, paths):
                chosen = tuple(
                    value if value in literals[place] else ANY for place, value in enumerate(new)
                )
                changes = tuple(
                    (path, old, value)
                    for (path, old, _), value in zip(shape.changes, chosen, strict=True)
                )
                former = groups.get(chosen)
                groups[chosen] = (
                    former.joined(shape, _shared(former.changes, changes))
                    if former
                    else shape._replace(changes=changes)
                )
                if len(groups) > GROUPS:
                    break
            else:
                return groups.values()
            widest = max(places, key=lambda place: len(literals[place]))
            literals[widest] = set()

    def _rows(self, number: int, paths: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Shape]]:
        query = "SELECT new, old, items, first, last, name, key FROM row WHERE paths = ?"
        fate = cast(Fate, paths[0])
        for news, olds, items, first, last, name, key in self._database.execute(query, (number,)):
            new = tuple(json.loads(news))
            changes = tuple(zip(paths[1:], json.loads(olds), new, strict=True))
            yield new, Shape(fate, changes, items, first, last, name, json.loads(key))

    def _literals(self, number: int, place: int) -> set[str]:
        """The values that occur often enough at this place to be told apart."""
        total = "SELECT sum(items) FROM cell WHERE paths = ? AND place = ?"
        ((items,),) = self._database.execute(total, (number, place))
        least = min(items, often(items))
        query = (
            "SELECT value FROM cell WHERE paths = ? AND place = ? AND items >= ?"
            " ORDER BY items DESC, value LIMIT ?"
        )
        found = self._database.execute(query, (number, place, least, LITERALS))
        return {value for (value,) in found}


def often(items: int) -> int:
    """Returns how many of so many items must have a value for it to be told apart: the square root
    of their number, and two at least. A job that damaged a twentieth of what changed is seen, and
    two of thirty orders that cost the same are not."""
    return max(2, isqrt(max(0, items - 1)) + 1)


def fate_of(changed: Changed) -> Fate:
    """Returns what became of an item that differs between two moments."""
    if changed.before is None:
        return "insert"
    if changed.after is None:
        return "expire" if changed.stamps[-1].by == "ttl" else "remove"
    return "modify"


def differences_of(changed: Changed) -> list[Difference]:
    """Returns the differences between what an item was before a window and after it, by path."""
    before, after = (
        {} if body is None else decode(body) for body in (changed.before, changed.after)
    )
    return differences(before, after)


def _merged(shapes: list[Shape]) -> Iterable[Shape]:
    """Joins rare shapes that differ only in names within maps."""
    least = often(sum(shape.items for shape in shapes))
    alike = Counter(tuple(_collapsed(shape.changes)) for shape in shapes if shape.items < least)
    joined: dict[tuple[Fate, Changes], Shape] = {}
    for shape in shapes:
        changes = tuple(_collapsed(shape.changes))
        if shape.items >= least or alike[changes] < 2:
            changes = shape.changes
        former = joined.get((shape.fate, changes))
        joined[shape.fate, changes] = (
            former.joined(shape, changes) if former else shape._replace(changes=changes)
        )
    return joined.values()


def _collapsed(changes: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The same without names in maps and places in lists."""
    found = {}
    for path, old, new in changes:
        top = min(path.partition(".")[0], path.partition("[")[0], key=len)
        if top == path:
            found[path] = (path, old, new)
        else:
            found[f"{top}.{ANY}"] = (f"{top}.{ANY}", ANY, ANY)
    return list(found.values())


def _shared(one: Changes, other: Changes) -> Changes:
    return tuple(
        (path, old if old == former else ANY, new)
        for (path, old, new), (_, former, _) in zip(one, other, strict=True)
    )


def _text(value: Value | None) -> str:
    """A value as text. Of a long one the beginning is kept, with what tells it from others."""
    text = plain(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…{digest(text.encode())}"
