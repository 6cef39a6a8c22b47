"""A rewind of a copy, slice by slice: however it is cut, interrupted and repeated, the copy is what
one whole rewind makes of it."""

import json
from random import Random
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restore.destination import Work
from restore.live_table import Copy, LiveTable
from restore.plan import Tally
from restore.rewind_slices import RewindOrder, SliceRewound, rewind_slices
from stream_backup.archive import chunks
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.capture.point import resolve
from stream_backup.capture.state import state_of
from stream_backup.core.key import key_hash, key_json
from stream_backup.core.slice import NameSlice, cut_names
from stream_backup.progress import Silent
from tests.drill_world import DrillWorld, key
from tests.model import NAME
from tests.sliced import through_json


def last_of(world: DrillWorld) -> int:
    return int(world.model.now) - 60


COPY = "copy"
WORLD = DrillWorld(items=24)
LAST = last_of(WORLD)
FIRST = LAST - 11 * 3600

moments = st.integers(FIRST, LAST)


def begin(world: DrillWorld, present: int, moment: int) -> RewindOrder:
    """Makes a copy with the rows of the moment `present`."""
    rows = world.model.at(present)
    assert rows is not None
    world.dynamodb.others[COPY] = {name: json.loads(body) for name, body in rows.items()}
    (stream,) = world.catalog.streams()
    point = resolve(
        world.connection, state_of(world.connection, NAME), moment, Silent(), incomplete_ok=False
    )
    assert point.floor == stream.floor
    return RewindOrder(COPY, present, moment, point.floor, point.lateness)


def slices(world: DrillWorld, order: RewindOrder, *parts: NameSlice, **more: Any) -> Any:
    stop = more.pop("stop", Event())
    return rewind_slices(order, parts, world.dynamodb, world.archive, stop, **more)


def whole(world: DrillWorld, order: RewindOrder) -> tuple[Any, Any]:
    """What one rewind makes of the copy, and its outcome."""
    state = state_of(world.connection, NAME)
    present, to = (
        resolve(world.connection, state, at, Silent(), incomplete_ok=False)
        for at in (order.present, order.moment)
    )
    table = LiveTable(None, copy=Copy(COPY, present))
    with RequestPool() as pool:
        chosen = Selection(world.archive)
        work = Work(world.dynamodb, chosen, pool, Tally(), Event(), Silent())
        done = table.execute(work, table.planner(chosen, to, counting=False))
    return dict(world.dynamodb.others[COPY]), done


