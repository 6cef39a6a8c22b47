"""A slice is data: however the work is divided, every name is done once."""

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.slice import (
    NAMES,
    NameSlice,
    ScanSlice,
    Slice,
    cover_once,
    cut_names,
    cut_scan,
    slice_of,
)
from tests import strategies

FIRST, LAST = "0" * 32, "f" * 32

numbers = st.one_of(
    st.integers(0, NAMES - 1),
    st.sampled_from([0, 1, NAMES - 1, NAMES // 2, NAMES // 16, NAMES // 16 - 1]),
)


def name_of(number: int) -> str:
    return f"{number:032x}"


@st.composite
def ranges(draw: st.DrawFn) -> NameSlice:
    """Draws a range with some names, few or many, some of which may be done."""
    begin = draw(numbers)
    width = draw(st.one_of(st.integers(1, 40), st.integers(1, NAMES)))
    stop = min(begin + width, NAMES)
    end = "" if stop == NAMES else name_of(stop)
    after = draw(st.one_of(st.just(""), st.integers(begin, stop - 1).map(name_of)))
    return NameSlice(name_of(begin), end, after)


@st.composite
def names_near(draw: st.DrawFn, part: NameSlice) -> str:
    """Draws a name, in most cases one at an end of the slice, or where it is done up to."""
    ends = [text.ljust(32, "0") for text in (part.first, part.end, part.after) if text]
    near = st.sampled_from([*ends, FIRST, LAST])
    moved = st.tuples(near, st.integers(-1, 1)).map(
        lambda each: name_of(min(max(int(each[0], 16) + each[1], 0), NAMES - 1))
    )
    return draw(st.one_of(moved, numbers.map(name_of)))


slices: st.SearchStrategy[Slice] = st.one_of(
    ranges(),
    st.tuples(st.integers(0, 3), st.just(4), st.one_of(st.none(), strategies.keys)).map(
        lambda each: ScanSlice(*each)
    ),
    st.integers(0, 3).map(lambda number: ScanSlice(number, 4, done=True)),
)


@given(slices)
def test_a_slice_is_json(part: Slice) -> None:
    """A slice of either kind survives JSON, which is how a worker on another machine gets it."""
    assert slice_of(json.loads(json.dumps(part.record()))) == part


@given(part=ranges(), parts=st.integers(1, 40), data=st.data())
def test_split_covers_once(part: NameSlice, parts: int, data: st.DataObject) -> None:
    """The parts have every name of the slice once, in order; a name is open in one of them if it
    was open before, and in none otherwise."""
    made = part.split(parts)
    assert cover_once(made, part)
    assert [each.range for each in made] == sorted(each.range for each in made)
    name = data.draw(names_near(part))
    assert sum(each.holds(name) for each in made) == part.holds(name)
    ends = [each.open_ends for each in made if each.open_ends]
    assert sum(first <= name <= last for first, last in ends) == part.is_open(name)
    assert sum(each.is_open(name) for each in made) == part.is_open(name)
    assert sum(each.size for each in made) == pytest.approx(part.size)
    assert sum(each.left for each in made) == pytest.approx(part.left)


@given(part=ranges(), parts=st.integers(1, 40))
def test_split_is_even(part: NameSlice, parts: int) -> None:
    """Every part that is open has between three quarters and five quarters of an even part, and
    there are as many as were asked for, unless there are fewer names."""
    made, left = part.split(parts), round(part.left * NAMES)
    if left > 2**50:  # floats are exact enough
        assert len(made) == parts
        for each in made:
            assert 0.74 <= each.left * parts / part.left <= 1.26
    assert all(not each.done for each in made) or made == (part,)


@given(
    part=ranges(),
    names=st.lists(numbers.map(name_of), max_size=20),
    steps=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=12),
)
def test_splitting_then_doing_is_doing(
    part: NameSlice, names: list[str], steps: list[tuple[int, int]]
) -> None:
    """Whatever is split whenever, and however many names are done at a time, each open name is done
    exactly once."""
    expected = sorted({name for name in names if part.is_open(name)})
    todo, done = [part], []
    for several, parts in steps:
        first, *rest = todo
        found = [name for name in sorted(set(names)) if first.is_open(name)][:several]
        done += found
        todo = [*rest, *(first.reached(found[-1]) if found else first).split(parts)]
        assert cover_once(todo, part)
    for each in todo:
        done += [name for name in sorted(set(names)) if each.is_open(name)]
    assert sorted(done) == expected


@given(part=ranges(), data=st.data())
def test_prefixes_have_the_open_names(part: NameSlice, data: st.DataObject) -> None:
    """Prefixes have every open name once and none outside the slice; they are in order, and none is
    done as a whole."""
    name = data.draw(names_near(part))
    prefixes = list(part.prefixes())
    found = [prefix for prefix in prefixes if name.startswith(prefix)]
    assert len(found) == 1 if part.is_open(name) else not found or part.holds(name)
    assert prefixes == sorted(prefixes)
    assert all(part.is_open(prefix.ljust(32, "f")) for prefix in prefixes)
    assert all(part.holds(prefix.ljust(32, "0")) for prefix in prefixes)


@given(part=ranges(), smaller=st.integers(0, 1), data=st.data())
def test_blocks_are_listed_at_once(part: NameSlice, smaller: int, data: st.DataObject) -> None:
    """Blocks have the open names of the slice, in order, are of one prefix each, and no larger than
    asked for; what is done of the slice is done of them."""
    most = 1
    while most * 16 * 16 <= part.size * NAMES:
        most *= 16
    blocks = list(part.blocks(max(1, most // 16**smaller)))
    name = data.draw(names_near(part))
    assert [each.is_open(name) for each in blocks].count(True) == part.is_open(name)
    assert blocks == sorted(blocks, key=lambda each: each.range)
    assert not any(each.done for each in blocks)
    assert all(len(list(each.prefixes())) == 1 for each in blocks)
    assert all(each.size * NAMES <= max(1, most // 16**smaller) for each in blocks)
    ends = [int(each.end.ljust(32, "0"), 16) or NAMES for each in blocks]
    firsts = [int(each.first.ljust(32, "0"), 16) for each in blocks]
    assert all(first % (end - first) == 0 for first, end in zip(firsts, ends, strict=True))
    assert sum(each.left for each in blocks) == pytest.approx(part.left)


@pytest.mark.parametrize("parts", [1, 16, 256, 4096])
def test_a_power_of_16_is_one_prefix_each(parts: int) -> None:
    """A power of 16 gives slices of one prefix each, and the sixteen slices are the digits."""
    cut = cut_names(parts)
    assert len(cut) == parts
    assert all(len(list(each.prefixes())) == 1 for each in cut)
    if parts == 16:
        assert [prefix for each in cut for prefix in each.prefixes()] == list("0123456789abcdef")


def test_few_prefixes_where_a_cut_is_uneven() -> None:
    """Two, three and 24 slices begin and end at few digits."""
    assert [each.range for each in cut_names(2)] == [("", "8"), ("8", "")]
    assert [each.range for each in cut_names(3)] == [("", "5"), ("5", "b"), ("b", "")]
    assert max(len(list(each.prefixes())) for each in cut_names(24)) <= 30


@given(ranges(), st.data())
def test_progress_only_grows(part: NameSlice, data: st.DataObject) -> None:
    """What is done stays done, the end is reached by the last name, and of two states the one that
    is done further counts."""
    inside = st.integers(0, round(part.size * NAMES)).map(
        lambda more: name_of(min(int(part.first.ljust(32, "0"), 16) + more, NAMES - 1))
    )
    name = data.draw(inside.filter(part.holds))
    after = part.reached(name)
    assert after.after == max(part.after, name)
    assert after.further(part) == part.further(after) == after
    assert part.finished().done
    assert part.finished().left == 0
    assert part.further(part.finished()) == part.finished()
    assert (part.left == 0) == part.done


@pytest.mark.parametrize(
    "fields",
    [
        ("x", ""),
        ("A", ""),
        ("8", "8"),
        ("8", "7"),
        ("", "0"),
        ("", "00"),
        ("1" * 33, ""),
        ("8", "9", "7" * 32),
        ("8", "9", "9" + "0" * 31),
        ("8", "9", "88"),
    ],
)
def test_what_is_no_range(fields: tuple[str, ...]) -> None:
    """A range without names, other text than hex digits, and an end of what is done that is outside
    are refused."""
    with pytest.raises(ValueError, match=r"digits|no name is|not a name"):
        NameSlice(*fields)


@pytest.mark.parametrize(
    "record",
    [
        {"segment": 4, "total": 4, "next": None, "done": False},
        {"segment": -1, "total": 4, "next": None, "done": False},
        {"segment": 0, "total": 4, "next": {"id": {"S": "a"}}, "done": True},
        {"segment": "0", "total": 4, "next": None, "done": False},
        {"first": 1, "end": "", "after": ""},
    ],
)
def test_what_is_no_slice(record: dict[str, object]) -> None:
    """A record that is not a slice is refused when it is read."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        slice_of(record)


def test_equal_ranges_are_equal() -> None:
    """Zeros at the end of a bound mean nothing."""
    assert NameSlice("20", "300") == NameSlice("2", "3")
    assert NameSlice("0") == NameSlice()
    with pytest.raises(FrozenInstanceError):
        NameSlice().after = "x"  # type: ignore[misc]
    with pytest.raises(ValueError, match="another slice"):
        NameSlice("2").further(NameSlice("3"))


def test_a_scan_slice_goes_on_where_it_stopped() -> None:
    """A segment has a next key until its last page was read; it is divided only before."""
    part = cut_scan(3)[1]
    assert part.left == pytest.approx(1 / 3)
    assert part.split(5) == (part,)
    key = {"id": {"S": "a"}}
    assert part.reached(key) == ScanSlice(1, 3, key)
    assert part.reached(None) == part.finished() == ScanSlice(1, 3, done=True)
    assert part.finished().left == 0


@pytest.mark.parametrize(
    "parts",
    [
        (),
        cut_names(4)[1:],
        cut_names(4)[:-1],
        (*cut_names(4), NameSlice("4", "8")),
        cut_names(4)[::2],
    ],
)
def test_what_does_not_cover(parts: tuple[NameSlice, ...]) -> None:
    """A missing slice, and one that is there twice, is noticed."""
    assert not cover_once(parts)
