"""Laws 4, 5, 7 and 9, checked on generated histories against a model that knows the truth."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from backfill.run import Backfill, confirm
from restore.plan import Rewind
from restore.rewind import rewind
from stream_backup.archive.layout import History as Listed
from stream_backup.capture.stream import switch_on
from stream_backup.core.item import digest, encode
from stream_backup.core.key import key_hash
from stream_backup.core.records import ReaderKind
from stream_backup.core.time_rule import FOREVER
from tests import laws
from tests.model import DAY, KEYS, NAMES, VALUES
from tests.process import Inline, Stop
from tests.profiles import histories
from tests.world import World, patched

moments = st.sampled_from([0.0, 0.0, 0.4, 1.0, 2.6])
choices = st.integers(0, 10**6)
keys = st.integers(0, len(KEYS) - 1)
values = st.integers(-2, len(VALUES) - 1)
"""An index into VALUES; a negative number means a removal."""

running: list[World] = []


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


def encrypted(history: Listed, since: int) -> Listed:
    """Returns the history as a bucket lists it that encrypts with SSE-KMS from `since` on: an ETag
    is not the MD5 of the content."""
    versions = (
        version._replace(etag=digest(version.version_id.encode()))
        if version.written >= since
        else version
        for version in history.versions
    )
    return history._replace(versions=tuple(versions))


class History(RuleBasedStateMachine):
    """What can happen to a table and its archive. `lives`: streams are switched off and on, and
    tables are deleted and created. `late`: days pass."""

    readers: tuple[ReaderKind, ...] = ("function",)
    lives = False
    late = False

    @initialize(
        seed=choices,
        skew=st.sampled_from(
            [(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2), (2, 2), (-2, -2), (1, -1), (-1, 1)]
        ),
        rows=st.lists(st.tuples(keys, values), max_size=4),
        known=st.booleans(),
        covered=st.booleans(),
        reader=choices,
        merging=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    )
    def begin(
        self,
        seed: int,
        skew: tuple[int, int],
        rows: Any,
        known: bool,
        covered: bool,
        reader: int,
        merging: float,
    ) -> None:
        self.world = World(seed, *skew)
        self.world.merging = merging
        running[:] = [self.world]
        self.checked = 0
        for key, value in rows:
            self.write(key, value, 0.0)
        if not known:
            self.world.model.switch_on()
        self.world.model.tick(0.7)
        self.world.enable(self.readers[reader % len(self.readers)])
        self.world.finish_all()
        if covered:
            self.world.backfill(1)
            self.world.finish_all()
            self.world.model.tick(8)

    # The table

    @rule(key=keys, value=values, after=moments)
    def write(self, key: int, value: int, after: float) -> None:
        self.world.model.tick(after)
        if self.world.model.rows is not None:
            self.world.model.write(KEYS[key], None if value < 0 else VALUES[value])

    @rule(key=keys, drawn=st.lists(values, min_size=2, max_size=4))
    def write_in_one_second(self, key: int, drawn: list[int]) -> None:
        for value in drawn:
            self.write(key, value, 0.0)

    @rule(after=st.sampled_from([1.0, 3.0, 6.0, 9.0, 20.0]))
    def pass_time(self, after: float) -> None:
        self.world.wait(after, brink=False)

    @precondition(lambda self: self.late)
    @rule(after=st.sampled_from([3600.0, DAY - 5.0, DAY + 5.0, 2.5 * DAY]), brink=st.booleans())
    def pass_days(self, after: float, brink: bool) -> None:
        self.world.wait(after, brink=brink)

    # The commands

    @rule(segments=st.integers(1, 2), steps=st.integers(0, 12))
    def backfill(self, segments: int, steps: int) -> None:
        if len(self.world.processes) < 6:
            self.world.step(self.world.backfill(segments), steps)

    @rule(which=choices, steps=st.integers(1, 20))
    def go_on(self, which: int, steps: int) -> None:
        if self.world.processes:
            self.world.step(self.world.processes[which % len(self.world.processes)], steps)

    @rule()
    def finish(self) -> None:
        self.world.finish_all()

    @rule(which=choices)
    def kill(self, which: int) -> None:
        if (
            self.world.processes
            and (process := self.world.processes[which % len(self.world.processes)]).kind
            != "switch"
        ):
            self.world.kill(process)

    @rule(failing=st.sampled_from([0.0, 0.0, 0.2]))
    def fail(self, failing: float) -> None:
        self.world.failing = failing

    # The stream

    @rule(
        which=choices,
        shard=st.integers(0, 1),
        size=st.sampled_from([1, 2, 5, 100]),
        steps=st.sampled_from([0, 1, 2, 5, 999]),
    )
    def deliver(self, which: int, shard: int, size: int, steps: int) -> None:
        streams = self.world.known()
        if not streams or len(self.world.processes) >= 6:
            return
        stream = streams[which % len(streams)]
        if stream.reader == "function":
            self.world.step(self.world.deliver(stream, shard, size), steps)
        elif process := self.world.follow(stream):
            self.world.step(process, steps)

    @rule(which=choices, shard=st.integers(0, 1), back=st.integers(1, 4))
    def deliver_again(self, which: int, shard: int, back: int) -> None:
        streams = [stream for stream in self.world.known() if stream.reader == "function"]
        if streams:
            self.world.again(streams[which % len(streams)], shard, back)

    @precondition(lambda self: self.lives and not self.world.running("switch"))
    @rule(reader=choices, steps=st.sampled_from([3, 8, 999]))
    def enable(self, reader: int, steps: int) -> None:
        self.world.step(self.world.enable(self.readers[reader % len(self.readers)]), steps)

    @precondition(lambda self: self.lives and not self.world.running("switch"))
    @rule(steps=st.sampled_from([3, 8, 999]))
    def disable(self, steps: int) -> None:
        self.world.step(self.world.disable(), steps)

    @precondition(lambda self: self.lives)
    @rule(after=moments, on=st.booleans())
    def switch_behind_our_back(self, after: float, on: bool) -> None:
        model = self.world.model
        if model.rows is not None:
            model.switch_off()
            model.tick(after)
            if on:
                model.switch_on()

    @precondition(lambda self: self.lives)
    @rule(after=moments, on=st.booleans(), again=st.booleans())
    def drop(self, after: float, on: bool, again: bool) -> None:
        model = self.world.model
        if model.rows is not None:
            model.drop()
        model.tick(after)
        if again:
            model.create()
            if on:
                model.switch_on()

    @rule(
        which=choices,
        foreign=st.lists(st.tuples(keys, values), max_size=2),
        kms=st.sampled_from(["never", "later", "always"]),
    )
    def rewind(self, which: int, foreign: list[tuple[int, int]], kms: str) -> None:
        """Law 9: a rewind of the live table to any exact moment gives the same rows as a restore
        into an empty table, except for rows that others changed after it was planned. It leaves
        those unchanged and reports the ones that still differ. It does not depend on ETags being
        MD5s, nor on the bucket's encryption being the same as at that moment."""
        world = self.world
        if world.model.rows is None:
            return
        world.quiet()
        found = world.status_of()
        moments = [
            each for each in laws.exact_moments(world, found) if world.model.at(each[0]) is not None
        ]
        if not moments or found.coverage.epochs[-1].end is not None:
            return
        moment, floor = moments[which % len(moments)]
        truth = world.model.at(moment)
        assert truth is not None
        plan = Rewind(world.archive, moment, floor, found.coverage.epochs[-1].floor)
        since = {"never": FOREVER, "later": moment, "always": 0}[kms]
        steps = [plan.step(encrypted(history, since)) for history in world.archive.histories()]
        planned = self.rows()
        for key, value in foreign:
            self.write(key, value, 0.2)
        before = self.rows()
        result = rewind(world.dynamodb, world.archive, steps, Inline(world.random))
        left = {key_hash(json.loads(key)) for key, _ in result.left}
        todo = {step.name for step in steps if step.action in ("put", "delete")}
        for name in NAMES:
            foreign_row = before.get(name) != planned.get(name)
            assert self.rows().get(name) == (before if foreign_row else truth).get(name)
            wrong = name in todo and before.get(name) != truth.get(name)
            assert (name in left) == (foreign_row and wrong)

    @rule(which=choices, other=choices)
    def differ(self, which: int, other: int) -> None:
        """Law 15: the difference between any two exact moments of one epoch."""
        found = self.world.status_of()
        moments = [moment for moment, _ in laws.exact_moments(self.world, found)]
        if moments:
            since, until = sorted(moments[each % len(moments)] for each in (which, other))
            if since < until and found.coverage.epoch_at(since) == found.coverage.epoch_at(until):
                laws.law_15(self.world, found, since, until)

    # The laws

    def rows(self) -> dict[str, bytes]:
        return {name: encode(row) for name, row in (self.world.model.rows or {}).items()}

    @rule()
    def look(self) -> None:
        """Every moment that is claimed now is exact, whatever commands are running."""
        found = self.world.status_of()
        self.checked += laws.law_5(self.world, found)
        laws.law_7(self.world, found)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.look()
            self.world.quiet()
            self.look()
            self.settle()
        finally:
            for process in list(self.world.processes):
                process.kill()

    def settle(self) -> None:
        """After any history, a stream that is on and a complete backfill make the present exact,
        and the past stays exact."""
        world = self.world
        if world.model.rows is None:
            world.model.create()
        world.enable(self.readers[0])
        world.finish_all()
        world.wait(3, brink=False)
        world.quiet()  # or what is left to read is lost while the backfill waits for its floor
        for _ in range(
            2
        ):  # the first may resume a run from before an outage, which adds no coverage
            world.backfill(2)
            world.finish_all()
        world.wait(20, brink=False)
        world.quiet()
        world.healthy = True  # by now, AWS reports nothing wrong
        found = world.status_of()
        count = laws.law_5(world, found)
        event(f"moments checked {min(self.checked, 20)}, epochs {len(found.coverage.epochs)}")
        assert count
        laws.baseline_never_covers(world)
        laws.law_4(world, found)
        laws.law_7(world, found)
        laws.law_9(world, found)


