"""Paths of a row, and what happens at them: edits, and the conflicts that undo leaves."""

from collections.abc import Sequence
from typing import NamedTuple

from stream_backup.core.item import Item, Value
from stream_backup.core.values import is_map, same

Path = tuple[str, ...]
"""Attribute names from the row inwards. The empty path is the row itself."""


class Edit(NamedTuple):
    """A path whose value `now` becomes `after`; None is no value. The value of a row, at the empty
    path, is a map. `counter` says that a difference was subtracted, which must not happen twice."""

    path: Path
    now: Value | None
    after: Value | None
    counter: bool = False


class Conflict(NamedTuple):
    """A path that the damage changed and that changed again since, with its three values."""

    path: Path
    before: Value | None
    damaged: Value | None
    now: Value | None

    def back(self) -> list[Edit]:
        """Returns the edits that decide the conflict for before. A row that exists is edited by
        attribute, because only paths can be written without touching the rest of the row."""
        if self.path or self.before is None or self.now is None:
            return [Edit(self.path, self.now, self.before)]
        return differing(self.now["M"], self.before["M"])


def differing(now: Item, after: Item) -> list[Edit]:
    """Returns the edits that make one row or map into another, one for each attribute of the first
    level."""
    names = sorted({*now, *after})
    edits = (Edit((name,), now.get(name), after.get(name)) for name in names)
    return [edit for edit in edits if not same(edit.now, edit.after)]


def as_value(row: Item | None) -> Value | None:
    """Returns a row as a value, so that it can be treated like any map in it."""
    return None if row is None else {"M": row}


def value_at(row: Item | None, path: Path) -> Value | None:
    """Returns the value at a path of a row, None when there is none."""
    found = as_value(row)
    for name in path:
        found = found["M"].get(name) if found and is_map(found) else None
    return found


def applied(row: Item | None, edits: Sequence[Edit]) -> Item | None:
    """Returns the row as it is after these edits. Raises KeyError where the map that contains a
    path does not exist."""
    found = as_value(row)
    for edit in edits:
        found = _with(found, edit.path, edit.after)
    return None if found is None else found["M"]


def _with(value: Value | None, path: Path, after: Value | None) -> Value | None:
    if not path:
        return after
    if value is None or not is_map(value):
        raise KeyError(path[0])
    inner = dict(value["M"])
    found = _with(inner.pop(path[0], None), path[1:], after)
    return {"M": inner if found is None else {**inner, path[0]: found}}
