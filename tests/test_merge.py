"""Laws of undo, on one row: the rule that merges three states, compared with a model."""

from itertools import product
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from stream_backup.core.edits import Conflict, Edit, applied, value_at
from stream_backup.core.merge import EVERYTHING, Choice, merge
from stream_backup.core.values import same, without_difference
from tests import strategies
from tests import undo_model as model
from tests.profiles import histories
from tests.small_rows import VALUES, Undos, attributes
from tests.undo_model import Row


def undo(before: Row, damaged: Row, now: Row, since: list[Row]) -> tuple[Row, list[Any]]:
    """Returns the row after the real undo, and the paths of its conflicts."""
    states = [model.item(each, turn) for turn, each in enumerate([before, damaged, now, *since])]
    first, second, third, *rest = states
    found = merge(first, second, third, rest)
    paths = [edit.path for edit in found.edits]
    assert all(
        model.touch((one, "value", 0), (two, "value", 0)) is (one == two)
        for one, two in product(paths, paths)
    )
    for edit in found.edits:
        assert same(edit.now, value_at(third, edit.path) if edit.path else wrapped(third))
    return model.row_of(applied(third, found.edits)), [each.path for each in found.conflicts]


def wrapped(row: Any) -> Any:
    return None if row is None else {"M": row}


@histories(600)
@given(model.histories())
def test_a_window_that_nothing_touched_since_is_taken_out_of_history(
    history: tuple[list[Row], int, int],
) -> None:
    """Law (a): if no change after B touches a path that the window touched, undo equals replaying
    the differences of history without those of the window."""
    images, first, last = history
    window = [*model.differences(images[first], images[last])]
    pairs = zip(images[last:], images[last + 1 :], strict=False)
    later = [step for old, new in pairs for step in model.differences(old, new)]
    if any(model.touch(one, two) for one, two in product(window, later)):
        event("touched since")
        return
    event("not touched since" if window else "no damage")
    found, conflicts = undo(images[first], images[last], images[-1], images[last:])
    assert found == model.replayed(images[first], later)
    assert conflicts == []


@histories(600)
@given(model.histories())
def test_what_is_not_undone_is_listed(history: tuple[list[Row], int, int]) -> None:
    """Law (b): a path that the window touched and that now differs from before is a conflict,
    except members of sets. Everything else is as it was."""
    images, first, last = history
    before, damaged, now = images[first], images[last], images[-1]
    found, conflicts = undo(before, damaged, now, images[last:])
    window = [*model.differences(before, damaged)]
    for path, kind, _ in window:
        if kind == "value" and at(found, path) != at(before, path):
            assert any(model.touch((path, "value", 0), (each, "value", 0)) for each in conflicts)
    for step in model.differences(now, found):
        assert any(model.touch(step, each) for each in window)
    for path in conflicts:
        assert at(found, path) == at(now, path)
    assert len(conflicts) == len({*conflicts})


def at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return row


@histories(600)
@given(model.histories())
def test_undo_is_the_model(history: tuple[list[Row], int, int]) -> None:
    """The rule gives what the model of its wording gives: rows and conflicts."""
    images, first, last = history
    states = images[first], images[last], images[-1]
    assert undo(*states, images[last:]) == model.undone(*states, images[last:])


SMALL = attributes([*VALUES[:3], *VALUES[4:8], *VALUES[10:13], VALUES[14], VALUES[16]])


def test_every_small_case_is_the_model() -> None:
    """Every combination of small values, and of one more state since, gives what the model gives.
    `tests/test_small.py` has those of rows, paths and counters."""
    space = Undos(SMALL, 1, [EVERYTHING])
    assert sum(space.check(index).cases for index in range(space.size)) == 12**3 * 13


@histories(300)
@given(model.histories())
def test_nothing_since_is_a_rewind(history: tuple[list[Row], int, int]) -> None:
    """Law (c): with nothing after B, undo gives the row as it was at A, without conflicts."""
    images, first, last = history
    assert undo(images[first], images[last], images[last], [images[last]]) == (images[first], [])