@pytest.mark.parametrize("half", [0, 1])
def test_a_backfill_without_stream_that_races_enable(half: int) -> None:
    """Law 5: rows that a backfill saved without a stream, while the stream of an empty archive was
    being switched on, do not keep the first backfill from writing a baseline of its own."""
    raced = 0
    for seed in range(half, 400, 2):
        world = World(seed)
        running[:] = [world]
        for key in KEYS:
            world.model.write(key, VALUES[0])
        world.model.tick(world.random.choice([0.3, 8.0]))
        world.backfill(1, without_stream=True)
        world.step(world.processes[0], world.random.choice([0, 3, 12, 18, 25]))

        def first(world: World = world) -> None:
            switch_on(world.dynamodb, world.archive, "function")
            work = Backfill(world.dynamodb, world.archive, 1, None, lambda _: None, Stop())
            work.execute(work.begin(without_stream=False)[0])

        world.start("backfill", first)
        while world.processes:
            world.step(world.random.choice(world.processes), world.random.choice([1, 4, 20]))
            world.model.tick(world.random.choice([0.0, 0.1, 1.0]))
        world.backfill(1)
        world.wait(20, brink=False)
        world.quiet()
        raced += sum(not run.stream for run in world.meta.runs())
        world.healthy = True
        assert laws.law_5(world, world.status_of())
    assert raced > 100


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("after", [0.0, 20.0])
def test_a_quiet_epoch_that_ends_unseen(confirmed: bool, after: float) -> None:
    """Law 5: after a stream went off unseen, the end of its backfill is exact if the stream was
    seen on later, although no change has proven it since; otherwise nothing is claimed."""
    world = World(1)
    running[:] = [world]
    for key in KEYS:
        world.model.write(key, VALUES[0])
    world.enable("function").finish()
    world.backfill(1).finish()
    (run,) = world.meta.runs()
    if confirmed:
        confirm(world.dynamodb, world.archive, run)
        assert run.answered <= world.meta.runs()[0].witness < world.model.now
    world.model.tick(after)
    world.model.switch_off()
    world.model.write(KEYS[0], VALUES[1])
    world.model.tick(30)
    found = world.status_of()
    assert [epoch.start for epoch in found.coverage.epochs] == [run.answered] * confirmed
    assert bool(laws.law_5(world, found)) is confirmed
    assert confirm(world.dynamodb, world.archive, run) == run


class Races(History):
    """Laws 4, 5, 7, 9: one stream, read by a function, with backfills that race it and each
    other."""


class Lives(History):
    """Laws 4, 5, 7, 9, across epochs: streams are switched off and on, and tables are deleted and
    recreated, by the commands or by somebody else."""

    lives = True


class Days(History):
    """Laws 4, 5, 7, 9, across outages: delivery is a day late, or later than the stream keeps its
    records, and a backfill makes the table exact again."""

    late = True


class Followed(History):
    """Laws 4, 5, 7, 9, with `follow` as the reader: what it reports as read is exact, even while it
    reads."""

    readers = ("follow",)
    lives = True
    late = True


class Everything(History):
    """Laws 4, 5, 7, 9, with all of this in one history, and with either reader."""

    readers = ("function", "follow")
    lives = True
    late = True


TestRaces = Races.TestCase
TestRaces.settings = histories(250)
TestLives = Lives.TestCase
TestLives.settings = histories(250)
TestDays = Days.TestCase
TestDays.settings = histories(200)
TestFollowed = Followed.TestCase
TestFollowed.settings = histories(150)
TestEverything = Everything.TestCase
TestEverything.settings = histories(200)
