"""`verify` reports for each row whether the archive matches it: exactly what is wrong, and nothing
that is only on its way to the archive."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import stream_backup.verify.looks
import stream_backup.verify.rounds
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.moment import iso
from stream_backup.core.records import Run, Stream
from stream_backup.core.slice import cut_scan
from stream_backup.core.stamp import MARK, Stamp
from stream_backup.core.time_rule import FOREVER, LATE, NORMAL, SKEW, Lateness
from stream_backup.core.version import Version
from stream_backup.core.witness import GRACE
from stream_backup.verify.compare import (
    Pair,
    Patience,
    Row,
    Suspect,
    depth,
    listed_equal,
    may_be_older,
    paired,
    weigh,
)
from stream_backup.verify.findings import LISTED, WRONG, Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rounds import Rounds
from stream_backup.verify.rows import Rows, SuspectSpool
from stream_backup.verify.shares import scan_slices
from tests import laws
from tests.cli import (
    COMPOSITE,
    SIMPLE,
    Answer,
    Between,
    Request,
    Said,
    Shell,
    Table,
    archive_server,
    proxy,
)
from tests.fake_dynamodb import FakeDynamoDB
from tests.model import DAY, NAME, SCHEMA, VALUES
from tests.process import Inline, Process, Stop, pause
from tests.profiles import histories
from tests.servers import Aws
from tests.world import World, patched

# ------------------------------------------------------------
# comparing one row

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
        (
            A,
            [version(A, NOW), version(A, NOW - 1), version(B, NOW - 2)],
            True,
        ),  # written twice in a row
        (
            A,
            [version(A, NOW), version(B, NOW - 1), version(A, NOW - 2)],
            False,
        ),  # came back, or was written again
        (A, [version(A, NOW), version(B, NOW - DAY), version(A, NOW - DAY)], False),
        (
            A,
            [version(A, NOW), version(B, NOW - LATE - 20), version(A, NOW - LATE - 30)],
            True,
        ),  # too long ago
        ("", [gone(NOW), version(A, NOW - 1), gone(NOW - 2)], False),
        (A, [version(A, NOW - 200)], False),  # all of it belongs to an earlier table
        ("", [version(A, NOW - 200)], True),
        ("", [], False),
    ],
)
def test_what_a_listing_tells(live: str, versions: list[Version], equal: bool) -> None:
    """The version written last decides, unless it may be an older version that was written
    again."""
    pair = Pair(
        "x", Row("x", live, "{}") if live else None, history(*versions) if versions else None
    )
    assert listed_equal(pair, NOW - 100) is equal


NARROW = Lateness(announces=True)


@pytest.mark.parametrize(
    ("live", "versions", "older", "unsure"),
    [
        (A, [version(A, NOW)], NARROW, True),
        (A, [version(A, NOW)], None, False),  # there is no older life
        (A, [version(A, NOW + NORMAL + SKEW)], NARROW, False),  # it would have been announced
        (A, [version(A, NOW + NORMAL + SKEW)], Lateness(), True),
        (A, [version(A, NOW + LATE + SKEW)], Lateness(), False),
        (A, [version(A, NOW - SKEW - 2)], NARROW, False),  # certainly of an older life
        ("", [gone(NOW)], NARROW, False),
        ("", [gone(NOW), version(A, NOW - 1)], NARROW, True),
        ("", [], NARROW, False),
    ],
)
def test_what_may_be_of_an_older_life(
    live: str, versions: list[Version], older: Lateness | None, unsure: bool
) -> None:
    """What was written last may be of an older life from the floor on, for as long as a change may
    have been late, unless the item exists in neither life."""
    row = Row("x", live, "{}") if live else None
    pair = Pair("x", row, history(*versions) if versions else None)
    assert may_be_older(pair, NOW, older) is unsure


def test_lateness_widens_what_may_have_come_back() -> None:
    """Lateness extends the period within which an older version may have been written again."""
    pair = Pair(
        "x",
        Row("x", A, "{}"),
        history(version(A, NOW), version(B, NOW - 3 * DAY), version(A, NOW - 4 * DAY)),
    )
    assert listed_equal(pair, 0)
    assert not listed_equal(pair, 0, Lateness(redriven=3 * DAY))


SUSPECT = Suspect("x", "{}", (A,), "1", 100.0)
PATIENCE = Patience(10.0, 130.0)


@pytest.mark.parametrize(
    ("live", "archived", "newest", "now", "expected"),
    [
        (B, B, "2", 101.0, "equal"),
        (
            B,
            A,
            "1",
            101.0,
            "equal",
        ),  # the archive has what the row was at the last look: it is catching up
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
def test_how_looks_are_weighed(
    live: str | None, archived: str | None, newest: str, now: float, expected: object
) -> None:
    """A row differs only if neither side has changed for long enough. A row that keeps changing
    until the end is not judged."""
    assert weigh(SUSPECT, live, archived, newest, now, PATIENCE) == expected


def test_where_nobody_reads_nothing_is_waited_for() -> None:
    """If nobody reads the stream, the second look decides without waiting, unless the row has
    changed since the first."""
    hasty = Patience(0.0, 120.0)
    assert weigh(SUSPECT, A, B, "1", 101.0, hasty) == "differs"
    assert weigh(SUSPECT, C, B, "1", 101.0, hasty) == Suspect("x", "{}", (A, C), "1", 101.0)


def test_a_row_that_stays_away_is_extra() -> None:
    """An item that two looks in a row find in the archive but not in the table is extra."""
    assert weigh(Suspect("x", "{}", (None,), "1", 100.0), None, A, "1", 110.0, PATIENCE) == "extra"


names = st.lists(st.integers(0, 30).map(lambda number: f"{number:032x}"), unique=True).map(sorted)


@given(left=names, right=names)
def test_rows_and_histories_are_paired(left: list[str], right: list[str]) -> None:
    """Every name of either side is returned once, in order, with what each side has under it."""
    found = list(paired((Row(name, A, "") for name in left), (History(name, ()) for name in right)))
    assert [pair.name for pair in found] == sorted({*left, *right})
    assert [pair.row.name for pair in found if pair.row] == left
    assert [pair.history.name for pair in found if pair.history] == right


@given(
    rows=st.lists(
        st.tuples(st.binary(min_size=16, max_size=16), st.sampled_from([A, B]), st.text(max_size=4))
    )
)
def test_rows_come_back_sorted(rows: list[tuple[bytes, str, str]]) -> None:
    """Rows that were written to disk are read back completely, slice by slice in order of name."""
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
    """Suspects are read back from disk unchanged, including None."""
    suspects = [SUSPECT, Suspect("y", '{"id":{"S":"é"}}', (None, A, None), "", 0.5)]
    spool = SuspectSpool(suspects)
    assert spool.count == 2
    assert list(spool) == list(spool) == suspects
    spool.close()


@pytest.mark.parametrize(
    ("items", "digits"), [(0, 1), (16_000, 1), (16_001, 2), (10**6, 3), (10**9, 5)]
)
def test_histories_are_listed_again_by_the_page(items: int, digits: int) -> None:
    """However many rows are compared again, the archive is listed again at most once, by prefixes
    of about one page each."""
    assert depth(items) == digits


def test_examples_are_few_and_counts_are_whole() -> None:
    """The first keys of each kind of mismatch are named, and all rows are counted."""
    tally = Findings()
    for number in range(LISTED + 5):
        for kind in ("equal", "differs", "busy"):
            tally.found(kind, str(number))
    assert tally.counts == {"equal": 25, "differs": 25, "busy": 25}
    assert [example.kind for example in tally.examples] == ["differs", "busy"] * LISTED
    assert tally.wrong == 25


# ------------------------------------------------------------
# in a hostile world

LAG = 5
"""The most seconds that the function in these worlds takes to write a change."""

running: list[World] = []


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    def sleep(seconds: float) -> None:
        for _ in range(int(seconds)):
            running[-1].model.tick(1)
            pause()

    clock = SimpleNamespace(monotonic=lambda: running[-1].model.now, sleep=sleep)
    with patched(lambda: running[-1]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_backup.verify.looks, "time", clock)
        patch.setattr(stream_backup.verify.rounds, "time", clock)
        yield


class Opaque(MemoryStore):
    """A store that lists as S3 does under SSE-KMS: an ETag is not the MD5 of the content, and the
    same content has another ETag each time. It counts how often each item was read."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.read: Counter[str] = Counter()

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        self.read[path] += "/meta/" not in path
        return super().get(path, version_id)

    def versions(self, prefix: str, **how: Any) -> Iterator[Version]:
        for found in super().versions(prefix, **how):
            yield found._replace(etag=digest(found.version_id.encode()))


