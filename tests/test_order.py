"""Law 11: with lifecycle rules, across epochs, whoever reads, redrives and heals; and the watcher's
walks through the items, which keep versions in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from random import Random

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from stream_backup.archive.layout import History
from stream_backup.capture.order import DELETED, TOO_LATE, Walker
from stream_backup.capture.walks import next_walk
from stream_backup.core.change import Change
from stream_backup.core.coverage import Coverage, Epoch
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.order import Ordered, Walk, disorders, problems
from stream_backup.core.records import RedriveRecord, Run, Stream
from stream_backup.core.retention import Bound
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import LATE
from tests import laws
from tests.model import DAY, KEYS, VALUES
from tests.profiles import histories
from tests.world import World, patched

running: list[World] = []


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


HOUR = 3600
BETWEEN = (
    *["deliver"] * 3,
    "break off",
    "again",
    "step",
    "give up",
    "redrive",
    "kill",
    "hours",
    "change",
)
Act = tuple[str, int, int]


def changes(random: Random, most: int) -> Iterator[Act]:
    for _ in range(random.randrange(most + 1)):
        yield "write", random.randrange(len(KEYS)), random.randrange(-2, len(VALUES))


def life(random: Random) -> Iterator[Act]:
    """An epoch: what the stream before it still delivers comes while the backfill runs, and until a
    day later."""

    def small() -> int:
        return random.randrange(6)

    yield from changes(random, 4)
    began = random.choice(["new stream", "new stream", "new table", "outage", "none"])
    if began == "outage":
        yield "wait", random.choice([DAY, 2 * DAY]), 0
    elif began != "none":
        yield began, small(), 0
        yield from changes(random, 2)
    yield "backfill", random.choice([0, 8, 14, 20, 999]), 0
    for _ in range(random.randrange(2, 10)):
        kind = random.choice(BETWEEN)
        if kind == "hours":
            yield "wait", random.choice([1, 20, 400, HOUR, 6 * HOUR]), random.randrange(4)
        elif kind == "change":
            yield from changes(random, 2)
        else:
            yield kind, small(), random.choice([1, 3, small(), 20])
    yield "backfill", random.choice([5, 999, 999, 999]), 0
    for _ in range(random.randrange(1, 4)):
        yield "wait", random.choice([12 * HOUR, DAY, DAY, 2 * DAY]), random.randrange(8)
        if random.random() < 0.3:
            yield random.choice(["redrive", "give up", "deliver"]), 999, small()
        yield from changes(random, 1)
        yield "look", 0, 0
    if random.random() < 0.15:
        yield "watch", random.choice([0, 1]), 0


def act(world: World, name: str, one: int, two: int) -> None:
    """Runs a step of a history. A function writes changes of one item one after another: a delivery
    that broke off is repeated, and no other is under way meanwhile."""
    model, streams = world.model, world.known()
    if name == "write":
        model.tick(0.5)
        model.write(KEYS[one], None if two < 0 else VALUES[two])
        return
    stream = streams[-1 - (two % 2 if len(streams) > 1 else 0)]
    match name:
        case "deliver":
            world.deliver(stream, one % 2, 1 + one).finish()
        case "break off":
            process = world.deliver(stream, one % 2, 5)
            process.step(two)
            process.kill()
        case "again":
            world.again(stream, one % 2, two)
        case "backfill":
            world.step(world.backfill(1), one)
        case "step" if world.processes:
            world.step(world.processes[one % len(world.processes)], two)
        case "kill" if world.processes:
            world.kill(world.processes[one % len(world.processes)])
        case "new stream":
            model.switch_off()
            model.tick(1 + one)
            world.enable("function").finish()
        case "new table":
            model.drop()
            model.tick(1 + one)
            model.create()
            world.enable("function").finish()
        case "give up":
            world.give_up(stream, one % 2, 1 + two)
        case "redrive" if not world.running("redrive"):
            world.step(world.redrive(), one)
        case "wait":
            world.finish_all()
            world.wait(one, brink=two > 0)
        case "watch":
            world.watching = one > 0
        case "look":
            laws.law_5(world, world.status_of())


def settle(world: World) -> int:
    """After any history, a stream that is on, redrives, and a complete backfill make the present
    exact. Returns how many moments were checked."""
    world.quiet()
    laws.law_5(world, world.status_of())
    world.watching = True
    world.redrive().finish()
    world.wait(3, brink=True)
    for _ in range(2):  # the first may resume a run from before an outage
        world.backfill(1).finish()
    world.wait(20, brink=True)
    world.quiet()
    world.healthy = True
    found = world.status_of()
    count = laws.law_5(world, found)
    laws.law_7(world, found)
    return count


# ------------------------------------------------------------
# one history, step by step


@pytest.fixture
def covered() -> World:
    """Two rows that a backfill of a second epoch saved, on which records of the first stream then
    came late, with a day over since. The bucket keeps superseded versions for three days."""
    world = World(3, retention=3)
    running[:] = [world]
    world.walking = False
    for key in KEYS[:2]:
        world.model.write(key, VALUES[0])
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(60)
    for key in KEYS[:2]:
        world.model.write(key, VALUES[1])
    world.model.tick(60)
    world.model.switch_off()
    world.model.tick(60)
    world.enable("function").finish()
    world.backfill(1).finish()
    world.wait(20, brink=False)
    old, new = world.known()
    for shard in (0, 1):
        world.deliver(old, shard, 99).finish()
        world.deliver(new, shard, 99).finish()
    world.healthy = True
    for key in KEYS[:2]:
        newest = next(iter(world.archive.history(key).versions))
        assert world.archive.read(newest).stamp.at < world.known()[-1].floor
    return world


def days(world: World, number: int) -> None:
    for _ in range(number):
        world.wait(DAY, brink=True)


def latest(world: World) -> tuple[int, int]:
    """The first and the last moment that are claimed in the newest epoch; they are exact."""
    found = world.status_of()
    laws.law_5(world, found)
    bounds = found.coverage.bounds
    return (bounds[0].moment, bounds[1].moment) if bounds else (0, -1)


def test_put_in_order_in_time(covered: World) -> None:
    """Number 4: rows that a backfill saved, and on which late records of the earlier stream lie,
    are put on top again by the watcher, so that they are in every restore for ever."""
    covered.walking = True
    days(covered, 3)
    assert len(covered.meta.passes()) >= 1
    walk = covered.meta.walks()["ended"]
    assert walk.ended
    days(covered, 5)
    assert covered.expired
    first, last = latest(covered)
    assert covered.model.now - 3 * DAY < first + 60 < first + 2 * DAY < last
    assert set(laws.rebuilt(covered.archive, last, covered.known()[-1].floor)) == set(
        covered.model.at(last) or {}
    )


def test_never_put_in_order(covered: World) -> None:
    """Number 4: without a watcher the rows expire under the late records. As soon as that is
    possible, no moment of the epoch is claimed, and the reason says why."""
    covered.watching = True
    days(covered, 2)
    first, last = latest(covered)
    assert first < last
    days(covered, 4)
    assert covered.expired
    found = covered.status_of()
    floor, now = covered.known()[-1].floor, int(covered.model.now)
    assert laws.rebuilt(covered.archive, now, floor) != covered.model.at(now)
    bounds = found.coverage.bounds
    assert bounds
    assert bounds[0].text is None
    assert "were not put in order in time" in bounds[0].why
    assert found.coverage.epoch_at(now - 60) is None
    assert any("should have been put in order" in each for each in said(covered))


def test_put_in_order_too_late(covered: World) -> None:
    """Number 4: a walk that ends after versions may have expired records an outage, and the next
    backfill begins a new epoch."""
    days(covered, 6)
    covered.walking = True
    days(covered, 2)
    assert [outage.reason for outage in covered.meta.outages()] == [TOO_LATE]
    assert covered.status_of().coverage.epoch_at(int(covered.model.now) - 60) is None
    covered.backfill(1).finish()
    covered.wait(60, brink=True)
    now = int(covered.model.now) - 15
    assert covered.status_of().coverage.epoch_at(now)
    first, last = latest(covered)
    assert first <= now <= last


def test_a_walk_goes_on_where_it_stopped(covered: World) -> None:
    """A walk that stops after every item looks at each of them once, in as many parts as there are
    items, and ends."""
    first = key_hash(KEYS[0])[0]
    rows = ({"pk": {"S": f"row {number}"}, "sk": {"N": "1"}} for number in count())
    for key in islice((row for row in rows if key_hash(row)[0] == first), 3):
        stamp = Stamp(int(covered.model.now), 1, int(covered.model.now), "insert")
        covered.archive.put(Change(key, stamp, encode(key)))
    covered.wait(DAY + HOUR, brink=True)
    looked: list[str] = []

    class Counted(Walker):
        def _look(self, history: History) -> None:
            looked.append(history.name)
            super()._look(history)

    for _ in range(100):
        found, left = covered.status_of(), [False]
        walk = next_walk(found)
        if walk is None:
            break
        Counted(
            covered.archive,
            found,
            lambda: covered.model.now,
            lambda left=left: not left or left.pop(),  # type: ignore[misc]
            covered.kept,
        ).go_on(walk)
    assert sorted(looked) == sorted(history.name for history in covered.archive.histories())
    assert covered.meta.walks()["ended"].reordered == 2
    assert len(covered.meta.passes()) == 1


def walked(world: World, since: int | None = None) -> Walk:
    """A walk through every item now, that puts in order what was covered since then."""
    clock, found = (lambda: world.model.now), world.status_of()
    walk = Walk(began=found.now, since=found.now if since is None else since)
    return Walker(world.archive, found, clock, lambda: False, world.kept).go_on(walk)


def said(world: World) -> list[str]:
    found = world.status_of()
    coverage = found.coverage
    return problems(found.walks.values(), coverage.disorders, coverage.kept, found.now)


# ------------------------------------------------------------
# what disorders there are

T = 1_795_231_959
PLAIN = Stream("A", "arn", "1", T, empty=False, reader="function", recorded=T)
EPOCH = Epoch("A", T, T + 500, None)
FIRST = Run("r", "A", T, T + 100, T + 500, True, {})
BASE = (T - 10, T + LATE + 5)


def causes(
    stream: Stream = PLAIN,
    epoch: Epoch = EPOCH,
    runs: Sequence[Run] = (FIRST,),
    redrives: Sequence[RedriveRecord] = (),
    announced: Mapping[int, int] | None = None,
) -> list[tuple[int, int]]:
    found = disorders([epoch], [stream], runs, redrives, announced or {}, [])
    return [(each.since, each.last) for each in found]


REDRIVE = RedriveRecord("x", T + 9000, 1, 1, 0, began=T + 8000)
BACKFILL = (T + 90, T + 500 + 120)


def test_what_may_cover_a_newer_version() -> None:
    """Records from before the floor for a day, whatever is announced to be as old, backfills, and
    redrives. In an archive that was empty, only redrives."""
    assert causes() == [BASE, BACKFILL]
    assert causes(redrives=[REDRIVE]) == [(T + 7990, T + 9120), BASE, BACKFILL]
    empty = replace(PLAIN, empty=True)
    assert causes(empty) == []
    assert causes(empty, redrives=[REDRIVE]) == [(T + 7990, T + 9120)]
    saved = [replace(FIRST, stream="")]
    assert causes(empty, runs=saved) == [BASE]
    healed = EPOCH._replace(floor=T + 50)
    assert causes(empty, healed) == [(T + 40, T + 50 + LATE + 5), BACKFILL]
    ended = EPOCH._replace(end=T + 7000)
    assert causes(empty, ended, redrives=[REDRIVE]) == []
    assert causes(empty, redrives=[replace(REDRIVE, began=0)]) == []


@pytest.mark.parametrize(
    ("hour", "seconds", "counts"),
    [
        (100, 512, False),
        (100, 131072, False),
        (100, 524288, True),
        (-3, 512, False),
        (-1, 512, False),
        (0, 512, True),
    ],
)
def test_what_is_announced_may_be_older_than_the_floor(
    hour: int, seconds: int, counts: bool
) -> None:
    """An hour in which versions from before the floor may have been written after it is a
    disorder."""
    begin = (T // HOUR + hour) * HOUR
    found = causes(announced={begin: seconds})
    expected = [(max(begin - 5, T) - 10, begin + HOUR + 5)] if counts else []
    assert found == [BASE, *expected, BACKFILL]


def test_a_pass_ends_the_disorders_before_it() -> None:
    """A pass counts if it began after the disorder and looked far enough back; the first of them
    counts. One that began earlier is repeated."""

    def until(*passes: Ordered) -> list[int | None]:
        return [each.until for each in disorders([EPOCH], [PLAIN], [FIRST], [], {}, passes)]

    over = T + LATE + 6
    good = Ordered(T - 10, over, over + 50)
    assert until() == [None, None]
    assert until(good) == [over + 50, over + 50]
    assert until(replace(good, began=over - 1)) == [None, over + 50]
    assert until(replace(good, since=T - 9)) == [None, over + 50]
    assert until(good, replace(good, ended=over + 99)) == [over + 50, over + 50]
    (base, _) = disorders([EPOCH], [PLAIN], [FIRST], [], {}, [])
    assert not base.is_due(over - 1)
    assert base.is_due(over)


def test_coverage_counts_from_the_end_of_the_pass() -> None:
    """While the bucket still has what was covered, the epoch begins with its backfill; after that,
    with the end of the pass."""
    over = T + LATE + 6
    found = disorders([EPOCH], [PLAIN], [FIRST], [], {}, [Ordered(T - 10, over, over + 50)])
    coverage = Coverage((EPOCH,), Bound(T + 9 * DAY, ""), disorders=tuple(found))
    assert coverage.start_of(EPOCH).moment == EPOCH.start
    assert replace(coverage, kept=Bound(T - 10, "")).start_of(EPOCH).moment == EPOCH.start
    assert replace(coverage, kept=Bound(T - 9, "")).start_of(EPOCH).moment == over + 50 + 11
    assert replace(coverage, kept=Bound(over + 70, "")).start_of(EPOCH).moment == over + 70


def test_an_interrupted_redrive_is_put_in_order() -> None:
    """Number 4: a redrive that is killed after it has written an old change on top of a newer one,
    and that nobody repeats, loses nothing: it is on record, and the watcher puts the newer one on
    top again."""
    world = World(8, retention=3)
    running[:] = [world]
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(60)
    world.model.write(KEYS[0], VALUES[0])
    world.give_up(world.known()[0], 0, 9)
    world.give_up(world.known()[0], 1, 9)
    world.model.tick(600)
    world.model.write(KEYS[0], VALUES[1])
    world.quiet()
    process = world.redrive()
    while len(world.archive.history(KEYS[0]).versions) < 2:
        process.step()
    process.kill()
    world.healthy = True
    assert [each.batches for each in world.meta.redrives()] == [0]
    days(world, 2)
    assert len(world.meta.passes()) == 1
    name = key_hash(KEYS[0])
    newest = max(stamp.rank for stamp in laws.stamps(world.archive)[name])
    current = world.archive.current_stamp(name)
    assert current
    assert current.rank == newest
    days(world, 3)
    assert world.expired
    world.redrive().finish()
    now = int(world.model.now)
    assert laws.rebuilt(world.archive, now, world.known()[0].floor) == world.model.at(now)
    latest(world)


# ------------------------------------------------------------
# what others do to an archive


@pytest.fixture
def quiet() -> World:
    """A table with four rows and a removed one, in its first epoch, and with retention."""
    world = World(5, retention=3)
    running[:] = [world]
    world.enable("function").finish()
    for key in KEYS:
        world.model.write(key, VALUES[0])
    world.quiet()
    world.backfill(1).finish()
    world.healthy = True
    world.wait(60, brink=True)
    world.model.write(KEYS[2], None)
    world.model.write(KEYS[3], None)  # a tombstone with a body
    world.quiet()
    return world


def delete(world: World, *, records: bool = False) -> None:
    """What `aws s3 rm --recursive` does to the items, or to everything."""
    for path in list(world.store.objects):
        if records or "/meta/" not in path:
            world.store.delete(path)


def test_rows_under_delete_markers_are_reported(quiet: World) -> None:
    """The watcher reports delete markers on rows, not those on tombstones, and leaves them. With
    retention, no moment after them is claimed once the rows expire, until a backfill has saved them
    again."""
    days(quiet, 1)
    assert said(quiet) == []
    delete(quiet)
    removed = int(quiet.model.now)
    days(quiet, 2)
    walk = quiet.meta.walks()["ended"]
    assert (walk.hidden, walk.hidden_since) == (2, removed)
    assert sorted(walk.examples) == sorted(key_hash(key) for key in KEYS[:2])
    assert any("have a delete marker on top" in each for each in said(quiet))
    assert latest(quiet)[1] >= int(quiet.model.now) - 60  # nothing has expired yet
    days(quiet, 4)
    assert quiet.expired
    found = quiet.status_of()
    assert [outage.reason for outage in quiet.meta.outages()] == [DELETED]
    assert found.coverage.epoch_at(int(quiet.model.now) - 60) is None
    laws.law_5(quiet, found)
    quiet.backfill(1).finish()
    quiet.wait(60, brink=True)
    assert quiet.status_of().coverage.epoch_at(int(quiet.model.now) - 15)
    latest(quiet)


def test_rows_under_delete_markers_are_not_in_order(covered: World) -> None:
    """While a row that may have been covered is under a delete marker, nothing counts as put in
    order: the marker may be removed again."""
    covered.walking = True
    removed = covered.archive.root + key_hash(KEYS[0])
    covered.store.delete(removed)
    days(covered, 2)
    assert covered.meta.walks()["ended"].hidden == 1
    assert covered.meta.passes() == []
    covered.store.objects[removed].pop()
    days(covered, 1)
    assert covered.meta.passes()
    days(covered, 4)
    latest(covered)


def test_a_row_under_an_expired_tombstone_is_put_in_order() -> None:
    """A late removal of the earlier life lies on top of a row, and a rule for tombstones has put a
    delete marker on it: the row is put on top again. A removal that is the newest stays as it
    is."""
    world = World(9, retention=4, tombstones=1)
    running[:] = [world]
    world.walking = False
    for key in KEYS[:2]:
        world.model.write(key, VALUES[0])
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(60)
    for key in KEYS[:2]:
        world.model.write(key, None)
    world.model.switch_off()
    world.model.write(KEYS[0], VALUES[1])
    world.model.tick(60)
    world.enable("function").finish()
    world.backfill(1).finish()
    world.wait(20, brink=False)
    world.quiet()
    world.healthy = True
    days(world, 2)
    for key in KEYS[:2]:
        stored = world.store.objects[world.archive.root + key_hash(key)]
        assert stored[-1].deleted
    walk = walked(world, since=world.known()[-1].floor - 10)
    assert walk.reordered == 1
    current = world.archive.current_stamp(key_hash(KEYS[0]))
    assert current
    assert current.kind == "scan"
    assert world.archive.current_stamp(key_hash(KEYS[1])) is None
    assert said(world) == []
    assert walked(world).hidden_since == 0
    days(world, 3)
    assert world.expired
    latest(world)


@pytest.mark.parametrize("records", [False, True])
def test_a_backfill_saves_rows_under_delete_markers(quiet: World, records: bool) -> None:
    """A backfill before they expire writes rows and records again. Every moment since then stays
    exact, and the report ends."""
    delete(quiet, records=records)
    days(quiet, 2)
    assert said(quiet)
    quiet.backfill(1).finish()
    saved = int(quiet.model.now)
    days(quiet, 1)
    assert said(quiet) == []
    days(quiet, 3)
    first, last = latest(quiet)
    assert saved - 60 < first < last


def test_what_contradicts_its_bound_is_announced(quiet: World) -> None:
    """A version that was written later than its writer announced is reported, and announced, so
    that readers do not pass it over. One without the mark is reported."""
    abandoned = next(iter(quiet.archive.history(KEYS[0]).versions))
    loaded = quiet.archive.load(abandoned)
    quiet.model.tick(2 * HOUR)
    quiet.store.put(abandoned.path, loaded.payload, loaded.metadata)  # nobody announced it
    plain = {name: value for name, value in loaded.metadata.items() if name != "announced"}
    other = next(iter(quiet.archive.history(KEYS[1]).versions))
    quiet.store.put(other.path, quiet.archive.load(other).payload, plain)
    quiet.model.tick(60)
    walk = walked(quiet)
    assert (walk.late, walk.unannounced) == (1, 1)
    lateness = quiet.status_of().lateness.of_stream(announces=True)
    newest = next(iter(quiet.archive.history(KEYS[0]).versions))
    assert not lateness.contradicts(newest, loaded.stamp.at)
    assert any("does not announce" in each for each in said(quiet))


# ------------------------------------------------------------
# any history


@histories(300)
@given(
    seed=st.integers(0, 10**9),
    skew=st.sampled_from([(0, 0), (0, 0), (2, -2), (-2, 2), (0, 2)]),
    retention=st.sampled_from([3, 3, 4, 6]),
    tombstones=st.sampled_from([None, 1, 2]),
    lives=st.integers(1, 5),
)
def test_expiry_changes_no_exact_restore(
    seed: int,
    skew: tuple[int, int],
    retention: int,
    tombstones: int | None,
    lives: int,
) -> None:
    """Laws 5, 11 and 12: while lifecycle rules remove superseded versions and tombstones, every
    moment that is claimed is exact: across epochs, with late records of earlier streams, readers
    and watchers that die, redrives after tombstones expired, and backfills that heal."""
    world = World(seed, *skew, retention=retention, tombstones=tombstones)
    running[:] = [world]
    random = Random(seed)
    for each in changes(random, 6):
        act(world, *each)
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(8)
    for _ in range(lives):
        for each in life(random):
            act(world, *each)
    moments = settle(world)
    epochs = len(world.status_of().coverage.epochs)
    passes = len(world.meta.passes())
    event(f"expired {bool(world.expired)}, epochs {min(epochs, 4)}, passes {min(passes, 3)}")
    event(f"moments {bool(moments)}, outages {min(len(world.meta.outages()), 2)}")
