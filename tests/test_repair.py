"""`verify --repair` makes the archive right again, tells the truth about what was lost, and claims
no moment that is not exact."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import stream_backup.verify.looks
import stream_backup.verify.repair
import stream_backup.verify.rounds
import stream_backup.verify.run
import stream_backup.verify.writer
from stream_backup.archive.status import Status
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import look_up
from stream_backup.capture.state import State
from stream_backup.core.change import Change
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.records import Outage
from stream_backup.core.repair import Repair, standing
from stream_backup.core.stamp import Stamp
from stream_backup.errors import (
    ArchiveError,
    CoverageError,
    IncompleteError,
    NotConfirmedError,
    StreamBackupError,
)
from stream_backup.progress import Silent
from stream_backup.verify.gap import Gap
from stream_backup.verify.repair import Repaired, RepairRun
from stream_backup.verify.run import Verification
from tests import laws
from tests.model import KEYS, NAME, NAMES, VALUES
from tests.process import Inline, Process, Stop, pause
from tests.profiles import histories
from tests.world import World, patched

running: list[World] = []
reading: list[bool] = [True]
"""Whether the function reads while a repair waits for it."""


def deliver(world: World) -> None:
    """The function writes everything that it has not read."""
    for stream in world.known():
        for shard, records in enumerate(world.life(stream.label).shards):
            world.deliver(stream, shard, len(records)).finish()
    world._reap()  # noqa: SLF001


def state_of(world: World) -> State:
    live, _ = look_up(world.dynamodb, NAME)
    found = SimpleNamespace(
        table=NAME, status=world.status_of(), live=live, failed=tuple(world.failed()), unseen=()
    )
    return cast(State, found)


def caught_up(*_given: Any) -> State:
    """The function reads on while a command waits for it."""
    world: World = running[0]
    for _ in range(12):
        world.model.tick(1)
        pause()
    if reading[0]:
        deliver(world)
        world.model.tick(12)
    return state_of(world)


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    def sleep(seconds: float) -> None:
        running[-1].model.tick(seconds)
        pause()

    clock = SimpleNamespace(monotonic=lambda: running[-1].model.now, sleep=sleep)
    pool: Callable[..., Executor] = lambda *_: Inline(running[-1].random)  # noqa: E731
    with patched(lambda: running[-1]), pytest.MonkeyPatch.context() as patch:
        for module in (
            stream_backup.verify.looks,
            stream_backup.verify.rounds,
            stream_backup.verify.repair,
            stream_backup.verify.writer,
        ):
            patch.setattr(module, "time", clock)
        for module in (stream_backup.verify.run, stream_backup.verify.repair):
            patch.setattr(module, "RequestPool", pool)
        patch.setattr(stream_backup.verify.repair, "state_of", lambda *_: state_of(running[-1]))
        patch.setattr(stream_backup.verify.repair, "catch_up", caught_up)
        yield


def yes(_: Gap) -> bool:
    return True


def repair(world: World, agree: Callable[[Gap], bool] = yes, **how: Any) -> Repaired:
    """Runs all of `verify --repair` on this world."""
    live, _ = look_up(world.dynamodb, NAME)
    assert live is not None
    connection = cast(Connection, SimpleNamespace(dynamodb=world.dynamodb, store=world.store))
    verification = Verification(
        connection, world.archive, live, 2, ReadBudget(None), Stop(), Silent()
    )
    return RepairRun(verification, agree, **how).run(lambda _: None)


def skip(world: World) -> list[str]:
    """The function loses everything that it has not read, and nothing reports it. Returns the names
    of the items whose changes are lost."""
    lost = []
    for stream in world.known():
        for shard, records in enumerate(world.life(stream.label).shards):
            start = world.positions.get((stream.label, shard), 0)
            lost += [key_hash(each.event["dynamodb"]["Keys"]) for each in records[start:]]
            world.positions[stream.label, shard] = len(records)
    return lost


def begun(seed: int = 1, rows: tuple[tuple[int, int], ...] = ()) -> World:
    """Returns a world with rows, a stream that a function reads, and a backfill."""
    world = World(seed)
    running[:], reading[:] = [world], [True]
    world.healthy = True
    for number, value in rows:
        write(world, number, value)
    world.enable("function").finish()
    world.backfill(2).finish()
    world.model.tick(20)
    deliver(world)
    world.model.tick(12)
    return world


def write(world: World, number: int, value: int) -> None:
    world.model.write(KEYS[number], None if value < 0 else VALUES[value])


def lose(world: World, *changes: tuple[int, int]) -> None:
    """Makes changes that the function reads past without writing them."""
    deliver(world)
    for number, value in changes:
        world.model.tick(1)
        write(world, number, value)
    skip(world)


def newest(world: World, number: int) -> Stamp:
    found = laws.stamps(world.archive)[NAMES[number]]
    return max(found, key=lambda stamp: stamp.rank)


# ------------------------------------------------------------
# one repair


def test_what_was_lost_is_repaired() -> None:
    """A row that differs and one that is missing get a scanned version, one that is gone gets a
    tombstone that says that it was found missing. Nothing that is stored changes. The moments
    before the gap stay exact, those in it are not claimed, and from the end of the repair on they
    are exact again."""
    world = begun(rows=((0, 0), (1, 0), (2, 1)))
    for number in (0, 1):
        world.model.tick(30)
        write(world, number, 2)
    deliver(world)
    world.model.tick(60)
    before = {path: list(stored) for path, stored in world.store.objects.items()}
    exact = int(newest(world, 0).at) - 1
    lose(world, (0, 3), (1, -1))
    world.model.tick(100)
    found = repair(world)
    assert found.counts
    assert found.record is not None
    assert found.record.counts == {"scan": 1, "missing": 1}
    assert newest(world, 0).kind == "scan"
    gone = newest(world, 1)
    assert (gone.kind, gone.sequence, gone.by) == ("missing", 0, None)
    assert newest(world, 2).kind == "scan"  # of the backfill
    assert len(laws.stamps(world.archive)[NAMES[2]]) == 1
    for path, stored in before.items():
        if "/meta/" not in path:
            assert world.store.objects[path][: len(stored)] == stored
    world.model.tick(100)
    deliver(world)
    status = world.status_of()
    assert laws.law_5(world, status)
    earlier, later = status.coverage.epochs
    assert earlier.end == exact
    assert later.start == found.record.answered
    (outage,) = world.meta.outages()
    assert (outage.since, outage.until) == (exact, found.record.began)
    # What it wrote may have covered newer versions until a walk has put them in order.
    assert any(
        each.since < found.record.began < found.record.answered < each.last
        for each in status.coverage.disorders
    )
    assert later.floor == earlier.floor
    assert status.coverage.epoch_at(exact) == earlier
    assert status.coverage.epoch_at(int(world.model.now) - 15) == later
    assert status.coverage.epoch_at(exact + 1) is None


def test_nothing_is_written_where_nothing_is_wrong() -> None:
    """Where every row is right, nothing is written, not even a record."""
    world = begun(rows=((0, 0),))
    puts = world.store.requests["put"]
    assert repair(world).record is None
    assert world.store.requests["put"] == puts


def test_a_lost_change_of_a_row_that_came_back_is_no_difference() -> None:
    """A row that is what the archive has is left alone, and costs no version."""
    world = begun(rows=((0, 0), (1, 0)))
    lose(world, (0, 1), (0, 0), (1, 1))
    assert repair(world).record.counts == {"scan": 1}  # type: ignore[union-attr]


def test_a_row_nobody_has_a_version_of_may_be_missing_since_the_beginning() -> None:
    """Nobody knows since when a row without a version exists, so that no moment of the epoch stays
    exact; unless the operator knows, or an earlier repair read it."""
    world = begun(rows=((0, 0),))
    world.model.tick(1000)
    start = world.status_of().coverage.epochs[-1].start
    gaps: list[Gap] = []

    def refuse(gap: Gap) -> bool:
        gaps.append(gap)
        return False

    lose(world, (1, 1))
    for how in ({}, {"since": start + 500}):
        with pytest.raises(NotConfirmedError):
            repair(world, refuse, **how)
    assert [gap.outage.since - start for gap in gaps if gap.outage] == [-1, 499]
    assert [bool(gap.exact) for gap in gaps] == [False, True]
    assert [gap.unknown for gap in gaps] == [1, 1]
    first = repair(world)
    assert first.record is not None
    world.model.tick(1000)
    lose(world, (2, 1))
    with pytest.raises(NotConfirmedError):
        repair(world, refuse)
    assert gaps[-1].outage is not None
    assert gaps[-1].outage.since == max(first.record.asked, first.record.answered) - 1


def test_an_outage_on_record_is_healed_without_a_backfill() -> None:
    """After an outage of the same stream, a repair compares every row and begins an epoch, even
    where it finds nothing wrong; the rows that were right keep their versions."""
    world = begun(rows=((0, 0), (1, 1)))
    label, now = world.known()[-1].label, int(world.model.now)
    world.meta.write_outage(Outage(label, now - 5, now, "nobody read it"))
    world.model.tick(60)
    assert world.status_of().floor_now < 0
    found = repair(world)
    assert found.counts
    assert found.record is not None
    assert found.record.counts == {}
    assert (found.record.since, found.gap and found.gap.outage) == (0, None)
    world.model.tick(30)
    assert laws.law_5(world, world.status_of())
    assert all(len(each) == 1 for each in laws.stamps(world.archive).values())


def test_the_order_of_writing_is_not_taken_for_granted() -> None:
    """A version that was written last is not the newest: the row looks right in a listing, and is
    not. A repair notices, because restores go by the stamps."""
    world = begun()
    deliver(world)
    for value in (0, 1):
        world.model.tick(60)
        write(world, 0, value)
    records = [each for shard in world.model.streams[-1].shards for each in shard]
    skip(world)
    for record in reversed(records):
        world.archive.put(Change.streamed(record.event))
    world.model.tick(60)
    lose(world, (0, 0), (1, 1))
    assert newest(world, 0).kind == "modify"
    done = repair(world)
    assert done.record is not None
    assert done.record.counts == {"scan": 2}
    world.model.tick(30)
    truth = world.model.at(int(world.model.now))
    assert laws.rebuilt(world.archive, 2**40, world.status_of().floor_now) == truth


def test_a_lost_change_that_arrives_after_all_ends_what_the_repair_claims() -> None:
    """Of two lost changes of a row that came back, the first is delivered after the repair, and the
    second never. No moment is claimed at which the first would be shown. Another repair, or a
    backfill, makes the present exact again."""
    for heal in (repair, lambda world: world.backfill(1).finish()):
        world = damaged(((0, 1), (0, 0), (1, 1)))
        records = [each for shard in world.model.streams[-1].shards for each in shard]
        late = next(each for each in records if _is(each, 0, 1))
        assert repair(world).counts
        world.model.tick(20)
        assert world.status_of().floor_now > 0
        world.archive.put(Change.streamed(late.event))
        world.model.tick(20)
        laws.law_5(world, world.status_of())
        assert world.status_of().floor_now < 0
        world.model.tick(3 * 3600)
        world.watch()
        heal(world)
        world.model.tick(30)
        deliver(world)
        world.model.tick(30)
        found = world.status_of()
        assert found.coverage.epoch_at(int(world.model.now) - 15)
        assert laws.law_5(world, found)


def test_a_redrive_of_what_was_lost_ends_what_the_repair_claims() -> None:
    """A batch with lost changes reaches the failures bucket after the repair: no moment from its
    first change on is claimed while it waits, and none of the repair once it is redriven."""
    world = damaged(((0, 1), (0, 0), (1, 1)))
    assert repair(world).counts
    world.model.tick(20)
    (stream,) = world.known()
    shard = int(NAMES[0], 16) % 2
    records = world.life(stream.label).shards[shard]
    back = next(index for index, each in enumerate(records) if _is(each, 0, 1))
    world.again(stream, shard, len(records) - back)
    world.give_up(stream, shard, 1)
    skip(world)
    assert not world.status_of().coverage.spans
    world.redrive().finish()
    world.model.tick(20)
    assert not laws.law_5(world, world.status_of())
    world.model.tick(2 * 3600)
    world.watch()
    assert repair(world).counts
    world.model.tick(30)
    assert laws.law_5(world, world.status_of())


def _is(record: Any, number: int, value: int) -> bool:
    data = record.event["dynamodb"]
    image = data.get("NewImage")
    same = key_hash(data["Keys"]) == NAMES[number]
    return bool(same and image and encode(image) == encode(VALUES[value] | KEYS[number]))


REPAIR = Repair("r", "s", 0, 100, 110, 500, 520, 50, 520, 530, complete=True, counts={})


@pytest.mark.parametrize(
    ("outages", "healed"),
    [
        ([(50, 520)], True),
        ([(10, 100), (50, 520)], True),
        ([(10, 101), (50, 520)], False),
        ([(51, 520)], False),
        ([(50, 519)], False),
    ],
)
def test_which_outages_a_repair_heals(outages: list[tuple[int, int]], healed: bool) -> None:
    """A repair heals its own outage, and those that were over before it asked for the first row; an
    outage that is recorded meanwhile needs another one."""
    assert REPAIR.heals(Outage("s", *each, "lost") for each in outages) is healed
    assert not replace(REPAIR, complete=False).heals([])


HOUR = 1795230000 - 1795230000 % 3600


@pytest.mark.parametrize(
    ("hour", "seconds", "counts"),
    [
        (-1, 4096, True),  # over before the comparison began
        (0, 512, False),
        (1, 512, True),
        (1, 4096, False),
        (5, 4096, True),
        (5, 65536, False),
    ],
)
def test_what_is_announced_behind_a_repair(hour: int, seconds: int, counts: bool) -> None:
    """A repair counts unless versions from before its scan may have been written after its
    comparison began."""
    made = replace(REPAIR, read=HOUR + 600, listed=HOUR + 911)
    assert bool(standing([made], {HOUR + hour * 3600: seconds})) is counts


# ------------------------------------------------------------
# refusals


def refused(world: World, error: type[StreamBackupError], why: str) -> None:
    """Asserts that the repair is refused, and that nothing was written."""
    puts = world.store.requests["put"]
    with pytest.raises(error, match=why):
        repair(world)
    assert world.store.requests["put"] == puts


def test_refused_without_an_epoch() -> None:
    """Without a backfill there is nothing to repair; with the stream off, no epoch could begin."""
    world = World(1)
    running[:] = [world]
    world.enable("function").finish()
    refused(world, CoverageError, "No backfill")
    world.model.switch_off()
    refused(world, CoverageError, "is not on")


def test_refused_while_a_failed_batch_waits() -> None:
    """What waits in a failed batch may belong between what is compared."""
    world = begun(rows=((0, 0),))
    write(world, 0, 1)
    (stream,) = world.known()
    for shard in (0, 1):
        world.give_up(stream, shard, 5)
    refused(world, IncompleteError, "failed batches")


def test_refused_without_the_right_to_see_failed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the failures bucket cannot be read, nobody knows whether a batch waits."""
    world = begun(rows=((0, 0),))
    state = state_of(world)
    state.failed = None  # type: ignore[misc]
    monkeypatch.setattr(stream_backup.verify.repair, "catch_up", lambda *_: state)
    refused(world, IncompleteError, "cannot be read")