def key(number: int) -> Item:
    return {"pk": {"S": f"item {number}"}, "sk": {"N": str(number)}}


@dataclass
class Verified:
    """What one verification reported, by the name of the item."""

    tally: Findings
    requests: dict[str, int]

    @property
    def kinds(self) -> dict[str, str]:
        return {key_hash(json.loads(example.key)): example.kind for example in self.tally.examples}


class Consistent:
    """A table that accepts only consistent reads."""

    def __init__(self, dynamodb: FakeDynamoDB) -> None:
        self._dynamodb = dynamodb

    def call(self, operation: str, request: Any) -> Any:
        assert operation in ("scan", "get_item")
        assert request["ConsistentRead"]
        return self._dynamodb.call(operation, request)


def verified(world: World, *, opaque: bool = False) -> Verified:
    """Runs all of `verify` on this world. With `opaque`, ETags are not MD5s."""
    table = cast(DynamoDB, Consistent(world.dynamodb))
    store = Opaque(world.store.s3_now) if opaque else MemoryStore(world.store.s3_now)
    store.objects = world.store.objects
    archive, tally, rows = Archive(store, "backups/", NAME, SCHEMA), Findings(), Rows()
    try:
        work = SCHEMA, ReadBudget(None), Stop(), rows, lambda _: None
        scan_slices(cut_scan(2), table, NAME, *work)
        found = world.status_of()
        floor = found.floor_now
        looks = Looks(
            table,
            archive,
            Inline(world.random),
            ReadBudget(None),
            Stop(),
            tally,
            floor,
            found.lateness_now,
            older=found.lateness_before(floor),
        )
        Rounds(looks).settle(looks.compare(rows, lambda _: None), rows.count, GRACE, lambda: None)
    finally:
        rows.close()
    return Verified(tally, dict(store.requests))


