"""The rule of undo: what becomes of one row, given three states of it and what happened since.

*Before* is the row before the damage, *damaged* the row after it, *now* the row as it is. Each path
where before and damaged differ is judged by itself:

    now as before                                       left
    now as damaged, and so in every version since       back to before
    anything else                                       a conflict: left, and listed once

The rule descends into a map only where all three states have one, so a map or row that the damage
inserted, removed or replaced is judged as a whole. Everything in a map or row that did not exist at
some time since counts as changed since. Sets of one type are merged by member, where a set that
does not exist is empty: a member that changed since stays. Lists and scalars are judged as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from stream_backup.core.edits import Conflict, Edit, Path, as_value, value_at
from stream_backup.core.item import Item, Value
from stream_backup.core.values import is_map, members, same, set_type, without_difference

Decision = Literal["before", "now"]
"""How a conflict is decided: for the value before the damage, or for the one that is there now."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which paths of a row are undone, and how. Without `changed` all are, otherwise these and what
    is below them. The numbers at `deltas` are counters: their difference is subtracted, whatever
    happened to them since. Where that was done already, `counted`, they are left."""

    changed: tuple[Path, ...] = ()
    deltas: frozenset[Path] = frozenset()
    counted: bool = False


EVERYTHING = Choice()


@dataclass(slots=True)
class Merged:
    """What undo does to a row: its `edits`, of which none contains another, and the `conflicts`
    that it leaves. `outside` says that the damage inserted, removed or replaced something that
    contains a path of `Choice.changed`, and that is left too."""

    edits: list[Edit] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    outside: bool = False

    def decided(self, decide: Callable[[Conflict], Decision | None], now: Item | None) -> "Merged":
        """Returns the same with its conflicts decided; those without a decision remain. `now` is
        the row. A conflict in a map that no longer exists cannot be decided for before."""
        found = Merged([*self.edits], [], self.outside)
        for conflict in self.conflicts:
            decision = decide(conflict)
            possible = not conflict.path or is_map(value_at(now, conflict.path[:-1]))
            if decision == "before" and possible:
                found.edits += conflict.back()
            elif decision != "now":
                found.conflicts.append(conflict)
        return found


def merge(
    before: Item | None,
    damaged: Item | None,
    now: Item | None,
    since: Sequence[Item | None],
    choice: Choice = EVERYTHING,
) -> Merged:
    """Returns what undo does to a row. `since` are the states that the row had after the damage, in
    any order; None is a row that does not exist. Key attributes never differ, so none is edited.

    Raises ValueError when a number or a binary value is not valid.
    """
    states = _States(as_value(before), as_value(damaged), as_value(now), [*map(as_value, since)])
    found = Merged()
    _judge((), states, choice, found)
    return found


class _States(NamedTuple):
    """The states of one path. `lost` says that a map around it did not exist at some time since, so
    that everything in it changed."""

    before: Value | None
    damaged: Value | None
    now: Value | None
    since: list[Value | None]
    lost: bool = False

    @property
    def are_maps(self) -> bool:
        return is_map(self.before) and is_map(self.damaged) and is_map(self.now)

    @property
    def are_numbers(self) -> bool:
        """Whether the damage changed a number, so that it can be a counter."""
        return "N" in (self.before or ()) and "N" in (self.damaged or ())

    @property
    def steady(self) -> bool:
        """Whether the damage is still there, and was at all times since."""
        return not self.lost and all(same(each, self.damaged) for each in (self.now, *self.since))

    def inside(self, name: str) -> "_States":
        """The states of an attribute of the map that is here."""
        before, damaged, now = (_below(each, (name,)) for each in self[:3])
        since = [_below(each, (name,)) for each in self.since]
        lost = self.lost or not all(map(is_map, self.since))
        return _States(before, damaged, now, since, lost)


def _judge(path: Path, states: _States, choice: Choice, found: Merged) -> None:
    before, damaged, now, since, lost = states
    inside = not choice.changed or any(path[: len(each)] == each for each in choice.changed)
    above = [each for each in choice.changed if each[: len(path)] == path]
    if same(before, damaged) or not (inside or above):
        return
    if before and damaged and states.are_maps:
        for name in sorted({*before["M"], *damaged["M"]}):
            _judge((*path, name), states.inside(name), choice, found)
    elif not inside:
        _judge_above(path, states, above, found)
    elif path in choice.deltas and states.are_numbers:
        _count(path, states, choice, found)
    elif same(now, before):
        return
    elif set_type(before, damaged, now, *since) and not lost:
        if not same(after := _merged_set(states), now):
            found.edits.append(Edit(path, now, after))
    elif states.steady:
        found.edits.append(Edit(path, now, before))
    else:
        found.conflicts.append(Conflict(path, before, damaged, now))


def _judge_above(path: Path, states: _States, chosen: Sequence[Path], found: Merged) -> None:
    """Judges a path above the `chosen` ones that is not a map in all three states."""
    if not (is_map(states.before) and is_map(states.damaged)):
        found.outside = True
        return
    for each in chosen:
        before, damaged = (_below(state, each[len(path) :]) for state in states[:2])
        if not same(before, damaged):
            found.conflicts.append(Conflict(each, before, damaged, None))


def _count(path: Path, states: _States, choice: Choice, found: Merged) -> None:
    """Judges a counter."""
    before, damaged, now, since, lost = states
    if choice.counted:
        return
    after = None
    if (
        before
        and damaged
        and now
        and not lost
        and all("N" in (each or ()) for each in (now, *since))
    ):
        after = without_difference(now, before, damaged)
    if after is None:
        found.conflicts.append(Conflict(path, before, damaged, now))
    else:
        found.edits.append(Edit(path, now, after, counter=True))


def _merged_set(states: _States) -> Value | None:
    """The members that are there now, without those that the damage added, and with those that it
    removed, except those that changed since."""
    before, damaged, now = (members(each) for each in states[:3])
    since = [{*members(each)} for each in states.since]
    kept = {
        member: text
        for member, text in now.items()
        if member in before or member not in damaged or not all(member in each for each in since)
    }
    back = {
        member: text
        for member, text in before.items()
        if member not in damaged and not any(member in each for each in (now, *since))
    }
    kind = set_type(*states[:3])
    return {str(kind): sorted({**kept, **back}.values())} if kept or back else None


def _below(value: Value | None, path: Path) -> Value | None:
    return value_at(value["M"], path) if value and is_map(value) else None