def test_refused_while_the_stream_is_not_read() -> None:
    """What nobody has read yet cannot be told from what is lost."""
    world = begun(rows=((0, 0),))
    lose(world, (0, 1))
    reading[:] = [False]
    write(world, 0, 2)
    refused(world, IncompleteError, "has been read only up to")


def test_refused_while_a_writer_is_late() -> None:
    """While a writer has announced changes from before the scan, nobody knows what they are."""
    world = begun(rows=((0, 0),))
    lose(world, (0, 1))
    hour = int(world.model.now) // 3600 * 3600
    world.meta.announce(hour, 4096)
    refused(world, IncompleteError, "announced that it is late")
    world.model.tick(hour + 3600 + 4096 + 10 - world.model.now)
    world.watch()
    deliver(world)
    assert repair(world).counts


def test_refused_where_the_writer_does_not_announce() -> None:
    """Without announcements nobody knows whether older changes still arrive."""
    world = begun(rows=((0, 0),))
    (stream,) = world.known()
    world.meta.write_stream(replace(stream, announces=False))
    refused(world, IncompleteError, "does not announce")


def test_refused_where_an_item_is_unreadable() -> None:
    """An item that cannot be judged keeps the epoch from beginning."""
    world = begun(rows=((0, 0), (1, 0)))
    lose(world, (0, 1))
    world.store.put(world.archive.root + NAMES[1], b"not ours", {})
    refused(world, ArchiveError, "unreadable")