def truth(world: World) -> dict[str, str]:
    """The definition: returns what is wrong, from the table and every stamp in the archive."""
    epochs = world.status_of().coverage.epochs
    floor = epochs[-1].floor if epochs and epochs[-1].end is None else -(2**62)
    archived = {
        name: digest(body) for name, body in laws.rebuilt(world.archive, FOREVER, floor).items()
    }
    live = {name: digest(encode(row)) for name, row in (world.model.rows or {}).items()}
    wrong = {}
    for name in {*archived, *live}:
        if archived.get(name) != live.get(name):
            wrong[name] = (
                "extra" if name not in live else "missing" if name not in archived else "differs"
            )
    return wrong


def begun(seed: int, rows: list[tuple[int, int]], *, covered: bool = True) -> World:
    """Returns a world with rows from before the stream, a stream that a function reads, and, with
    `covered`, a backfill."""
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
    """Puts the item, or deletes it if the value is negative."""
    world.model.write(key(number), None if value < 0 else VALUES[value])


def lose(world: World, number: int, value: int) -> None:
    """Makes a change that never arrives, however often the stream is read."""
    before = [len(shard) for shard in world.model.streams[-1].shards]
    write(world, number, value)
    for shard, length in zip(world.model.streams[-1].shards, before, strict=True):
        del shard[length:]


def repeat(world: World, which: int) -> None:
    """Delivers one past change again, without the changes that came after it: one that the stream
    still keeps."""
    records = [
        record
        for shard in world.model.streams[-1].shards
        for record in shard
        if world.model.now - record.at < DAY
    ]
    if records:
        world.archive.put(Change.streamed(records[which % len(records)].event))