@settings(max_examples=25)
@given(present=moments, moment=moments, parts=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_slices_are_one_rewind(present: int, moment: int, parts: int, seed: int) -> None:
    """Slices that are done in any order, by workers that stop after any chunk and whose reports may
    be lost, together make the copy what it was at the moment, as one whole rewind does. Every row
    is counted by somebody, and none is left."""
    random, world = Random(seed), WORLD
    order = begin(world, present, moment)
    expected, outcome = whole(world, order)
    assert expected == {
        name: json.loads(body) for name, body in (world.model.at(moment) or {}).items()
    }
    order = RewindOrder.of(through_json(begin(world, present, moment).record()))
    waiting, found = list(cut_names(parts)), list[SliceRewound]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_ITEMS", 2)
        lost = 0
        while waiting:
            piece = waiting.pop(random.randrange(len(waiting)))
            (done,) = slices(world, order, piece, over=lambda: random.random() < 0.5)
            assert done.slice.done or done.slice.after > piece.after
            if lost < 8 and random.random() < 0.3:
                lost += 1
                waiting.append(piece)  # its worker died before it could report
                continue
            found.append(done)
            waiting += [] if done.slice.done else [done.slice]
    assert world.dynamodb.others[COPY] == expected
    assert [line for each in found for line in each.left] == []
    changed = sum(each.done + each.already for each in found)
    assert changed == outcome.rewound + outcome.already
    assert lost or sum(each.done for each in found) == outcome.rewound


def test_all_slices_at_once() -> None:
    """Slices that one worker is given are done at once, and their counts are those of a whole
    rewind."""
    order = begin(WORLD, LAST, FIRST + 5 * 3600)
    expected, outcome = whole(WORLD, order)
    assert outcome.rewound > 5
    order = begin(WORLD, LAST, FIRST + 5 * 3600)
    found = slices(WORLD, order, *cut_names(16))
    assert WORLD.dynamodb.others[COPY] == expected
    assert [each.slice.range for each in found] == [each.range for each in cut_names(16)]
    assert all(each.slice.done for each in found)
    counts = [sum(each.counts[name] for each in found) for name in ("rewound", "left")]
    assert counts == [outcome.rewound, 0]
    assert sum(each.counts["versions"] for each in found) == sum(
        len(each.versions) for each in WORLD.archive.histories()
    )


def test_nothing_outside_a_slice_is_written() -> None:
    """Only rows whose names are in the slice and not done are changed."""
    order = begin(WORLD, LAST, FIRST)
    before = dict(WORLD.dynamodb.others[COPY])
    first, second = cut_names(2)
    name = sorted(each for each in before if first.holds(each))[2]
    slices(WORLD, order, first.reached(name))
    after = WORLD.dynamodb.others[COPY]
    outside = [each for each in before if second.holds(each) or each <= name]
    assert {each: after.get(each) for each in outside} == {each: before[each] for each in outside}
    assert after != before


def test_a_worker_that_is_stopped_says_how_far_it_came() -> None:
    """A slice that was stopped before its first chunk is as it was, and nothing was written."""
    order, stop = begin(WORLD, LAST, FIRST), Event()
    before = dict(WORLD.dynamodb.others[COPY])
    stop.set()
    (found,) = slices(WORLD, order, NameSlice("8"), stop=stop)
    assert found.slice == NameSlice("8")
    assert WORLD.dynamodb.others[COPY] == before


def test_what_is_not_as_planned_is_named() -> None:
    """A row that is neither what the archive says nor as wanted is left, with its key; one that
    cannot be read is counted. The others are rewound."""
    world = DrillWorld()
    order = begin(world, last_of(world), last_of(world) - 8 * 3600)
    strange, unread = key(7), key(10)
    rows = world.dynamodb.others[COPY]
    rows[key_hash(strange)] = {**strange, "v": {"S": "strange"}}
    path = f"{NAME}/{key_hash(unread)}"
    world.store.objects[path] = [
        each._replace(metadata={"format": "1"}) for each in world.store.objects[path]
    ]
    kept = dict(rows)
    found = slices(world, order, *cut_names(16))
    left = [line for each in found for line in each.left]
    assert left == [f"{key_json(strange)}: changed since the plan"]
    assert sum(each.counts["unreadable"] for each in found) == 1
    expected = {
        name: json.loads(body) for name, body in (world.model.at(order.moment) or {}).items()
    }
    skipped = {key_hash(strange), key_hash(unread)}
    assert {name: row for name, row in rows.items() if name not in skipped} == {
        name: row for name, row in expected.items() if name not in skipped
    }
    assert {name: rows[name] for name in skipped} == {name: kept[name] for name in skipped}


def test_two_workers_on_one_slice() -> None:
    """A worker whose row was rewound by another one between its look and its write has nothing to
    report: the row is as wanted, even where no condition could tell."""
    world = DrillWorld()
    order = begin(world, last_of(world), last_of(world) - 8 * 3600)
    expected, _ = whole(world, order)
    order = begin(world, last_of(world), last_of(world) - 8 * 3600)
    real, raced = world.dynamodb.call, list[str]()

    def call(operation: str, request: Any) -> Any:
        if operation in ("put_item", "delete_item"):
            raced.append(operation)
            real(operation, request)
            plain = {name: value for name, value in request.items() if "Expression" not in name}
            return real(operation, plain)
        return real(operation, request)

    world.dynamodb.call = call  # type: ignore[method-assign]
    found = slices(world, order, NameSlice())
    assert raced
    assert [line for each in found for line in each.left] == []
    assert world.dynamodb.others[COPY] == expected