# ------------------------------------------------------------
# while others write


def test_a_row_that_is_overwritten_while_the_repair_waits_was_wrong() -> None:
    """The gap begins at the earliest of the rows that the first comparison found wrong, even if a
    later change of that row has arrived since."""
    world = begun(rows=((0, 0), (1, 0)))
    for number in (0, 1):
        world.model.tick(60)
        write(world, number, 1)
        deliver(world)
    world.model.tick(60)
    first = newest(world, 0).at
    lose(world, (0, 2), (1, 2))
    process, began = world.start("repair", partial(repair, world)), world.model.now
    while process.alive and world.model.now < began + 200:
        process.step()
    assert process.alive
    write(world, 0, 3)
    deliver(world)
    process.finish()
    assert process.error is None
    assert [outage.since for outage in world.meta.outages()] == [first - 1]


ONE = ((0, 1),)
FOUR = ((0, 1), (1, -1), (2, 2), (3, 3))


def damaged(lost: tuple[tuple[int, int], ...]) -> World:
    world = begun(rows=((0, 0), (1, 0), (2, 0)))
    world.model.tick(20)
    lose(world, *lost)
    return world


def last_steps(lost: tuple[tuple[int, int], ...], count: int, every: int) -> Iterator[int]:
    """Yields numbers of steps that end a repair before one of its last requests."""
    world = damaged(lost)
    process, steps = world.start("repair", lambda: repair(world)), 0
    while process.alive:
        process.step()
        steps += 1
    yield from range(steps - count, steps + 2, every)