def deliver(world: World, older: float = 0.0) -> None:
    """Makes the function write all changes that are at least `older` seconds old."""
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
    past=st.lists(
        st.tuples(numbers, values, st.sampled_from([0.0, 0.4, 7.0, DAY / 3])), max_size=12
    ),
    lost=st.lists(changes, max_size=3),
    repeated=st.lists(st.integers(0, 20), max_size=2),
    meanwhile=st.lists(
        st.tuples(numbers, values, st.integers(0, 12), st.sampled_from([0.0, 0.0, 0.4, 3.0])),
        max_size=12,
    ),
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
    """Of the rows that nobody changes meanwhile, `verify` reports exactly those whose content
    differs from the archive, each with the right kind. Of the other rows, it reports none that was
    right, whatever is written and delivered late while it runs."""
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
    """Starts a verification that advances only when it is stepped. Returns it with the list that
    receives its result."""
    said: list[Verified] = []
    return world.start("verify", lambda: verified(world, opaque=opaque), said.append), said


@histories(200)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(changes, max_size=6),
    past=st.lists(changes, max_size=12, unique=True),
)
def test_an_unchanged_table_costs_no_request_of_its_own(
    seed: int, rows: list[tuple[int, int]], past: list[tuple[int, int]]
) -> None:
    """If no item returned to an earlier state, only listings are requested from the archive. (One
    that returned is read, however long ago that was, while its newest version is so new that nobody
    can have announced yet how late it was written.)"""
    world = begun(seed, rows)
    states = {*rows}
    for number, value in past:
        world.model.tick(DAY + 3600)
        state = number, max(value, -1)
        if state not in states:
            states.add(state)
            write(world, number, value)
            deliver(world)
    found = verified(world)
    assert found.tally.counts["equal"] == len(world.model.rows or {})
    assert found.tally.wrong == found.tally.counts["busy"] == 0
    assert set(found.requests) == {"list"}


def test_an_item_that_came_back_costs_one_request() -> None:
    """An item that was A, then B, and then A again within a day is read, because the last A may be
    the first one written again."""
    world = begun(1, [(0, 0), (1, 1)])
    for value in (1, 0):
        world.model.tick(60)
        write(world, 0, value)
        deliver(world)
    found = verified(world)
    assert (found.tally.counts["equal"], found.requests.get("get"), found.requests.get("head")) == (
        2,
        1,
        None,
    )


def test_a_part_of_the_stream_read_again_hides_no_loss() -> None:
    """An item was A, then B, then A again, and the last change was lost. If the first A is then
    written again on top, the listing looks correct, but a restore would give B, so the loss is
    reported."""
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
    """A lost change, a lost insert, and a lost removal are found, whatever the ETags are."""
    world = begun(1, [(0, 0), (1, 0), (2, 0)])
    lose(world, 0, 1)
    lose(world, 3, 1)
    lose(world, 1, -1)
    found = verified(world, opaque=opaque)
    assert found.kinds == {
        key_hash(key(0)): "differs",
        key_hash(key(3)): "missing",
        key_hash(key(1)): "extra",
    }
    assert found.tally.counts["equal"] == 1
    assert found.tally.versions == 3


def test_opaque_etags_cost_a_get_each() -> None:
    """If ETags are not MD5s, each row is read once and not compared again. Removed items are still
    known from the listing."""
    world = begun(1, [(number, 0) for number in range(5)])
    world.model.tick(DAY * 2)
    write(world, 4, -1)
    deliver(world)
    found = verified(world, opaque=True)
    assert found.tally.counts["equal"] == found.requests["get"] == 4
    assert found.tally.wrong == 0


def test_a_version_that_was_not_announced_is_reported() -> None:
    """An item with a version whose writer does not announce is named, with its key, although table
    and archive agree on it: the stream's record says that its writers announce."""
    world = begun(1, [(0, 0), (1, 0)])
    world.model.tick(60)
    write(world, 0, 1)
    (record,) = [each for shard in world.model.streams[-1].shards for each in shard]
    change = Change.streamed(record.event)
    path, payload, metadata = world.archive.object_of(change)
    world.store.put(path, payload, {each: metadata[each] for each in metadata.keys() - MARK.keys()})
    world.model.tick(60)
    found = verified(world, opaque=True)
    assert found.kinds == {key_hash(key(0)): "late"}
    assert "does not announce" in found.tally.examples[0].reason
    assert (found.tally.counts["equal"], found.tally.wrong) == (2, 0)


def test_an_older_life_is_not_the_present() -> None:
    """Rows of a deleted table are not extra, and a row of the new table does not match just because
    the deleted table had the same row."""
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


