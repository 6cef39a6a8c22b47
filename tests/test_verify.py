"""`verify` says of each row whether the archive has it: exactly what is wrong, and nothing that is merely under way."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import verify.look
from backfill.capacity import Capacity
from restore.order import GRACE, Order
from stream_backup.archive import Archive, History
from stream_backup.change import Change
from stream_backup.item import Item, digest, encode
from stream_backup.key import key_hash
from stream_backup.memory import MemoryStore
from stream_backup.store import Version
from stream_backup.timeline import FOREVER, LATE
from tests import laws
from tests.model import DAY, NAME, SCHEMA, VALUES
from tests.process import Inline, Process, Stop, pause
from tests.profiles import histories
from tests.world import World, patched
from verify.compare import Pair, Patience, Row, Suspect, depth, listed_equal, paired, weigh
from verify.look import Looks
from verify.rows import Rows, Spool
from verify.scan import Scan
from verify.tally import LISTED, WRONG, Tally

# ---------------------------------------------------------------------------------------------------------- the weighing

NOW = 1_795_231_959
A, B, C = (digest(text) for text in (b"a", b"b", b"c"))


def version(etag: str, written: int, size: int = 9) -> Version:
    return Version("T/x", f"{etag}-{written}", written, size, etag)


def history(*newest_first: Version) -> History:
    return History("x", newest_first)


def gone(written: int) -> Version:
    return version(digest(b""), written, 0)


@pytest.mark.parametrize(
    ("live", "versions", "equal"),
    [
        (A, [version(A, NOW)], True),
        (A, [version(B, NOW)], False),
        (A, [version(A, NOW), version(B, NOW - 1), version(C, NOW - 2)], True),
        (A, [version(B, NOW), version(A, NOW - 1)], False),
        (A, [gone(NOW), version(A, NOW - 1)], False),
        ("", [gone(NOW), version(A, NOW - 1)], True),
        ("", [version(A, NOW), gone(NOW - 1)], False),
        (A, [version(A, NOW), version(A, NOW - 1), version(B, NOW - 2)], True),  # written twice, one after the other
        (A, [version(A, NOW), version(B, NOW - 1), version(A, NOW - 2)], False),  # came back, or was written again
        (A, [version(A, NOW), version(B, NOW - DAY), version(A, NOW - DAY)], False),
        (A, [version(A, NOW), version(B, NOW - LATE - 20), version(A, NOW - LATE - 30)], True),  # too long ago
        ("", [gone(NOW), version(A, NOW - 1), gone(NOW - 2)], False),
        (A, [version(A, NOW - 200)], False),  # all of it is of an older life
        ("", [version(A, NOW - 200)], True),
        ("", [], False),
    ],
)
def test_what_a_listing_tells(live: str, versions: list[Version], equal: bool) -> None:
    """The version written last decides, unless it may be an older one that was written again."""
    pair = Pair("x", Row("x", live, "{}") if live else None, history(*versions) if versions else None)
    assert listed_equal(pair, NOW - 100) is equal


def test_lateness_widens_what_may_have_come_back() -> None:
    """What a redrive may have written late can come between versions that are days apart."""
    pair = Pair("x", Row("x", A, "{}"), history(version(A, NOW), version(B, NOW - 3 * DAY), version(A, NOW - 4 * DAY)))
    assert listed_equal(pair, 0)
    assert not listed_equal(pair, 0, lateness=3 * DAY)


SUSPECT = Suspect("x", "{}", (A,), "1", 100.0)
PATIENCE = Patience(10.0, 130.0)


@pytest.mark.parametrize(
    ("live", "archived", "newest", "now", "expected"),
    [
        (B, B, "2", 101.0, "equal"),
        (B, A, "1", 101.0, "equal"),  # the archive had what the row was at the last look: it follows
        (None, None, "2", 101.0, "gone"),
        (A, B, "1", 109.0, SUSPECT),
        (A, B, "1", 110.0, "differs"),
        (A, None, "1", 110.0, "missing"),
        (A, B, "2", 110.0, Suspect("x", "{}", (A,), "2", 110.0)),
        (B, C, "1", 110.0, Suspect("x", "{}", (A, B), "1", 110.0)),
        (None, C, "1", 110.0, Suspect("x", "{}", (A, None), "1", 110.0)),
        (B, C, "1", 130.0, "busy"),
        (A, C, "2", 130.0, "busy"),
        (A, C, "1", 130.0, "differs"),
    ],
)
def test_how_looks_are_weighed(live: str | None, archived: str | None, newest: str, now: float, expected: object) -> None:
    """A difference is one when nothing moved on either side for long enough; what moves to the end is not judged."""
    assert weigh(SUSPECT, live, archived, newest, now, PATIENCE) == expected


def test_a_row_that_stays_away_is_extra() -> None:
    """What the archive has and the table has not, twice in a row."""
    assert weigh(Suspect("x", "{}", (None,), "1", 100.0), None, A, "1", 110.0, PATIENCE) == "extra"


names = st.lists(st.integers(0, 30).map(lambda number: f"{number:032x}"), unique=True).map(sorted)


@given(left=names, right=names)
def test_rows_and_histories_are_paired(left: list[str], right: list[str]) -> None:
    """Every name of either side comes once, in order, with what each side has of it."""
    found = list(paired((Row(name, A, "") for name in left), (History(name, ()) for name in right)))
    assert [pair.name for pair in found] == sorted({*left, *right})
    assert [pair.row.name for pair in found if pair.row] == left
    assert [pair.history.name for pair in found if pair.history] == right


@given(rows=st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.sampled_from([A, B]), st.text(max_size=4))))
def test_rows_come_back_sorted(rows: list[tuple[bytes, str, str]]) -> None:
    """What is put on disk comes back whole, shard by shard in order of name."""
    given_ = [Row(name.hex(), content, key) for name, content, key in rows]
    kept = Rows()
    kept.add(given_[::2])
    kept.add(given_[1::2])
    found = [row for shard in "0123456789abcdef" for row in kept.of(shard)]
    kept.close()
    assert [row.name for row in found] == sorted(row.name for row in given_)
    assert sorted(found) == sorted(given_)
    assert kept.count == len(rows)


def test_suspects_come_back_from_disk() -> None:
    """As they were, None and all."""
    suspects = [SUSPECT, Suspect("y", '{"id":{"S":"é"}}', (None, A, None), "", 0.5)]
    spool = Spool(suspects)
    assert spool.count == 2
    assert list(spool) == list(spool) == suspects
    spool.close()


@pytest.mark.parametrize(("items", "digits"), [(0, 1), (16_000, 1), (16_001, 2), (10**6, 3), (10**9, 5)])
def test_histories_are_listed_again_by_the_page(items: int, digits: int) -> None:
    """However many rows are looked at again, a table is listed again at the most once, by prefixes of about a page each."""
    assert depth(items) == digits


def test_examples_are_few_and_counts_are_whole() -> None:
    """Of each kind the first keys are named, and all are counted."""
    tally = Tally()
    for number in range(LISTED + 5):
        for kind in ("equal", "differs", "busy"):
            tally.found(kind, str(number))
    assert tally.counts == {"equal": 25, "differs": 25, "busy": 25}
    assert [example.kind for example in tally.examples] == ["differs", "busy"] * LISTED
    assert tally.wrong == 25


# --------------------------------------------------------------------------------------------------- in a hostile world

LAG = 5
"""Seconds after which the function of these worlds has written a change at the latest."""

running: list[World] = []


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    def sleep(seconds: float) -> None:
        for _ in range(int(seconds)):
            running[-1].model.tick(1)
            pause()

    clock = SimpleNamespace(monotonic=lambda: running[-1].model.now, sleep=sleep)
    with patched(lambda: running[-1]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify.look, "time", clock)
        yield


class Opaque(MemoryStore):
    """A listing as SSE-KMS shows it: an ETag is no MD5 of the content, and the same content has another each time."""

    def versions(self, prefix: str) -> Iterator[Version]:
        for found in super().versions(prefix):
            yield found._replace(etag=digest(found.version_id.encode()))


def key(number: int) -> Item:
    return {"pk": {"S": f"item {number}"}, "sk": {"N": str(number)}}


@dataclass
class Verified:
    """What one verification said, by the name of the item."""

    tally: Tally
    requests: dict[str, int]

    @property
    def kinds(self) -> dict[str, str]:
        return {key_hash(json.loads(example.key)): example.kind for example in self.tally.examples}


def verified(world: World, *, opaque: bool = False) -> Verified:
    """The whole of `verify` over this world. `opaque`: ETags are no MD5."""
    store = Opaque(world.store.s3_now) if opaque else MemoryStore(world.store.s3_now)
    store.objects = world.store.objects
    archive, tally, rows = Archive(store, "backups/", NAME, SCHEMA), Tally(), Rows()
    try:
        Scan(world.dynamodb, NAME, SCHEMA, 2, Capacity(None), Stop(), lambda _: None).into(rows)
        found = world.survey()
        floor = Order(NAME, found.now, None, None, found).floor_now
        looks = Looks(world.dynamodb, archive, Inline(world.random), Capacity(None), Stop(), tally, floor, found.lateness)
        looks.settle(looks.compare(rows, lambda _: None), rows.count, GRACE, lambda: None)
    finally:
        rows.close()
    return Verified(tally, dict(store.requests))


def truth(world: World) -> dict[str, str]:
    """What is wrong, by what the table is and what every stamp of the archive says: the definition."""
    epochs = world.survey().coverage.epochs
    floor = epochs[-1].floor if epochs and epochs[-1].end is None else -(2**62)
    archived = {name: digest(body) for name, body in laws.rebuilt(world.archive, FOREVER, floor).items()}
    live = {name: digest(encode(row)) for name, row in (world.model.rows or {}).items()}
    wrong = {}
    for name in {*archived, *live}:
        if archived.get(name) != live.get(name):
            wrong[name] = "extra" if name not in live else "missing" if name not in archived else "differs"
    return wrong


def begun(seed: int, rows: list[tuple[int, int]], *, covered: bool = True) -> World:
    """A world whose rows were there before the stream, which a function reads, and a backfill."""
    world = World(seed)
    running[:] = [world]
    for number, value in rows:
        write(world, number, value)
    world.enable("function").finish()
    if covered:
        world.backfill(2).finish()
        world.model.tick(8)
    return world


def write(world: World, number: int, value: int) -> None:
    """Puts the item, or removes it where the value is below zero."""
    world.model.write(key(number), None if value < 0 else VALUES[value])


def lose(world: World, number: int, value: int) -> None:
    """A change that never arrives, however often the stream is read."""
    before = [len(shard) for shard in world.model.streams[-1].shards]
    write(world, number, value)
    for shard, length in zip(world.model.streams[-1].shards, before, strict=True):
        del shard[length:]


def repeat(world: World, which: int) -> None:
    """One change of the past arrives again, and none that came after it."""
    records = [record for shard in world.model.streams[-1].shards for record in shard]
    if records:
        world.archive.put(Change.streamed(records[which % len(records)].event))


def deliver(world: World, older: float = 0.0) -> None:
    """The function writes what is older than that."""
    (stream,) = world.known()
    for shard, records in enumerate(world.life(stream.label).shards):
        start = world.positions.get((stream.label, shard), 0)
        size = sum(record.at <= world.model.now - older for record in records[start:])
        if size:
            world.deliver(stream, shard, size).finish()


numbers = st.integers(0, 6)
values = st.integers(-2, len(VALUES) - 1)
changes = st.tuples(numbers, values)


@histories(400)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(changes, max_size=6),
    past=st.lists(st.tuples(numbers, values, st.sampled_from([0.0, 0.4, 7.0, DAY / 3])), max_size=12),
    lost=st.lists(changes, max_size=3),
    repeated=st.lists(st.integers(0, 20), max_size=2),
    meanwhile=st.lists(st.tuples(numbers, values, st.integers(0, 12), st.sampled_from([0.0, 0.0, 0.4, 3.0])), max_size=12),
    back=st.integers(0, 3),
    opaque=st.booleans(),
)
def test_exactly_what_is_wrong(
    seed: int,
    rows: list[tuple[int, int]],
    past: list[tuple[int, int, float]],
    lost: list[tuple[int, int]],
    repeated: list[int],
    meanwhile: list[tuple[int, int, int, float]],
    back: int,
    opaque: bool,
) -> None:
    """Of rows that nobody touches meanwhile `verify` reports exactly those whose content differs from the archive's answer,
    each as what it is; of the others none that was right, whatever is written and delivered late while it looks."""
    world = begun(seed, rows)
    for number, value, after in past:
        world.model.tick(after)
        write(world, number, value)
        deliver(world, 3)
    deliver(world)
    for number, value in lost:
        lose(world, number, value)
    for which in repeated:
        repeat(world, which)
    world.model.tick(1)
    wrong, touched = truth(world), {key_hash(key(number)) for number, *_ in meanwhile}
    right = {name for name in world.model.rows or {} if name not in wrong and name not in touched}
    process, said = watched(world, opaque=opaque)
    (stream,) = world.known()
    for number, value, steps, after in meanwhile:
        process.step(steps)
        world.model.tick(after)
        write(world, number, value)
        deliver(world, LAG)
    for shard in (0, 1):
        world.again(stream, shard, back)
    while process.alive:
        process.step()
        deliver(world, LAG)
    if process.error:
        raise process.error
    (found,) = said
    reported = {name: kind for name, kind in found.kinds.items() if kind in WRONG}
    assert {name: kind for name, kind in reported.items() if name not in touched} == {
        name: kind for name, kind in wrong.items() if name not in touched
    }
    assert {*reported} <= {*wrong}
    assert {*found.kinds} <= {*wrong, *touched}
    assert found.tally.counts["equal"] >= len(right)
    assert found.tally.wrong == len(reported)
    assert not found.tally.counts["unreadable"]
    event(f"wrong: {len(wrong)}, busy: {found.tally.counts['busy']}")


def watched(world: World, *, opaque: bool = False) -> tuple[Process, list[Verified]]:
    """A verification that goes on as it is told to, and what it says in the end."""
    said: list[Verified] = []
    return world.start("verify", lambda: verified(world, opaque=opaque), said.append), said


@histories(200)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(changes, max_size=6),
    past=st.lists(changes, max_size=12, unique_by=lambda change: change),
)
def test_an_unchanged_table_costs_no_request_of_its_own(
    seed: int, rows: list[tuple[int, int]], past: list[tuple[int, int]]
) -> None:
    """Where no item went back to what it was before within a day, nothing but the listing is read."""
    world = begun(seed, rows)
    for number, value in past:
        world.model.tick(DAY + 3600)
        write(world, number, value)
        deliver(world)
    found = verified(world)
    assert found.tally.counts["equal"] == len(world.model.rows or {})
    assert found.tally.wrong == found.tally.counts["busy"] == 0
    assert set(found.requests) == {"list"}


def test_an_item_that_came_back_costs_one_request() -> None:
    """What was A, then B, and is A again within a day is read, for the last A may be the first one written again."""
    world = begun(1, [(0, 0), (1, 1)])
    for value in (1, 0):
        world.model.tick(60)
        write(world, 0, value)
        deliver(world)
    found = verified(world)
    assert (found.tally.counts["equal"], found.requests.get("get"), found.requests.get("head")) == (2, 1, None)


def test_a_part_of_the_stream_read_again_hides_no_loss() -> None:
    """A, then B, then A again, the last of which is lost: when the first A is written once more on top, the listing looks as
    if all were well, and a restore would give B."""
    world = begun(1, [])
    for value in (0, 1):
        write(world, 0, value)
        world.model.tick(60)
    deliver(world)
    lose(world, 0, 0)
    repeat(world, 0)
    assert truth(world) == {key_hash(key(0)): "differs"}
    assert verified(world).kinds == {key_hash(key(0)): "differs"}


@pytest.mark.parametrize("opaque", [False, True])
def test_each_kind_of_wrong(opaque: bool) -> None:
    """A lost change, a lost insert and a lost removal, whatever ETags are."""
    world = begun(1, [(0, 0), (1, 0), (2, 0)])
    lose(world, 0, 1)
    lose(world, 3, 1)
    lose(world, 1, -1)
    found = verified(world, opaque=opaque)
    assert found.kinds == {key_hash(key(0)): "differs", key_hash(key(3)): "missing", key_hash(key(1)): "extra"}
    assert found.tally.counts["equal"] == 1
    assert found.tally.versions == 3


def test_opaque_etags_cost_a_get_each() -> None:
    """Where ETags are no MD5 each row is read once, and not looked at again; of removed ones the listing still tells."""
    world = begun(1, [(number, 0) for number in range(5)])
    world.model.tick(DAY * 2)
    write(world, 4, -1)
    deliver(world)
    found = verified(world, opaque=True)
    assert found.tally.counts["equal"] == found.requests["get"] == 4
    assert found.tally.wrong == 0


def test_an_older_life_is_not_the_present() -> None:
    """Rows of a table that was dropped are not extra, and no row of the new one is right because the old one had the same."""
    world = begun(1, [(0, 0), (1, 1), (2, 2)])
    world.model.tick(3 * DAY)
    world.model.drop()
    world.model.tick(60)
    world.model.create()
    world.enable("function").finish()
    write(world, 0, 0)
    world.backfill(1).finish()
    world.model.tick(60)
    assert verified(world).tally.counts["equal"] == 1
    assert verified(world).tally.wrong == 0
    lose(world, 1, 1)
    assert verified(world).kinds == {key_hash(key(1)): "missing"}


def test_without_a_backfill_rows_are_missing() -> None:
    """Before the first backfill the archive has what changed since, and no more."""
    world = begun(1, [(0, 0), (1, 1)], covered=False)
    write(world, 2, 2)
    deliver(world)
    assert verified(world).kinds == {key_hash(key(0)): "missing", key_hash(key(1)): "missing"}


def test_a_row_that_is_always_changing_is_busy() -> None:
    """Its archive is a second behind and never what was seen of it; another row is judged meanwhile."""
    world = begun(1, [(0, 0), (1, 1)])
    lose(world, 1, 2)
    process, said = watched(world)
    ticks = 0
    while process.alive:
        process.step()
        ticks += 1
        world.model.write(key(0), {"count": {"N": str(ticks)}})
        world.archive.put(Change.streamed(world.model.streams[-1].shards[int(key_hash(key(0)), 16) % 2][-1].event))
        world.model.write(key(0), {"count": {"N": f"-{ticks}"}})
    assert said[0].kinds == {key_hash(key(0)): "busy", key_hash(key(1)): "differs"}


def test_a_version_nobody_here_wrote_is_unreadable() -> None:
    """Not busy, not different: the archive cannot say what the item is; and a delete marker changes nothing."""
    world = begun(1, [(0, 0), (1, 1)])
    world.store.objects[f"backups/{NAME}/{key_hash(key(0))}"].clear()
    MemoryStore.put(world.store, f"backups/{NAME}/{key_hash(key(0))}", b"{}", {})
    world.store.delete(f"backups/{NAME}/{key_hash(key(1))}")
    found = verified(world)
    (example,) = found.tally.examples
    assert (example.kind, key_hash(json.loads(example.key))) == ("unreadable", key_hash(key(0)))
    assert "not a version this format wrote" in example.reason
    assert found.tally.counts["equal"] == 1