def test_a_change_that_arrives_meanwhile_is_not_covered() -> None:
    """A row that changes between the look at it and the put keeps the newer version on top: the
    repair looks again."""
    for steps in last_steps(ONE, 24, 1):
        world = damaged(ONE)
        process = world.start("repair", partial(repair, world))
        process.step(steps)
        write(world, 0, 2)
        deliver(world)
        process.finish()
        assert process.error is None, process.error
        world.model.tick(30)
        deliver(world)
        world.model.tick(30)
        laws.law_4(world, world.status_of())
        truth = world.model.at(int(world.model.now))
        assert laws.rebuilt(world.archive, 2**40, world.status_of().floor_now) == truth
        versions = list(world.store.versions(world.archive.root + NAMES[0]))
        assert world.archive.stat(versions[0]).stamp == newest(world, 0)


def test_killed_anywhere_it_is_repaired_by_running_it_again() -> None:
    """Killed at any request, it has claimed nothing that is wrong, and running it again ends
    right."""
    for steps in last_steps(FOUR, 48, 6):
        world = damaged(FOUR)
        process = world.start("repair", partial(repair, world))
        process.step(steps)
        recorded = world.meta.outages()
        world.kill(process)
        if len(laws.stamps(world.archive)[NAMES[0]]) > 1:
            assert recorded, "the gap is on record before anything else"
        world.model.tick(30)
        if recorded:
            laws.law_5(world, world.status_of())
        again = repair(world)
        assert again.counts
        world.model.tick(30)
        assert laws.law_5(world, world.status_of())