@pytest.mark.parametrize("opaque", [False, True])
def test_an_older_life_that_arrives_late_hides_no_loss(opaque: bool) -> None:
    """A row of a deleted table arrives after its successor was enabled. The new table has the same
    row, and its own change was lost: the listing looks correct, but a restore would give no row, so
    the loss is reported."""
    world = begun(1, [(2, 2)])
    write(world, 0, 0)
    (late,) = [each for shard in world.model.streams[-1].shards for each in shard]
    world.model.tick(60)
    world.model.drop()
    world.model.tick(60)
    world.model.create()
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(1)
    lose(world, 0, 0)
    world.archive.put(Change.streamed(late.event))
    world.model.tick(60)
    assert truth(world) == {key_hash(key(0)): "missing"}
    assert verified(world, opaque=opaque).kinds == {key_hash(key(0)): "missing"}


def test_only_what_was_written_soon_after_the_floor_may_be_of_an_older_life() -> None:
    """In an archive that was empty when the stream was enabled, no row is read. After the table was
    made again, those are read that were written within minutes of it, and later ones are not."""
    world = begun(1, [(number, 0) for number in range(3)])
    assert verified(world).requests.get("get") is None
    world.model.tick(3 * DAY)
    world.model.drop()
    world.model.create()
    world.enable("function").finish()
    write(world, 0, 0)
    world.backfill(1).finish()
    world.model.tick(1200)
    write(world, 1, 0)
    changed = world.model.streams[-1].shards[int(key_hash(key(1)), 16) % 2]
    world.archive.put(Change.streamed(changed[-1].event))
    world.model.tick(60)
    found = verified(world)
    assert (found.tally.counts["equal"], found.requests["get"]) == (2, 1)


def test_without_a_backfill_rows_are_missing() -> None:
    """Before the first backfill, rows that have not changed since the stream was enabled are
    missing."""
    world = begun(1, [(0, 0), (1, 1)], covered=False)
    write(world, 2, 2)
    deliver(world)
    assert verified(world).kinds == {key_hash(key(0)): "missing", key_hash(key(1)): "missing"}


def test_a_row_that_is_always_changing_is_busy() -> None:
    """A row whose archive is always one change behind, and never what was read of the row, is busy.
    Another row is still judged."""
    world = begun(1, [(0, 0), (1, 1)])
    lose(world, 1, 2)
    process, said = watched(world)
    ticks = 0
    while process.alive:
        process.step()
        ticks += 1
        world.model.write(key(0), {"count": {"N": str(ticks)}})
        world.archive.put(
            Change.streamed(world.model.streams[-1].shards[int(key_hash(key(0)), 16) % 2][-1].event)
        )
        world.model.write(key(0), {"count": {"N": f"-{ticks}"}})
    assert said[0].kinds == {key_hash(key(0)): "busy", key_hash(key(1)): "differs"}


def test_a_row_that_goes_back_and_forth_is_busy() -> None:
    """A row that is A at every look, while its archive is one step behind at B, is busy, because
    new versions keep arriving."""
    world = begun(1, [(0, 0)])
    shard = world.model.streams[-1].shards[int(key_hash(key(0)), 16) % 2]
    process, said = watched(world)
    while process.alive:
        write(world, 0, 1)
        for record in shard[-2:]:
            world.archive.put(Change.streamed(record.event))
        write(world, 0, 0)
        process.step()
    assert said[0].kinds == {key_hash(key(0)): "busy"}


def test_an_item_that_was_removed_again_is_no_row() -> None:
    """An item that was removed, created, and removed again within a day is read, and counted
    nowhere."""
    world = begun(1, [(0, 0), (1, 1)])
    for value in (-1, 1, -1):
        world.model.tick(60)
        write(world, 0, value)
        deliver(world)
    found = verified(world)
    assert (found.tally.counts["equal"], found.tally.wrong) == (1, 0)


def test_an_archive_that_becomes_unreadable() -> None:
    """A version with an unknown format may also arrive while a row is compared again; the row is
    then unreadable."""
    world = begun(1, [(0, 0)])
    lose(world, 0, 1)
    start = world.model.now
    process, said = watched(world)
    while process.alive:
        process.step()
        if start + 2 < world.model.now < start + 5:
            MemoryStore.put(world.store, f"backups/{NAME}/{key_hash(key(0))}", b"{}", {})
    assert said[0].kinds == {key_hash(key(0)): "unreadable"}


