"""What an undo does to a row: the rule of `core/merge.py` with what the user chose."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from stream_backup.core.edits import Conflict, Edit, applied, as_value
from stream_backup.core.item import Item, Value
from stream_backup.core.merge import Choice, Decision, merge
from stream_backup.core.values import is_map, same
from stream_backup.undo.damage import Damage

Decide = Callable[[Item, Conflict], Decision | None]
"""Decides a conflict of the row with this key; None leaves it."""


class Mark(NamedTuple):
    """The attribute that an undo adds to the rows that it changes, and the name of the undo."""

    attribute: str
    name: str

    @property
    def value(self) -> Value:
        """The value of the attribute."""
        return {"S": self.name}

    def strip(self, row: Item | None) -> Item | None:
        """Returns a row without this mark."""
        if row is None or row.get(self.attribute) != self.value:
            return row
        return {name: value for name, value in row.items() if name != self.attribute}


@dataclass(slots=True)
class Verdict:
    """What to do with a row: its `edits`, of which one of the row itself is the only one, the
    `conflicts` that remain, and the `mark` to write with them. `refused` says why the row must be
    left; then it has no edits. `outside` is that of `Merged`. `doubtful` says that a change was
    left because it is not known whether it was made."""

    edits: list[Edit] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    mark: Edit | None = None
    refused: str = ""
    outside: bool = False
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """The choices of an undo. Without `decide`, conflicts are left."""

    choice: Choice = Choice()  # noqa: RUF009 - it is frozen
    mark: Mark | None = None
    decide: Decide = lambda _key, _conflict: None

    def judge(self, damage: Damage, live: Item | None) -> Verdict:
        """Returns what to do with a row that is now `live`."""
        now, marked = live, self._marked(live)
        if marked and self.mark:
            now = self.mark.strip(live)
        found = self._merged(damage, now, counted=marked)
        if self.mark and found.edits and not marked:
            self._add(found, live, self.mark)
        return found

    def _marked(self, live: Item | None) -> bool:
        return bool(self.mark and live and live.get(self.mark.attribute) == self.mark.value)

    def _merged(self, damage: Damage, now: Item | None, *, counted: bool) -> Verdict:
        found, state = Verdict(), now
        choice = Choice(self.choice.changed, self.choice.deltas, counted)
        strip = self.mark.strip if self.mark else _unchanged
        edits: list[Edit] = []
        for layer in damage.layers:
            since = [strip(each) for each in layer.since]
            merged = merge(layer.before, layer.damaged, state, [*since, state], choice)
            if layer.doubtful and (merged.edits or merged.conflicts):
                found.doubtful = True
                continue
            row = state
            merged = merged.decided(lambda conflict: self.decide(damage.key, conflict), row)
            found.conflicts += merged.conflicts
            found.outside |= merged.outside
            edits += merged.edits
            state = applied(state, merged.edits)
        found.edits = edits if len(damage.layers) == 1 else _combined(now, state, edits)
        return found

    def _add(self, found: Verdict, live: Item | None, mark: Mark) -> None:
        """Adds the mark to a row that is put back or updated; one that is deleted has none."""
        first = found.edits[0]
        row = live if first.path else first.after and first.after["M"]
        if row and mark.attribute in row:
            found.refused = f"its attribute {mark.attribute!r} has another value"
            found.edits = []
        elif first.path:
            found.mark = Edit((mark.attribute,), None, mark.value)
        elif row:
            found.edits = [Edit((), first.now, {"M": {**row, mark.attribute: mark.value}})]


def _unchanged(row: Item | None) -> Item | None:
    return row


def _combined(now: Item | None, wanted: Item | None, made: list[Edit]) -> list[Edit]:
    """Returns the edits that lead from one state to another, at the deepest paths. A path at which
    a counter was subtracted remains a counter."""
    counters = {edit.path for edit in made if edit.counter}
    found: list[Edit] = []

    def compare(path: tuple[str, ...], one: Value | None, other: Value | None) -> None:
        if same(one, other):
            return
        if one and other and is_map(one) and is_map(other):
            for name in sorted({*one["M"], *other["M"]}):
                compare((*path, name), one["M"].get(name), other["M"].get(name))
        else:
            found.append(Edit(path, one, other, path in counters))

    compare((), as_value(now), as_value(wanted))
    return found