@histories(300)
@given(model.histories())
def test_undo_twice_is_undo_once(history: tuple[list[Row], int, int]) -> None:
    """Law (d): undo of what was undone changes nothing and lists the same conflicts, whether or not
    the archive has the undo as a version."""
    images, first, last = history
    once, conflicts = undo(images[first], images[last], images[-1], images[last:])
    again = undo(images[first], images[last], once, [*images[last:], once])
    assert again == (once, conflicts)


@histories(300)
@given(model.histories(), st.integers(0, 4))
def test_an_undo_that_was_interrupted_goes_on(
    history: tuple[list[Row], int, int], edits: int
) -> None:
    """Law (d): an undo that wrote some of its edits and is run again gives the same row."""
    images, first, last = history
    before, damaged, now = (model.item(each) for each in (images[first], images[last], images[-1]))
    since = [model.item(each) for each in images[last:]]
    whole = applied(now, merge(before, damaged, now, since).edits)
    part = applied(now, merge(before, damaged, now, since).edits[:edits])
    rest = merge(before, damaged, part, [*since, part])
    assert model.row_of(applied(part, rest.edits)) == model.row_of(whole)


@histories(300)
@given(model.histories())
def test_undo_of_an_undo_gives_the_row_back(history: tuple[list[Row], int, int]) -> None:
    """Law (d): merging with before = what the undo found, damaged = what it left, gives back what
    it found."""
    images, first, last = history
    now = images[-1]
    after, _ = undo(images[first], images[last], now, images[last:])
    assert undo(now, after, after, []) == (now, [])


# What the wording names


ITEM = {"id": {"S": "1"}}


def test_a_row_recreated_and_deleted_by_good_work_does_not_come_back() -> None:
    """A row that the window removed, and that was created and deleted again since, stays away."""
    assert merge({**ITEM}, None, None, [None, {**ITEM, "x": {"S": "good"}}, None]).conflicts == [
        Conflict((), {"M": ITEM}, None, None)
    ]


def test_a_row_recreated_since_counts_as_changed_in_all_of_it() -> None:
    """An attribute that the window removed is not put into a row that was created again since, even
    though it is missing in every version of it."""
    before = {**ITEM, "x": {"N": "1"}}
    found = merge(before, ITEM, ITEM, [ITEM, None, ITEM])
    assert (found.edits, [each.path for each in found.conflicts]) == ([], [("x",)])


def test_values_are_compared_as_dynamodb_does() -> None:
    """`1.0` is `1`, and sets have no order: at any depth, and in sets of numbers."""
    assert same(
        {"L": [{"N": "1.0"}, {"NS": ["2", "1e0"]}]}, {"L": [{"N": "1"}, {"NS": ["1", "2.0"]}]}
    )
    assert same({"B": "aGk="}, {"B": "aGk="})
    assert not same({"S": "1"}, {"N": "1"})
    assert not same({"L": [{"N": "1"}, {"N": "2"}]}, {"L": [{"N": "2"}, {"N": "1"}]})
    assert not same({"N": "1" * 38}, {"N": "1" * 37 + "2"})
    assert not same({"NULL": True}, None)


@histories(200)
@given(strategies.values)
def test_a_value_equals_itself_however_it_is_spelled(value: Any) -> None:
    """A value equals itself in any spelling of its sets."""
    if "B" not in str(value):
        assert same(value, strategies.respelled(value))


DELTA = Choice(deltas=frozenset([("n",)]))


def counter(text: str) -> Any:
    return {**ITEM, "n": {"N": text}}


def test_a_counter_keeps_what_came_later() -> None:
    """A difference is subtracted from whatever the counter is now, even if that is what it was
    before."""
    found = merge(
        counter("10"), counter("25"), counter("10"), [counter("25"), counter("10")], DELTA
    )
    assert found.edits == [Edit(("n",), {"N": "10"}, {"N": "-5"}, counter=True)]
    assert merge(counter("10"), counter("25"), counter("30"), [], DELTA).edits[0].after == {
        "N": "15"
    }


def test_a_counter_is_subtracted_once() -> None:
    """Where the row has the mark, the counter is left and is no conflict."""
    done = Choice(deltas=DELTA.deltas, counted=True)
    found = merge(counter("1"), counter("5"), counter("9"), [], done)
    assert (found.edits, found.conflicts) == ([], [])