def test_a_version_nobody_here_wrote_is_unreadable() -> None:
    """An item whose only version has an unknown format is unreadable, not busy or different,
    because the archive cannot tell what the item is. A delete marker changes nothing."""
    world = begun(1, [(0, 0), (1, 1)])
    world.store.objects[f"backups/{NAME}/{key_hash(key(0))}"].clear()
    MemoryStore.put(world.store, f"backups/{NAME}/{key_hash(key(0))}", b"{}", {})
    world.store.delete(f"backups/{NAME}/{key_hash(key(1))}")
    found = verified(world)
    (example,) = found.tally.examples
    assert (example.kind, key_hash(json.loads(example.key))) == ("unreadable", key_hash(key(0)))
    assert "is not in format 1" in example.reason
    assert found.tally.counts["equal"] == 1


# ------------------------------------------------------------
# on the command line


def order(number: int, note: str) -> Item:
    return {
        "pk": {"S": f"kunde#{number} é"},
        "sk": {"N": str(number)},
        "note": {"S": note},
        "price": {"N": "10.25"},
        "tags": {"SS": ["new", "eu"]},
        "raw": {
            "M": {"b": {"B": bytes([number % 256])}, "none": {"NULL": True}, "list": {"L": []}}
        },
    }


def order_key(number: int) -> Item:
    return {name: order(number, "")[name] for name in ("pk", "sk")}


ROWS = 40
SOON = 15
"""Seconds within which an interrupted command must end, on a machine that also runs other tests."""


@dataclass(frozen=True)
class Kept:
    """A table and its archive, which match: every fourth row was changed after the backfill, and a
    few were deleted."""

    shell: Shell
    table: Table
    bucket: str

    def path(self, number: int) -> str:
        return f"production/{self.table.name}/{key_hash(order_key(number))}"

    def take_out(self, number: int) -> None:
        """Permanently deletes the newest version of this item."""
        s3 = self.shell.aws.client("s3")
        newest = s3.list_object_versions(Bucket=self.bucket, Prefix=self.path(number))["Versions"][
            0
        ]
        s3.delete_object(Bucket=self.bucket, Key=newest["Key"], VersionId=newest["VersionId"])

    def verify(self, *words: str) -> Said:
        return self.shell.run("verify", self.table.name, *words)


def keep(url: str, name: str) -> Kept:
    aws = Aws(url)
    bucket = aws.bucket()
    shell, table = Shell(aws, f"s3://{bucket}/production"), Table.create(aws, name, COMPOSITE)
    table.put_many([order(number, "first") for number in range(ROWS)])
    shell.done("enable", name, "--stream-only")
    shell.done("backfill", name, "--workers", "1")
    table.put(*(order(number, "second") for number in range(0, ROWS, 4)))
    table.delete(*(order_key(number) for number in (1, 2, 3)))
    shell.done("follow", name, "--once")
    return Kept(shell, table, bucket)


@pytest.fixture(scope="module")
def between(ministack_url: str) -> Iterator[Between]:
    with proxy(ministack_url) as found:
        yield found


@pytest.mark.server
def test_an_unchanged_table(ministack_url: str, between: Between) -> None:
    """Every row matches, and no item is fetched from the archive: no GET and no HEAD request
    reaches the bucket."""
    kept = keep(ministack_url, "unchanged")
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(f"{request.operation} {request.path}")

    between.rule = note
    said = Shell(between.aws, kept.shell.archive).done(
        "verify", "unchanged", "--segments", "3", "--json"
    )
    between.rule = lambda request: None
    assert said.json == {
        "table": "unchanged",
        "covered": True,
        "equal": ROWS - 3,
        **dict.fromkeys(("differs", "missing", "extra", "unreadable", "late", "busy"), 0),
        "examples": [],
        "versions_listed": ROWS + ROWS // 4 + 3,
        "unseen": [],
        "requests": {"list": 16, "get": 0, "head": 0},
    }
    assert not [
        each
        for each in asked
        if each.startswith(("GetObject", "HeadObject")) and "/meta/" not in each
    ]
    assert not [each for each in asked if each.startswith(("GetItem", "Put", "Delete"))]
    printed = kept.verify()
    assert printed.code == 0
    assert printed.out == ""
    assert "37 rows match the archive.\n" in printed.err
    assert "0 GET, 0 HEAD" in printed.err


