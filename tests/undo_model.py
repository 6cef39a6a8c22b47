"""Undo as its documentation words it, over plain Python values: the model beside the system.

A value is None (it does not exist), a number, a text, a set, a list as a tuple, or a map. `wire`
gives the same value as DynamoDB JSON, with numbers spelled in several ways.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Row = Any
"""A map, or None."""
Step = tuple[tuple[str, ...], str, Any]
"""One difference: a path, `value` or `member`, and the new value or (member, whether it is in)."""

GONE = object()
"""What a path held at a time when a map around it did not exist."""

SPELLINGS = ["{}", "{}.0", "{}E0", "0{}.00"]


def wire(value: Any, turn: int = 0) -> Any:
    """Returns a value in wire form. `turn` chooses how numbers are spelled and sets are ordered."""
    if isinstance(value, dict):
        return {
            "M": {name: wire(inner, turn + at) for at, (name, inner) in enumerate(value.items())}
        }
    if isinstance(value, frozenset):
        kind = "NS" if all(isinstance(each, int) for each in value) else "SS"
        texts = sorted(number(each, turn) if kind == "NS" else each for each in value)
        return {kind: texts[turn % len(texts) :] + texts[: turn % len(texts)]}
    if isinstance(value, tuple):
        return {"L": [wire(inner, turn) for inner in value]}
    return {"N": number(value, turn)} if isinstance(value, int) else {"S": value}


def number(value: int, turn: int) -> str:
    return ("-" if value < 0 else "") + SPELLINGS[turn % len(SPELLINGS)].format(abs(value))


def item(row: Row, turn: int = 0) -> Any:
    """Returns a row in wire form."""
    return None if row is None else wire(row, turn)["M"]


def plain(value: Any) -> Any:
    """Returns a value in wire form as a plain one."""
    if value is None:
        return None
    ((kind, content),) = value.items()
    match kind:
        case "M":
            return {name: plain(inner) for name, inner in content.items()}
        case "L":
            return tuple(map(plain, content))
        case "N":
            return int(float(content))
        case "NS":
            return frozenset(int(float(each)) for each in content)
        case "SS":
            return frozenset(content)
    return content


def row_of(found: Any) -> Row:
    """Returns a row in wire form as a plain one."""
    return None if found is None else plain({"M": found})


# The rule, state by state


def undone(
    before: Any, damaged: Any, now: Any, since: Sequence[Any], path: tuple[str, ...] = ()
) -> tuple[Any, list[tuple[str, ...]]]:
    """Returns what is there after an undo, and the paths of its conflicts."""
    if before == damaged:
        return now, []
    if all(isinstance(each, dict) for each in (before, damaged, now)):
        result, conflicts = {}, []
        for name in sorted({*before, *damaged, *now}):
            first, second, third = (each.get(name) for each in (before, damaged, now))
            seen = [each.get(name) if isinstance(each, dict) else GONE for each in since]
            found, more = undone(first, second, third, seen, (*path, name))
            conflicts += more
            if found is not None:
                result[name] = found
        return result, conflicts
    if now == before:
        return now, []
    if are_sets([before, damaged, now, *since]):
        result_set = set(now or ())
        for each in (before or frozenset()) ^ (damaged or frozenset()):
            hurt = each in (damaged or ())
            if all((each in (state or ())) == hurt for state in [now, *since]):
                result_set ^= {each}
        return frozenset(result_set) or None, []
    if all(each == damaged for each in [now, *since]):
        return before, []
    return now, [path]


def are_sets(states: Sequence[Any]) -> bool:
    if GONE in states:
        return False
    found = [state for state in states if state is not None]
    kinds = {type(each) for state in found if isinstance(state, frozenset) for each in state}
    return all(isinstance(state, frozenset) for state in found) and len(kinds) == 1


# History, difference by difference


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[Step]:
    """Yields what changed between two images of a row."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), (*path, name))
    elif are_sets([old, new]):
        for each in (old or frozenset()) ^ (new or frozenset()):
            yield path, "member", (each, each in (new or ()))
    else:
        yield path, "value", new


def replayed(row: Row, steps: Sequence[Step]) -> Row:
    """Returns a row after these differences."""
    found: Any = row
    for path, kind, what in steps:
        found = _put(found, path, kind, what)
    return found


def _put(value: Any, path: tuple[str, ...], kind: str, what: Any) -> Any:
    if path:
        inner = dict(value)
        inner[path[0]] = _put(inner.get(path[0]), path[1:], kind, what)
        return {name: each for name, each in inner.items() if each is not None}
    if kind == "value":
        return what
    member, present = what
    return ((value or frozenset()) - {member} | ({member} if present else set())) or None


def touch(one: Step, other: Step) -> bool:
    """Whether two differences touch the same path: one path contains the other. Members of a set
    only if they are the same member."""
    (path, kind, what), (far, sort, which) = one, other
    if path == far and kind == sort == "member":
        return bool(what[0] == which[0])
    return path[: len(far)] == far or far[: len(path)] == path


# Histories

LEAVES = [
    1,
    2,
    3,
    "x",
    frozenset("p"),
    frozenset("pq"),
    frozenset("qr"),
    frozenset([1, 2]),
    (1, "x"),
]
MAPS: list[Any] = [{}, {"a": 1}, {"a": 2, "b": frozenset("pq")}, {"b": {"a": 1}}]
PATHS = [("a",), ("b",), ("m",), ("m", "a"), ("m", "b"), ("m", "b", "a")]
ROWS: list[Row] = [
    {"a": 1, "m": {"a": 1, "b": frozenset("pq")}},
    {"a": 2, "b": frozenset("p"), "m": {"b": {"a": 1}}},
    {"b": "x"},
]

actions = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(PATHS), st.sampled_from(LEAVES + MAPS)),
    st.tuples(st.just("drop"), st.sampled_from(PATHS), st.none()),
    st.tuples(
        st.just("member"), st.sampled_from(PATHS), st.tuples(st.sampled_from("pqr"), st.booleans())
    ),
    st.tuples(st.just("row"), st.just(()), st.sampled_from([None, *ROWS])),
)


def acted(row: Row, action: tuple[str, Any, Any]) -> Row:
    """Returns a row after an action, unchanged where the action is impossible."""
    what, path, content = action
    if what == "row":
        return None if content is None else dict(content)
    around: Any = row
    for name in path[:-1]:
        around = around.get(name) if isinstance(around, dict) else None
    if not isinstance(around, dict):
        return row
    if what == "member" and not are_sets([around.get(path[-1]), frozenset("p")]):
        return row
    return _put(row, path, "member" if what == "member" else "value", content)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Row], int, int]:
    """Draws the images of a row one after another, and the indices of A and B."""
    images: list[Row] = [draw(st.sampled_from([None, *ROWS]))]
    for action in draw(st.lists(actions, min_size=2, max_size=9)):
        images.append(acted(images[-1], action))
    first = draw(st.integers(0, len(images) - 2))
    return images, first, draw(st.integers(first + 1, len(images) - 1))


def sized(found: Any) -> int:
    """Returns about how many bytes a row takes in DynamoDB."""
    return len(json.dumps(found, separators=(",", ":")))
