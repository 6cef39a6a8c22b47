"""A copy is compared slice by slice, and a part of an archive is ranges of names: however both are
cut, and whoever does a slice, it is the same."""

import json
from random import Random
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_backup.archive.pool import RequestPool
from stream_backup.archive.ranges import Ranges, ranges_of
from stream_backup.archive.selection import histories_of
from stream_backup.core.key import key_json
from stream_backup.core.slice import NameSlice, cover_once, cut_names, slice_of
from stream_backup.drill import compare
from stream_backup.drill.compare import CompareOrder, CopyCompared, compare_copy
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import row_of
from tests.drill_world import DrillWorld, key
from tests.model import SCHEMA
from tests.sliced import through_json

WORLD = DrillWorld(items=40)
NAMES = [each.name for each in WORLD.archive.histories()]
AT = int(WORLD.model.now) - 8 * 3600
FLOOR = WORLD.catalog.streams()[0].floor

parts = st.integers(1, 40).map(cut_names)
shares = st.floats(0.0001, 1)
seeds = st.integers(0, 2**16)


def rows_of(items: Any) -> Rows:
    rows = Rows()
    rows.add(row_of(item, SCHEMA) for item in items)
    return rows


def test_slices_are_one_comparison() -> None:
    """Slices that are cut in any way, and done a chunk at a time, together find every difference
    once: a row that only the copy has, one that only the archive has, and one with another
    content."""
    items = {name: json.loads(body) for name, body in (WORLD.model.at(AT) or {}).items()}
    gone, changed = sorted(items)[2], sorted(items)[5]
    wrong = {key_json(SCHEMA.key_of(items[each])) for each in (gone, changed)} | {key_json(key(99))}
    del items[gone]
    items[changed] = {**items[changed], "v": {"S": "planted"}}
    items["extra"] = key(99)
    versions = sum(len(each.versions) for each in WORLD.archive.histories())
    order = CompareOrder.of(through_json(CompareOrder(AT, FLOOR).record()))

    @settings(max_examples=30)
    @given(cut=parts, seed=seeds)
    def check(cut: tuple[NameSlice, ...], seed: int) -> None:
        random, found = Random(seed), list[CopyCompared]()
        waiting: list[Any] = list(cut)
        while waiting:
            piece = waiting.pop(random.randrange(len(waiting)))
            work = order, [piece], WORLD.archive, rows, pool, Event()
            (done,) = compare_copy(*work, over=lambda: random.random() < 0.5)
            found.append(done)
            piece = slice_of(through_json(done.record())["slice"])
            waiting += [] if piece.done else [piece]
        assert sum(each.items for each in found) == len(NAMES) + 1
        assert sum(each.versions for each in found) == versions
        assert sum(each.differ for each in found) == 3
        assert {example for each in found for example in each.examples} == wrong

    rows = rows_of(items.values())
    with pytest.MonkeyPatch.context() as patch, RequestPool() as pool:
        patch.setattr(compare, "CHUNK", 3)
        check()
    rows.close()


def test_a_comparison_that_was_stopped_says_how_far_it_came() -> None:
    """What was not compared is left, and counts for nothing."""
    stop, rows = Event(), rows_of([])
    stop.set()
    with RequestPool() as pool:
        work = CompareOrder(AT, FLOOR), [NameSlice("4")], WORLD.archive, rows, pool, stop
        assert compare_copy(*work) == [CopyCompared(NameSlice("4"))]
    rows.close()


@given(share=shares, seed=seeds, cut=parts)
def test_ranges_are_a_part(share: float, seed: int, cut: tuple[NameSlice, ...]) -> None:
    """A part has the items whose names are in its ranges, in order, however it is listed: whole, by
    any prefix, after any name, and by slices of names."""
    ranges = ranges_of(share, Random(seed))
    archive = Ranges(WORLD.archive, ranges)
    wanted = [name for name in NAMES if any(each.holds(name) for each in ranges)]
    assert [each.name for each in archive.histories()] == wanted
    for prefix in ("0", "3", "a", "f", NAMES[7][:2], NAMES[9][:3], NAMES[11]):
        inside = [name for name in wanted if name.startswith(prefix)]
        assert [each.name for each in archive.histories(prefix)] == inside
        later = [each.name for each in archive.histories(prefix, after=NAMES[20])]
        assert later == [name for name in inside if name > NAMES[20]]
    sliced = [each.name for part in cut for each in histories_of(archive, part)]
    assert sliced == wanted


@given(share=shares, seed=seeds)
def test_ranges_have_about_their_share(share: float, seed: int) -> None:
    """The ranges are in order, do not overlap, and have about the share of all names that was asked
    for, of every first digit as many."""
    ranges = ranges_of(share, Random(seed))
    assert abs(sum(each.size for each in ranges) - share) <= max(share / 15, 16**-4)
    ends = [name for each in ranges for name in (each.first, each.end)]
    assert ends[:-1] == sorted(ends[:-1])
    if len(ranges) > 1:
        sizes = [0.0] * 16
        for each in ranges:
            sizes[int((each.first or "0")[0], 16)] += each.size
        assert max(sizes) == pytest.approx(min(sizes))
    else:
        assert cover_once(ranges)


def test_parts_have_every_item() -> None:
    """Parts that are chosen again and again have every item: none is out of reach."""
    found = {
        name
        for seed in range(60)
        for each in ranges_of(0.2, Random(seed))
        for name in NAMES
        if each.holds(name)
    }
    assert found == {*NAMES}