@pytest.mark.server
def test_what_is_wrong_is_counted_and_named(ministack_url: str) -> None:
    """Without the archive's knowledge, one row was changed, one created, and one deleted. Of other
    items, the archive lost the only version, has a version with an unknown format, or has a delete
    marker, which changes nothing. Each mismatch is counted and named, and the exit code is 5."""
    kept = keep(ministack_url, "wrong")
    s3 = kept.shell.aws.client("s3")
    kept.table.put(order(5, "behind"), order(100, "made"))
    kept.table.delete(order_key(6))
    kept.shell.done("follow", "wrong", "--once")
    for number in (5, 100, 6, 7):
        kept.take_out(number)
    s3.put_object(Bucket=kept.bucket, Key=kept.path(9), Body=b"not ours")
    s3.delete_object(Bucket=kept.bucket, Key=kept.path(10))
    said = kept.verify("--json")
    assert said.code == 5, said
    found = said.json
    assert {
        kind: found[kind]
        for kind in ("equal", "differs", "missing", "extra", "unreadable", "late", "busy")
    } == {
        "equal": ROWS - 3 + 1 - 5,
        "differs": 1,
        "missing": 2,
        "extra": 1,
        "unreadable": 1,
        "late": 0,
        "busy": 0,
    }
    assert {(each["kind"], each["key"]["sk"]["N"]) for each in found["examples"]} == {
        ("differs", "5"),
        ("missing", "7"),
        ("missing", "100"),
        ("extra", "6"),
        ("unreadable", "9"),
    }
    printed = kept.verify().refused(
        5, "5 rows of wrong do not match the archive.", "history wrong '{"
    )
    for line in (
        'differs in the archive: {"pk":{"S":"kunde#5 é"}',
        "1 only in the archive",
        "2 missing from the archive",
    ):
        assert line in printed.err
    key_given = json.dumps(order_key(5))
    assert kept.shell.run("history", "wrong", key_given).code == 0


@pytest.mark.server
def test_while_the_table_is_written(ministack_url: str, between: Between) -> None:
    """Changes that are on their way to the archive are not differences while the stream is read.
    Here, S3 accepts nothing until rows have been compared again for three seconds."""
    kept = keep(ministack_url, "written")
    looked, released, stop = Event(), Event(), Event()

    def change() -> None:
        number = 0
        while not stop.wait(0.03):
            number += 1
            kept.table.put(order(10 + number % 20, f"{number}"), order(200 + number, "new"))
            kept.table.delete(order_key(200 + number - 5))

    def rule(request: Request) -> Answer | None:
        if request.operation == "GetItem":
            looked.set()
        elif request.operation == "PutObject" and "/meta/" not in request.path:
            released.wait(20)
        return None

    shell = Shell(between.aws, kept.shell.archive)
    with shell.running("follow", "written"):
        while not shell.done("status", "written", "--json").json["following"]:
            time.sleep(0.2)
        between.rule = rule
        kept.table.put(*(order(number, "once") for number in range(10)))
        thread = Thread(target=change)
        thread.start()
        with shell.running("verify", "written", "--segments", "1", "--json") as command:
            looked.wait(60)
            time.sleep(3)
            stop.set()
            released.set()
            said = command.wait()
        between.rule = lambda request: None
        thread.join()
    assert said.code == 0, said
    assert " rows again" in said.err
    assert said.json["equal"] >= 10


@pytest.mark.server
def test_while_nobody_reads_the_stream(ministack_url: str) -> None:
    """While nobody reads the stream, rows that changed since it was last read differ, and the error
    says so. An item that the archive lost completely is written again by a backfill, as the hint
    says."""
    kept = keep(ministack_url, "unread-verified")
    kept.table.put(order(5, "unread-verified"))
    printed = kept.verify().refused(5, "The stream was last read at", "1 differs in the archive")
    assert "Comparing 1 rows again" in printed.err
    kept.shell.done("follow", "unread-verified", "--once")
    kept.take_out(7)
    kept.verify().refused(5, "1 missing from the archive", "verify unread-verified --repair")
    kept.shell.done("backfill", "unread-verified", "--workers", "1")
    assert kept.verify().code == 0


