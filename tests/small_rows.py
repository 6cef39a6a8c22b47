"""All small undos: every triple of a row before the damage, after it, and now, with the states that
it had since, compared with the model of what the documentation says (`undo_model`)."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

from stream_backup.core.edits import applied, value_at
from stream_backup.core.merge import EVERYTHING, Choice, merge
from stream_backup.core.values import same
from tests import undo_model as model
from tests.small_versions import Counts
from tests.undo_model import GONE, Row

P, Q, PQ = frozenset("p"), frozenset("q"), frozenset("pq")
ONE, BOTH = frozenset([1]), frozenset([1, 2])

X, XA, Y = ("x",), ("x", "a"), ("y",)
CHOICES = [
    EVERYTHING,
    Choice(changed=(X,)),
    Choice(changed=(XA,)),
    Choice(changed=(XA, Y)),
    Choice(changed=(("x", "a", "b"),)),
]
COUNTERS = [Choice(deltas=frozenset([X])), Choice(deltas=frozenset([X]), counted=True)]

VALUES: Sequence[Any] = [
    *(None, 1, 2, "s", P, Q, PQ, ONE, BOTH, (1,), {}, {"a": 1}, {"a": 2}, {"b": 1}),
    *({"a": P}, {"a": PQ}, {"a": 1, "b": 1}, {"a": {}}, {"a": {"b": 1}}, {"a": {"b": 2}}),
]
FEW: Sequence[Any] = [None, 1, 2, P, {"a": 1}]
ROWS: Sequence[Row] = [
    *(None, {}, {"x": 1}, {"x": 2}, {"x": P}, {"x": PQ}, {"x": 1, "y": 1}),
    *({"x": {"a": 1}}, {"x": {"a": 2}}, {"x": {"a": {"b": 1}}}),
]
MORE_ROWS: Sequence[Row] = [
    *ROWS,
    *({"x": 3}, {"x": Q}, {"y": 1}, {"x": 2, "y": 2}, {"x": {}}, {"x": {"a": 1, "b": 1}}),
    {"x": {"a": {"b": 2}}},
]
NUMBERS: Sequence[Row] = [
    *(None, {}, {"x": 0}, {"x": 2}, {"x": 5}, {"x": "s"}),
    *({"x": 1, "y": 1}, {"x": 2, "y": 2}),
]


def attributes(values: Sequence[Any]) -> list[Row]:
    return [{} if each is None else {"x": each} for each in values]


class Outcome(NamedTuple):
    """The row after an undo, the paths of its conflicts, and whether something around a chosen path
    was left."""

    row: Row
    conflicts: list[tuple[str, ...]]
    outside: bool = False


def expected(states: Sequence[Row], choice: Choice) -> Outcome:
    """What the documentation says, for the states before, damaged, now, and since."""
    before, damaged, now, *since = states
    if choice.deltas:
        return _counted(before, damaged, now, since, choice)
    if not choice.changed:
        return Outcome(*model.undone(before, damaged, now, since))
    row, conflicts, outside = now, list[tuple[str, ...]](), False
    for path in choice.changed:
        found = _chosen(before, damaged, row, since, path)
        row, outside = found.row, outside or found.outside
        conflicts += found.conflicts
    return Outcome(row, sorted(conflicts), outside)


def _chosen(
    before: Any, damaged: Any, now: Any, since: Sequence[Any], path: tuple[str, ...]
) -> Outcome:
    """What becomes of one path that was chosen, and of what is below it."""
    if before == damaged:
        return Outcome(now, [])
    if not (isinstance(before, dict) and isinstance(damaged, dict)):
        return Outcome(now, [], outside=True)
    name, *rest = path
    below = [each.get(name) if isinstance(each, dict) else GONE for each in since]
    first, second = before.get(name), damaged.get(name)
    if not isinstance(now, dict):
        for step in rest:
            one, two = (each if isinstance(each, dict) else {} for each in (first, second))
            first, second = one.get(step), two.get(step)
        return Outcome(now, [] if first == second else [path])
    inner = now.get(name)
    if rest:
        found = _chosen(first, second, inner, below, tuple(rest))
    else:
        found = Outcome(*model.undone(first, second, inner, below))
    row = {key: each for key, each in {**now, name: found.row}.items() if each is not None}
    return Outcome(row, [(name, *each) for each in found.conflicts], found.outside)


def _counted(before: Row, damaged: Row, now: Row, since: Sequence[Row], choice: Choice) -> Outcome:
    """What becomes of a row whose attribute `x` is a counter."""
    if None in (before, damaged, now):
        return Outcome(*model.undone(before, damaged, now, since))
    numbers = [None if each is None else each.get("x") for each in (before, damaged, now, *since)]
    one, two, three, *_ = numbers
    if one == two or not (isinstance(one, int) and isinstance(two, int)):
        return Outcome(*model.undone(before, damaged, now, since))
    row, conflicts = model.undone(before | {"x": 0}, damaged | {"x": 0}, now, since)
    if choice.counted:
        return Outcome(row, conflicts)
    if not all(isinstance(each, int) for each in numbers) or three is None:
        return Outcome(row, [("x",), *conflicts])
    return Outcome(row | {"x": three - (two - one)}, conflicts)


@cache
def _wired(kind: int, index: int, turn: int) -> Any:
    return model.item(_UNIVERSES[kind][index], turn)


_UNIVERSES: list[Sequence[Row]] = []


class Undos:
    """The space of all undos of rows of a universe, with so many other states since. It counts
    conflicts as errors."""

    def __init__(self, rows: Sequence[Row], more: int, choices: Sequence[Choice]) -> None:
        self.rows = [*rows, *([] if None in rows else [None])]
        self.chosen, self.more = choices, more
        self.states = len(rows)
        self.size = self.states**3 * len(self.rows) ** more
        self._kind = len(_UNIVERSES)
        _UNIVERSES.append(self.rows)

    def check(self, index: int) -> Counts:
        picked = []
        for number in range(3 + self.more):
            index, which = divmod(index, self.states if number < 3 else len(self.rows))
            picked.append(which)
        before, damaged, now, *more = picked
        order = [before, damaged, now, damaged, *more, now]
        states = [self.rows[each] for each in order]
        wired = [_wired(self._kind, which, turn) for turn, which in enumerate(order)]
        left = 0
        for choice in self.chosen:
            found = merge(wired[0], wired[1], wired[2], wired[3:], choice)
            paths = [edit.path for edit in found.edits]
            where = (states, choice)
            for one, two in combinations(paths, 2):
                assert not model.touch((one, "value", 0), (two, "value", 0)), where
            for edit in found.edits:
                assert same(edit.now, value_at(wired[2], edit.path)), where
            row = model.row_of(applied(wired[2], found.edits))
            conflicts = [each.path for each in found.conflicts]
            if choice.changed:
                conflicts.sort()
            assert Outcome(row, conflicts, found.outside) == expected(states, choice), where
            left += len(conflicts)
        return Counts(len(self.chosen), left)
