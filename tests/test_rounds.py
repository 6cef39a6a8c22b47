"""The rules of a distributed run: rates divided among workers, what is left split, and an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.rounds import (
    IDLE_ROUNDS,
    MOST_ROUNDS,
    MOST_SLICES,
    PARTS_A_WORKER,
    SMALLEST,
    list_again,
    may_go_on,
    rate_of,
    reach_of,
)
from stream_backup.core.slice import NameSlice, ScanSlice, Slice, cover_once, cut_names


@given(
    total=st.floats(1, 10**6),
    at_once=st.integers(1, 50),
    slices=st.integers(1, 60),
    choices=st.lists(st.integers(0, 10**6), max_size=200),
)
def test_workers_never_use_more_than_the_rate(
    total: float, at_once: int, slices: int, choices: list[int]
) -> None:
    """Whenever workers begin, end, and learn that others have ended, all of them together use at
    most the rate of the run. The last one alone uses all of it once it has learned that."""
    waiting, finished = slices, 0
    shares: list[float] = []
    for choice in choices:
        if waiting and len(shares) < at_once and choice % 3 == 0:
            waiting -= 1
            shares.append(rate_of(total, at_once, slices, finished) or 0)
        elif shares and choice % 3 == 1:
            shares.pop(choice % len(shares))
            finished += 1
        elif shares:
            seen = choice % (finished + 1)  # a worker may have looked long ago
            shares[choice % len(shares)] = rate_of(total, at_once, slices, seen) or 0
        assert sum(shares) <= total * (1 + 1e-9)
    assert rate_of(total, at_once, slices, slices - 1) == total


def test_no_limit_stays_no_limit() -> None:
    """A run without a limit has none for its workers."""
    assert rate_of(None, 7, 100, 3) is None


names = st.lists(st.sampled_from(cut_names(16)), unique=True, max_size=16)


@given(
    left=names,
    done=st.lists(st.integers(0, 1000), min_size=16, max_size=16),
    at_once=st.integers(1, 40),
)
def test_what_is_left_is_listed_once(left: list[NameSlice], done: list[int], at_once: int) -> None:
    """The list of the next round has everything that is left, once and nothing else, the largest
    slices first, and no more slices than a map can return."""
    begun = []
    for piece, share in zip(left, done, strict=False):
        first, end = (int(text.ljust(32, "0") or "0", 16) for text in piece.range)
        name = first + ((end or 16**32) - first - 1) * share // 1000
        begun.append(piece.reached(f"{name:032x}") if share else piece)
    listed = list_again(begun, at_once)
    assert len(listed) <= max(len(begun), PARTS_A_WORKER * at_once)
    assert [each.left for each in listed] == sorted((each.left for each in listed), reverse=True)
    for piece in begun:
        parts = [
            each
            for each in listed
            if isinstance(each, NameSlice) and piece.holds(each.range[0].ljust(32, "0"))
        ]
        if piece.done:
            assert parts == []
        else:
            assert cover_once(parts, piece)
            assert sum(each.left for each in parts) == pytest.approx(piece.left)


def test_one_large_slice_becomes_no_tail() -> None:
    """When one slice is left of many, every worker gets a part of it, and no part is much larger
    than the others."""
    (left,) = cut_names(1)
    listed = list_again([left], 10)
    assert len(listed) == PARTS_A_WORKER * 10
    assert max(each.left for each in listed) < 2 * min(each.left for each in listed)


def test_a_large_table_has_few_rounds() -> None:
    """Of 10 billion rows, of which one of 500 workers does a million in its time, nothing is
    left after far fewer rounds than a run may have: each list has as many slices as it takes."""
    left: tuple[Slice, ...] = cut_names(16)
    reach, rounds = 1 / 10_000, 0
    left = list_again(left, 500, reach)
    assert len(left) > PARTS_A_WORKER * 500
    while left:
        after = []
        for each in left:
            assert isinstance(each, NameSlice)
            first, last = (int(name, 16) for name in each.open_ends or ())
            name = min(last, first + int(reach * 16**32))
            after.append(each.reached(f"{name:032x}"))
        found = reach_of(pair for pair in zip(left, after, strict=True) if not pair[1].done)
        assert found in (None, pytest.approx(reach))
        left, rounds = list_again(after, 500, found), rounds + 1
        assert len(left) <= MOST_SLICES
    assert rounds < MOST_ROUNDS / 50


def test_a_small_slice_is_not_split() -> None:
    """What is left around an item that cannot be done is not split for ever."""
    (small,) = NameSlice("00001", "00002").split(1)
    assert list_again([small], 1_000, 1e-9) == (small,)
    assert reach_of([(small, small)]) is None
    assert all(each.left >= SMALLEST / 2 for each in list_again([NameSlice("001", "002")], 1_000))


def test_a_segment_is_listed_as_it_is() -> None:
    """A segment of a scan cannot be split, and keeps how far it was scanned."""
    segments: list[Slice] = [ScanSlice(3, 8, {"id": {"S": "x"}}), ScanSlice(5, 8, done=True)]
    assert list_again(segments, 100) == (segments[0],)


def test_a_list_fits_into_a_map() -> None:
    """However many workers there are, a list has no more slices than a map can return."""
    assert len(list_again(cut_names(16), 10**6)) <= MOST_SLICES


def test_a_run_ends() -> None:
    """A run goes on while it advances, ends after some rounds in a row that did nothing, and after
    very many in any case."""
    assert may_go_on(0, [True])
    assert may_go_on(9, [True] + [False] * (IDLE_ROUNDS - 1))
    assert not may_go_on(9, [True] + [False] * IDLE_ROUNDS)
    assert may_go_on(9, [False] * IDLE_ROUNDS + [True])
    assert not may_go_on(MOST_ROUNDS - 1, [True])