@pytest.mark.server
def test_without_coverage(ministack_url: str) -> None:
    """If the archive does not cover the table, verify reports it, and still compares."""
    aws = Aws(ministack_url)
    shell, table = Shell(aws, f"s3://{aws.bucket()}"), Table.create(aws, "uncovered")
    table.put_many([{"id": {"S": str(number)}} for number in range(LISTED + 10)])
    shell.run("verify", "uncovered").refused(
        2, "contains nothing of table 'uncovered'", "--archive"
    )
    shell.run("verify", "nowhere").refused(2, "There is no table 'nowhere'", "--region")
    shell.done("enable", "uncovered", "--stream-only")
    said = shell.run("verify", "uncovered", "--json")
    assert said.code == 5
    assert (said.json["covered"], said.json["missing"], len(said.json["examples"])) == (
        False,
        LISTED + 10,
        LISTED,
    )
    assert "does not cover uncovered: no backfill was completed" in said.err
    shell.run("verify", "uncovered").refused(5, "then run a backfill, and verify again")
    shell.done("backfill", "uncovered", "--workers", "1")
    shell.done("follow", "uncovered", "--once")
    shell.done("disable", "uncovered")
    ended = shell.run("verify", "uncovered")
    assert ended.code == 0
    assert "coverage ended at" in ended.err


@pytest.mark.server
def test_interrupted(ministack_url: str, between: Between) -> None:
    """Ctrl-C ends verify soon, with exit code 130, during the scan and while rows are compared
    again."""
    kept = keep(ministack_url, "interrupted")
    kept.table.put(*(order(number, "unread-verified") for number in range(20, 30)))
    for operation in ("Scan", "GetItem"):

        def rule(request: Request, slow: str = operation) -> Answer | None:
            if request.operation == slow:
                time.sleep(1)
            return None

        between.rule = rule
        before = between.requests[operation]
        shell = Shell(between.aws, kept.shell.archive)
        with shell.running(
            "verify", "interrupted", "--segments", "2", "--read-units", "1"
        ) as command:
            deadline = time.monotonic() + 60
            while between.requests[operation] == before and time.monotonic() < deadline:
                time.sleep(0.02)
            pressed = time.monotonic()
            command.interrupt().refused(130, "Interrupted")
        assert time.monotonic() - pressed < SOON
        between.rule = lambda request: None


@pytest.mark.server
def test_under_kms(ministack_url: str) -> None:
    """If ETags are not MD5s, each row costs one GET and no HEAD, and what is wrong is found. A row
    that differs is read until it is certain that no change is on its way."""
    aws = Aws(ministack_url)
    table = Table.create(aws, "opaque")
    rows = [{"id": {"S": f"item-{number}"}, "text": {"S": "x" * 200}} for number in range(300)]
    table.put_many(rows)
    table.put(rows[7] | {"text": {"S": "behind"}})
    start = int(time.time()) - 1000
    clock = [start]
    store = Opaque(lambda: clock[0])
    archive = Archive(store, "", "opaque", KeySchema(SIMPLE))
    meta, label = Catalog(archive), iso(start).removesuffix("Z") + ".000"
    meta.write_stream(Stream(label, "arn", "id", start, True, "follow", start))
    meta.write_run(Run("first", label, start, start, start + 60, True, {"read": 0, "written": 0}))
    for number, row in enumerate(rows):
        clock[0] = start + number
        archive.put(
            Change({"id": row["id"]}, Stamp(clock[0], number + 1, clock[0], "insert"), encode(row))
        )
    with archive_server("backups", store) as served:
        said = Shell(aws, "s3://backups", {"AWS_ENDPOINT_URL_S3": served.url}).run(
            "verify", "opaque", "--json"
        )
    assert said.code == 5, said
    assert (said.json["equal"], said.json["differs"]) == (len(rows) - 1, 1)
    behind = archive.root + key_hash({"id": rows[7]["id"]})
    assert said.json["requests"]["get"] == len(rows) - 1 + store.read[behind]
    assert said.json["requests"]["head"] == 0
