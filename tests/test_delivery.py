"""Laws 3, 5 and 6: hostile delivery, late records of an earlier stream, and wide scans."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.capture.batch import write_batch
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.item import decode
from stream_backup.core.time_rule import NEVER
from tests import laws
from tests.model import KEYS, NAME, SCHEMA, VALUES, Model
from tests.process import Inline
from tests.profiles import histories
from tests.world import World, patched

running: list[World] = []
keys = st.integers(0, len(KEYS) - 1)
values = st.integers(-2, len(VALUES) - 1)
gaps = st.sampled_from([0.0, 0.0, 0.4, 1.0, 7.0, 3600.0])
writes = st.lists(st.tuples(keys, values, gaps), max_size=12)


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


def changed(model: Model, drawn: list[tuple[int, int, float]]) -> None:
    for key, value, gap in drawn:
        model.tick(gap)
        model.write(KEYS[key], None if value < 0 else VALUES[value])


class Flaky(MemoryStore):
    """A store in which some puts fail, before or after they take effect."""

    def __init__(self, model: Model, failing: float) -> None:
        super().__init__(lambda: model.now)
        self.failing = failing
        self.random = model.random

    def put(self, path: str, payload: bytes, metadata: Any) -> None:
        if self.random.random() < self.failing:
            raise OSError("refused")
        super().put(path, payload, metadata)
        if self.random.random() < self.failing:
            raise OSError("the answer was lost")


@histories(300)
@given(
    seed=st.integers(0, 10**6),
    drawn=writes,
    batches=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 6)), max_size=6),
    failing=st.sampled_from([0.0, 0.3]),
    merging=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_delivery_gives_the_same_timeline(
    seed: int,
    drawn: list[tuple[int, int, float]],
    batches: list[tuple[int, int]],
    failing: float,
    merging: float,
) -> None:
    """Law 3: any reordering, repetition, or partial delivery that is followed by redelivery gives
    the same timeline, also where a second's changes of an item are merged."""
    model = Model(Random(seed))
    model.switch_on()
    changed(model, drawn)
    assert model.stream
    records = [record.event for shard in model.stream.shards for record in shard]
    clean, hostile = MemoryStore(lambda: model.now), Flaky(model, failing)
    for each in sorted(records, key=lambda record: int(record["dynamodb"]["SequenceNumber"])):
        Archive(clean, "", NAME, SCHEMA).put(Change.streamed(each))
    archive = Archive(hostile, "", NAME, SCHEMA)

    def deliver(batch: list[dict[str, Any]]) -> None:
        """Delivers a batch in order, and again from the first failure on, until all of it is
        written."""
        while batch:
            model.tick(0.3)
            failed = write_batch(
                batch,
                lambda _: archive,
                Inline(model.random),
                lambda: False,
                keep_every_change=model.random.random() >= merging,
            ).first_failed
            if failed is None:
                return
            batch = batch[failed:]

    for start, size in batches:
        deliver(records[start : start + size])
    deliver(model.random.sample(records, len(records)))
    stamps = {stamp.at for found in laws.stamps(archive).values() for stamp in found}
    for moment in {stamp + beside for stamp in stamps for beside in (-1, 0, 1)}:
        assert laws.rebuilt(archive, moment, NEVER) == laws.rebuilt(
            Archive(clean, "", NAME, SCHEMA), moment, NEVER
        )


@histories(300)
@given(
    seed=st.integers(0, 10**6),
    before=writes,
    after=writes,
    scans=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 90), st.integers(0, 90)), min_size=1, max_size=4
    ),
)
def test_wide_scans_are_safe(
    seed: int, before: Any, after: Any, scans: list[tuple[float, int, int]]
) -> None:
    """Law 6: however long before its instant a scan was asked, and however long after it was
    answered, an item has its true value as soon as the scan has been seen. Until then it has that
    value or none."""
    model = Model(Random(seed))
    changed(model, before)
    model.tick(1)
    model.switch_on()
    floor = int(model.now)
    begun = model.now
    changed(model, after)
    assert model.stream
    store = MemoryStore(lambda: model.now)
    archive = Archive(store, "", NAME, SCHEMA)
    ways: list[tuple[Change, bool]] = [
        (Change.streamed(record.event), False) for shard in model.stream.shards for record in shard
    ]
    for part, sooner, later in scans:
        instant = int(begun + part * (model.now - begun))
        for name, body in (model.at(instant) or {}).items():
            ways.append(
                (
                    Change.scanned(decode(body), SCHEMA, instant - sooner, instant + later, floor),
                    True,
                )
            )
            assert name == ways[-1][0].name
    model.random.shuffle(ways)
    for change, scanned in ways:
        if scanned:
            archive.put_baseline(archive.object_of(change), floor, empty=False)
        else:
            archive.put(change)
    for history in archive.histories():
        seen = max(archive.read(version).stamp.seen for version in history.versions)
        for moment in {
            stamp + beside for stamp in (seen, seen + 1, floor) for beside in (-1, 0, 1)
        }:
            found = item_at(history.versions, moment, floor, archive.read)
            truth = (model.at(moment) or {}).get(history.name)
            assert (found.body if found else None) == truth or (found is None and moment < seen)


@histories(300)
@given(
    seed=st.integers(0, 10**6),
    before=st.lists(st.tuples(keys, values, gaps), min_size=4, max_size=12),
    delivered=st.integers(0, 4),
    dropped=st.booleans(),
    after=writes,
    drawn=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 1), st.integers(0, 1)), min_size=5, max_size=40
    ),
)
def test_old_records_in_a_new_life(
    seed: int,
    before: Any,
    delivered: int,
    dropped: bool,
    after: Any,
    drawn: list[tuple[int, int, int]],
) -> None:
    """Law 5: records of an earlier stream that arrive while the new one is being backfilled change
    nothing in the new epoch, and its backfill covers nothing newer than it read."""
    world = World(seed)
    running[:] = [world]
    world.enable("function").finish()
    changed(world.model, before)
    for shard in (0, 1):
        world.deliver(world.known()[0], shard, delivered).finish()
    if dropped:
        world.model.drop()
        world.model.create()
    else:
        world.model.switch_off()
    changed(world.model, [(key, value, min(gap, 1.0)) for key, value, gap in after])
    world.enable("function").finish()
    backfill = world.backfill(1)
    for steps, which, shard in drawn:
        world.step(backfill, steps)
        world.deliver(world.known()[which], shard, 1).finish()
        changed(world.model, [(steps % len(KEYS), which - 1, 0.2)])
    world.quiet()
    world.wait(20, brink=True)
    world.healthy = True  # by now, AWS reports nothing wrong
    assert laws.law_5(world, world.status_of())
    laws.baseline_never_covers(world)