@pytest.mark.parametrize("since", [None, ITEM, {**ITEM, "n": {"S": "1"}}])
def test_a_counter_that_began_again_is_a_conflict(since: Any) -> None:
    """A counter that did not exist at some time since does not contain the damage any more."""
    found = merge(counter("1"), counter("5"), counter("9"), [counter("5"), since], DELTA)
    assert (found.edits, [each.path for each in found.conflicts]) == ([], [("n",)])


def test_counters_are_exact_to_38_digits() -> None:
    """Differences are exact to 38 digits. A result that needs more is not rounded."""
    nines = "9" * 38
    values = [{"N": text} for text in (nines, "1", nines)]
    assert without_difference(*values) == {"N": "1"}
    assert without_difference({"N": nines}, {"N": "2"}, {"N": "0"}) is None
    assert without_difference({"N": "1e125"}, {"N": "0"}, {"N": "-9.9e125"}) is None
    assert without_difference({"N": "0.1"}, {"N": "0.2"}, {"N": "0.3"}) == {"N": "0"}
    assert without_difference({"N": nines}, {"N": "0"}, {"N": "0.1"}) is None


numbers = st.integers(-(10**19), 10**19)


@histories(200)
@given(numbers, numbers, numbers, st.integers(-60, 60))
def test_counters_are_integers_at_any_power(one: int, two: int, three: int, power: int) -> None:
    """A counter in any unit is subtracted like an integer."""
    found = without_difference(*({"N": f"{each}e{power}"} for each in (one, two, three)))
    assert same(found, {"N": f"{one - (three - two)}e{power}"})


def test_a_path_limits_the_undo() -> None:
    """With `changed`, only the path and what is below it is undone; what was inserted, removed or
    replaced around it is left and reported."""
    before = model.item({"a": 1, "m": {"x": 1, "y": 1}})
    damaged = model.item({"a": 2, "m": {"x": 2, "y": 2}})
    found = merge(before, damaged, damaged, [], Choice(changed=(("m", "x"),)))
    assert [edit.path for edit in found.edits] == [("m", "x")]
    assert not found.outside
    whole = merge(before, damaged, damaged, [], Choice(changed=(("m",),)))
    assert [edit.path for edit in whole.edits] == [("m", "x"), ("m", "y")]
    for states in [(None, damaged), (before, None), (before, model.item({"a": 1, "m": 5}))]:
        left = merge(*states, states[1], [], Choice(changed=(("m", "x"),)))
        assert (left.edits, left.conflicts, left.outside) == ([], [], True)


def test_a_path_of_a_deleted_row_is_a_conflict_of_that_path() -> None:
    """With `changed`, a row that was deleted since is a conflict of the path, if the damage changed
    the path."""
    before, damaged = model.item({"a": 1, "b": 1}), model.item({"a": 1, "b": 2})
    for name, paths in (("a", []), ("b", [("b",)])):
        found = merge(before, damaged, None, [None], Choice(changed=((name,),)))
        assert [each.path for each in found.conflicts] == paths
        assert not found.decided(lambda _: "before", None).edits


def test_conflicts_are_decided() -> None:
    """A conflict that is decided for before is edited, one that is decided for now is dropped, and
    one without a decision remains."""
    before, damaged, now = ({**ITEM, "a": {"N": text}} for text in "123")
    found = merge(before, damaged, now, [])
    assert found.decided(lambda _: "before", now).edits == [Edit(("a",), {"N": "3"}, {"N": "1"})]
    assert found.decided(lambda _: "now", now).conflicts == []
    assert found.decided(lambda _: None, now).conflicts == found.conflicts


def test_a_row_is_decided_attribute_by_attribute() -> None:
    """A row that was created again is brought back to before by its attributes. One that was
    deleted since is put back, and one that the damage inserted is deleted."""
    before, now = ({**ITEM, "a": {"N": "1"}}, {**ITEM, "b": {"N": "2"}})
    found = merge(before, None, now, [now]).decided(lambda _: "before", now)
    assert applied(now, found.edits) == before
    assert {edit.path for edit in found.edits} == {("a",), ("b",)}
    gone = merge(before, now, None, [None]).decided(lambda _: "before", None)
    assert gone.edits == [Edit((), None, {"M": before})]
    inserted = merge(None, before, now, [now]).decided(lambda _: "before", now)
    assert inserted.edits == [Edit((), {"M": now}, None)]