# ------------------------------------------------------------
# the law

numbers = st.integers(0, len(KEYS) - 1)
values = st.integers(-2, len(VALUES) - 1)
changes = st.lists(st.tuples(numbers, values, st.sampled_from([0.0, 0.4, 1.0, 7.0])), max_size=6)
rounds = st.lists(
    st.tuples(
        changes,
        changes,
        st.lists(
            st.tuples(
                st.sampled_from(["write", "deliver", "again", "backfill", "step", "kill", "tick"]),
                st.integers(0, 40),
                values,
            ),
            max_size=14,
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


class Losses:
    """What was lost in a world, so that the law can leave out what no comparison can find: a change
    that was lost and then followed by one that arrived, or undone by one that was lost as well."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spans: list[tuple[int, int, set[str]]] = []

    def lose(self) -> None:
        first = min((each.at for each in self._unread()), default=None)
        names = set(skip(self.world))
        if first is not None:
            self.spans.append((int(first), 2**40, names))

    def _unread(self) -> Iterator[Any]:
        for stream in self.world.known():
            for shard, records in enumerate(self.world.life(stream.label).shards):
                yield from records[self.world.positions.get((stream.label, shard), 0) :]

    def repaired(self, start: int) -> None:
        """From this moment on, everything is exact."""
        self.spans = [
            (first, min(last, start - 1) if first < start else last, names)
            for first, last, names in self.spans
        ]

    def hidden(self, moment: int) -> set[str]:
        return {
            name for first, last, names in self.spans if first <= moment <= last for name in names
        }

    def check(self, status: Status) -> int:
        """For every moment that is claimed, every row is right that was not lost in secret."""
        count = 0
        for moment, floor in laws.exact_moments(self.world, status):
            truth, hidden = self.world.model.at(moment), self.hidden(moment)
            assert truth is not None
            found = laws.rebuilt(self.world.archive, moment, floor, status.lateness)
            wrong = {
                name for name in {*truth, *found} - hidden if truth.get(name) != found.get(name)
            }
            assert not wrong, f"{moment} of {status.coverage}"
            count += 1
        return count


@histories(40)
@given(seed=st.integers(0, 10**6), rows=st.lists(st.tuples(numbers, values)), drawn=rounds)
def test_every_moment_that_is_claimed_is_exact(
    seed: int, rows: list[tuple[int, int]], drawn: list[Any]
) -> None:
    """Law 5 for an archive that lost changes in secret: whatever is written, delivered again, or
    killed while a repair runs, every moment that is claimed after it is exact, and before what was
    lost as well. A change that is delivered after all is never shown where a later one is lost."""
    world = begun(seed, tuple(rows))
    losses, checked = Losses(world), 0
    for past, lost, meanwhile, redeliver in drawn:
        for number, value, after in past:
            world.model.tick(after)
            write(world, number, value)
            if world.random.random() < 0.5:
                deliver(world)
        deliver(world)
        world.model.tick(10)
        for number, value, after in lost:
            write(world, number, value)
            world.model.tick(after)
        losses.lose()
        world.model.tick(10)
        process = world.start("repair", lambda: repair(world))
        for what, number, value in meanwhile:
            during(world, process, what, number, value)
        process.finish()
        if process.error and not isinstance(process.error, StreamBackupError):
            assert process.error.__class__.__name__ == "Killed", process.error
        world.finish_all()
        world.model.tick(20)
        deliver(world)
        world.model.tick(20)
        status = world.status_of()
        if status.standing:
            losses.repaired(max(each.answered for each in status.standing))
        if redeliver:
            (stream,) = world.known()
            for shard in (0, 1):
                world.again(stream, shard, 3)
                world.deliver(stream, shard, 1).finish()
            world._reap()  # noqa: SLF001
            world.model.tick(20)
            checked += losses.check(world.status_of())
            deliver(world)
            world.model.tick(20)
        checked += losses.check(world.status_of())
        laws.law_7(world, world.status_of())
    event(f"repairs {len(world.status_of().standing)}, checked {min(checked, 5)}")


def during(world: World, process: Process, what: str, number: int, value: int) -> None:
    """One thing that happens while a repair runs."""
    if what == "write":
        write(world, number % len(KEYS), value)
    elif what == "deliver":
        deliver(world)
    elif what == "again":
        (stream,) = world.known()
        world.again(stream, number % 2, 1 + number // 8)
        world.deliver(stream, number % 2, 1).finish()
    elif what == "backfill":
        world.backfill(1).finish()
    elif what == "kill" and not number % 4:
        process.kill()
    elif what == "tick":
        world.model.tick(number)
    else:
        process.step(number)
    world._reap()  # noqa: SLF001
