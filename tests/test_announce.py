"""Each part of the rule of announced lateness, and what goes wrong without it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.announce import Announcer
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.s3 import CONNECT_TIMEOUT, PATIENCE, PAUSE, RETRY_TIMEOUT, TIMEOUT
from stream_backup.archive.status import status_of
from stream_backup.archive.store import Current
from stream_backup.aws import clock as aws_clock
from stream_backup.aws.clock import AwsClock
from stream_backup.aws.connection import Connection
from stream_backup.capture.batch import make_handler, write_batch
from stream_backup.capture.enabler import Enabler
from stream_backup.capture.mapping import require_announcing
from stream_backup.capture.point import _within
from stream_backup.capture.state import State
from stream_backup.capture.stream import switch_on
from stream_backup.core.announcement import announcement, hours_of_put, is_late
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.item import encode
from stream_backup.core.moment import iso
from stream_backup.core.records import ReaderKind, Stream
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import BUDGET, LATE, NEVER, NORMAL, SKEW, Lateness
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError, LatenessError, UsageError
from stream_backup.verify.compare import Pair, Row, listed_equal
from tests.histories import Written, answer, bucket
from tests.late import ARN, HOUR, KEYS, LABEL, NOON, SCHEMA, Late
from tests.process import Inline
from tests.world import PlainBucket, World, patched

DAY = 24 * HOUR


class Bucket(MemoryStore):
    """A bucket with a clock that requests move; `takes` says by how many seconds a put of a path
    does so before it is done, or what it fails of."""

    def __init__(self, now: float) -> None:
        super().__init__(lambda: self.now)
        self.now = float(now)
        self.order: list[str] = []
        self.takes: Callable[[str], float | Exception] = lambda _: 0.0
        self.listed: Callable[[str], object] = lambda _: None
        self.looking = 0.0

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        takes = self.takes(path)
        if isinstance(takes, Exception):
            raise takes
        self.now += takes
        super().put(path, payload, metadata)
        self.order.append(path)

    def current(self, path: str) -> Current | None:
        self.now += self.looking
        return super().current(path)

    def versions(self, prefix: str, **how: Any) -> Iterator[Version]:
        yield from list(super().versions(prefix, **how))
        self.listed(prefix)

    def archive(self) -> Archive:
        return Archive(self, "", "orders", SCHEMA, lambda: self.now)

    @property
    def announced(self) -> Mapping[int, int]:
        return Catalog(self.archive()).lateness(0).announced


def changed(at: int, value: str | None = "v", sequence: int = 1) -> Change:
    item = KEYS[0] | {"v": {"S": value}} if value else None
    stamp = Stamp(at, sequence, at, "modify" if item else "remove")
    return Change(KEYS[0], stamp, encode(item) if item else None)


def record(at: int) -> dict[str, Any]:
    data = {"ApproximateCreationDateTime": at, "SequenceNumber": "1", "Keys": KEYS[0]}
    new = {"NewImage": KEYS[0]}
    return {"eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": data | new}


# ------------------------------------------------------------
# The writer


def test_what_is_late_is_announced_before_it_is_put() -> None:
    """The record lies in the archive before the change does."""
    store = Bucket(NOON + 1000)
    store.archive().put(changed(NOON))
    assert store.order == ["orders/meta/late/2026-11-21T12/2048.json", store.order[1]]
    assert store.announced == {NOON: 2048}


@pytest.mark.parametrize(("age", "puts"), [(0, 1), (NORMAL - BUDGET, 1), (NORMAL - BUDGET + 1, 2)])
def test_a_put_may_take_its_time(age: int, puts: int) -> None:
    """What is late only at the end of a put that takes its whole budget is announced, too; what is
    not costs no request."""
    store = Bucket(NOON + 1000)
    store.archive().put(changed(NOON + 1000 - age))
    assert len(store.order) == puts


@pytest.mark.parametrize("age", [181, 392, 393, 904, 905, 5 * HOUR, 400 * DAY])
def test_the_announcement_is_never_too_small(age: int) -> None:
    """What is announced is a power of two, at least 512, and as much as the change can be late."""
    seconds = announcement(NOON, NOON + age)
    assert seconds & (seconds - 1) == 0
    assert seconds >= max(512, age + BUDGET)
    assert seconds == 512 or seconds // 2 < age + BUDGET


def test_every_hour_of_the_put_is_announced() -> None:
    """A put that starts shortly before a full hour may be done after it."""
    store = Bucket(NOON - 100)
    store.archive().put(changed(NOON - 700))
    assert store.announced == {NOON - HOUR: 1024, NOON: 1024}


def test_records_take_time_themselves() -> None:
    """The clock is read again after a record was written: by then the put is later, or in another
    hour."""
    store = Bucket(NOON - 200)
    store.takes = lambda path: 150.0 if "/late/" in path else 0.0
    store.archive().put(changed(NOON - 560))
    late = [path.partition("/late/")[2] for path in store.order[:-1]]
    assert late == ["2026-11-21T11/512.json", "2026-11-21T11/1024.json", "2026-11-21T12/1024.json"]


def test_without_the_record_there_is_no_put() -> None:
    """A change that cannot be announced is not written, and is read again; the next attempt
    announces it."""
    store = Bucket(NOON + 1000)
    archive, inline = store.archive(), Inline(Random(0))
    store.takes = lambda path: OSError("refused") if "/late/" in path else 0.0
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            archive.put(changed(NOON))
        outcome = write_batch([record(NOON)], lambda _: archive, inline, lambda: False)
        assert outcome.first_failed == 0
    assert store.order == []
    store.takes = lambda _: 0.0
    archive.put(changed(NOON))
    assert "/late/" in store.order[0]


def test_each_attempt_of_a_put_is_announced() -> None:
    """A change that was in time when its put failed is late when it is put after an outage of ten
    minutes: the record comes first."""
    store = Bucket(NOON)
    busy = [OSError("503")]
    store.takes = lambda path: busy.pop() if busy else 0.0

    def attempts(what: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError:
            store.now += 600
            return work()

    Archive(store, "", "orders", SCHEMA, lambda: store.now, attempts).put(changed(NOON))
    assert [("/late/" in path) for path in store.order] == [True, False]
    assert store.announced == {NOON: 1024}


def test_each_hour_is_announced_once() -> None:
    """While a process is late, it writes a record an hour, and another when it is later than it
    said."""
    store = Bucket(NOON + 100)
    archive = store.archive()
    for hour in range(3):
        for _ in range(10):
            archive.put(changed(NOON - 100 + hour * HOUR))
        store.now += HOUR
    assert store.announced == {NOON: 512, NOON + HOUR: 512, NOON + 2 * HOUR: 512}
    store.now = NOON + 2000.0
    archive.put(changed(NOON - 100))
    late = [path for path in store.order if "/late/" in path]
    assert len(late) == 4
    assert store.announced[NOON] == 4096


def test_a_batch_announces_once_for_all_of_its_items() -> None:
    """What is announced is known before the items of a batch are put in parallel."""
    store = Bucket(NOON + 1000)
    handle = make_handler(lambda _: store.archive())
    for _ in range(2):
        events = [record(NOON) for _ in range(50)]
        for number, event in enumerate(events):
            event["dynamodb"]["Keys"] = event["dynamodb"]["NewImage"] = {"id": {"S": str(number)}}
        assert handle({"Records": events}, None) == {"batchItemFailures": []}
    assert sum("/late/" in path for path in store.order) == 1


def test_several_writers_announce_beside_each_other() -> None:
    """No announcement hides another, in whatever order they are made."""
    for lates in ((200, 2000, 9000), (9000, 2000, 200)):
        store = Bucket(NOON + 1000)
        for late in lates:
            store.archive().put(changed(int(store.now) - late))
        assert store.announced == {NOON: 16384}
        assert len({path for path in store.order if "/late/" in path}) == 3


def test_a_put_that_took_too_long_is_announced_after_it() -> None:
    """A put that was on time when it started and took longer than its budget is announced for every
    hour since, before it counts as written."""
    store = Bucket(NOON - 3)
    store.takes = lambda path: 0.0 if "/late/" in path else HOUR + 10.0
    store.archive().put(changed(NOON - 4))
    assert store.announced == {NOON - HOUR: 4096, NOON: 4096, NOON + HOUR: 4096}
    store = Bucket(NOON + 100)
    store.takes = lambda path: 0.0 if "/late/" in path else BUDGET + 1.0
    store.archive().put(changed(NOON + 99))
    assert store.announced == {}


def test_a_put_that_failed_late_is_announced_too() -> None:
    """Nobody knows whether a put without an answer was done."""
    now, told = NOON, list[tuple[int, int]]()

    def fail() -> None:
        nonlocal now
        now += 900
        raise OSError("no answer")

    with pytest.raises(OSError, match="no answer"):
        Announcer(lambda *each: told.append(each), lambda: now).put(NOON, fail)
    assert told == [(NOON - HOUR, 1024), (NOON, 1024)]


AGES = st.integers(0, 3 * NORMAL) | st.integers(0, 3 * HOUR)
CLOCK = st.lists(st.tuples(AGES, st.integers(-NORMAL, HOUR)), max_size=12)


@given(steps=CLOCK)
def test_no_put_starts_unannounced(steps: list[tuple[int, int]]) -> None:
    """Whatever was announced before, and wherever the clock is set, a late put starts only when
    each of its hours is announced for as many seconds as it needs."""
    now, found = NOON, dict[int, int]()

    def announce(hour: int, seconds: int) -> None:
        found[hour] = max(seconds, found.get(hour, 0))

    def check(at: int) -> None:
        if is_late(at, now):
            assert all(found.get(hour, 0) >= announcement(at, now) for hour in hours_of_put(now))

    announcer = Announcer(announce, lambda: now)
    for age, step in steps:
        announcer.put(now - age, check, now - age)
        now += step


def test_a_copy_is_announced_with_the_second_of_its_change() -> None:
    """A version that is written again on top is as late as its change is old."""
    store = Bucket(NOON)
    archive = store.archive()
    archive.put(changed(NOON, "new", 2))
    archive.put(changed(NOON - 10, "old"))
    assert store.announced == {}
    store.now += 3 * DAY
    assert archive.reassert(changed(NOON).name)
    assert store.announced == {NOON + 3 * DAY: 2**18}


@pytest.mark.parametrize("older", [False, True])
def test_a_backfill_announces(older: bool) -> None:
    """A scanned item is announced with the second in which it was asked for, and again when looking
    at what it replaces takes long."""
    store = Bucket(NOON + 900)
    archive = store.archive()
    if older:
        archive.put(changed(NOON + 850))
        store.now += 50
    scan = Change.scanned(KEYS[0], SCHEMA, NOON + 5, NOON + 6, 0)
    store.now, store.looking = NOON + 1000.0, float(HOUR)
    assert archive.put_baseline(archive.object_of(scan), NOON + 900, empty=False)
    assert store.announced == {NOON: 2048} | ({NOON + HOUR: 8192} if older else {})
    assert store.requests["head"] == older


def test_everything_carries_the_mark() -> None:
    """Changes, scans and copies say that their writer announces, even a copy of one that does
    not."""
    store = Bucket(NOON)
    archive = store.archive()
    store.put(*archive.object_of(changed(NOON, "new", 2))[:2], changed(NOON, "new", 2).metadata)
    archive.put(changed(NOON - 10, "old"))
    (history,) = archive.histories()
    assert [archive.read(each).stamp.announced for each in history.versions] == [True, False]
    archive.reassert(history.name)
    (history,) = archive.histories()
    assert archive.stat(history.versions[0]).stamp.announced


def test_a_put_ends_within_its_budget() -> None:
    """A put to S3 with its retries takes no longer than it is announced for."""
    attempt = TIMEOUT + CONNECT_TIMEOUT
    assert max(RETRY_TIMEOUT, PATIENCE + PAUSE + RETRY_TIMEOUT) + attempt <= BUDGET


# ------------------------------------------------------------
# The clock of a command


def headers(now: int) -> Any:
    day = f"Sat, 21 Nov 2026 {iso(now)[11:19]} GMT"
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": day}}}
    return SimpleNamespace(head_bucket=lambda **_: answer)


def test_a_command_counts_by_the_clock_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """How late something is does not depend on the clock of the machine."""
    store = Bucket(NOON)
    for ahead in (-DAY, 0, DAY):
        monkeypatch.setattr("time.time", lambda ahead=ahead: NOON + float(ahead))
        connection = Connection(None, None, "s3://archive")
        connection.__dict__.update(s3=headers(NOON + 50), store=store)
        connection.archive("orders", SCHEMA).put(changed(NOON))
    assert store.announced == {}
    connection.__dict__.update(s3=headers(NOON + 450))
    connection.archive("orders", SCHEMA).put(changed(NOON))
    assert store.announced == {}  # the time is not asked for each put
    connection = Connection(None, None, "s3://archive")
    connection.__dict__.update(s3=headers(NOON + 450), store=store)
    connection.archive("orders", SCHEMA).put(changed(NOON))
    assert store.announced == {NOON: 1024}


def test_a_machine_that_slept_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still while the machine sleeps, or is set by somebody, is noticed."""
    wall, steady, asked = 5000.0, 100.0, list[int]()

    def ask() -> int:
        nonlocal steady, wall
        steady, wall = steady + takes, wall + takes
        asked.append(int(NOON + steady))
        return asked[-1]

    fake = SimpleNamespace(time=lambda: wall, monotonic=lambda: steady)
    monkeypatch.setattr(aws_clock, "time", fake)
    clock, takes = AwsClock(ask), 0.5
    assert clock() == NOON + 100 + 0.5
    steady, wall = steady + 1000, wall + 1000
    assert clock() == NOON + 1100 + 0.5
    assert len(asked) == 1
    wall += HOUR
    clock()
    assert len(asked) == 2
    steady, wall = steady + HOUR, wall + HOUR
    clock()
    assert len(asked) == 3
    wall, takes = 0.0, 60.0
    assert clock() >= NOON + steady
    assert len(asked) == 6  # slow answers


# ------------------------------------------------------------
# The reader


def version(written: int) -> Version:
    return Version("T/a", "1", written, 9, "")


def test_the_bound_of_a_version() -> None:
    """A version is minutes later than its change, or as late as was announced for its hour or for
    the neighbouring hour of a clock that differs; without announcement a day."""
    lateness = Lateness({NOON: 2048}, NOON + 9 * HOUR, announces=True)
    for beside, late in [
        (-SKEW - 1, NORMAL),
        (-SKEW, 2048),
        (0, 2048),
        (HOUR + SKEW - 1, 2048),
        (HOUR + SKEW, NORMAL),
    ]:
        assert lateness.earliest(version(NOON + beside)) == NOON + beside - SKEW - late
    wide = NOON - SKEW - LATE - 2048
    assert lateness.surely_earliest(version(NOON)) == wide
    assert lateness.of_stream(announces=False).earliest(version(NOON)) == wide
    assert Lateness().earliest(version(NOON)) == NOON - SKEW - LATE
    assert Lateness(redriven=DAY).earliest(version(NOON)) == NOON - SKEW - LATE - DAY


@pytest.mark.parametrize("announces", [False, True])
def test_nothing_is_known_of_what_was_written_after_the_listing(announces: bool) -> None:
    """What was announced after the records were listed may be any late."""
    lateness = Lateness({}, NOON, announces=announces)
    assert lateness.earliest(version(NOON - SKEW - 1)) > NEVER
    for written in (NOON - SKEW, NOON, NOON + DAY):
        assert lateness.earliest(version(written)) == NEVER
        assert lateness.surely_earliest(version(written)) == NEVER


def test_the_largest_announcement_of_an_hour_counts() -> None:
    """Names of records sort as text, where 1024 comes before 512."""
    store = Bucket(NOON)
    catalog = Catalog(store.archive())
    for seconds in (512, 4096, 1024):
        catalog.announce(NOON, seconds)
    catalog.announce(NOON + HOUR, 512)
    assert store.announced == {NOON: 4096, NOON + HOUR: 512}
    assert store.requests["get"] == 0


@pytest.mark.parametrize(
    "name",
    ["x", "2026-11-21T12", "2026-11-21T12/x", "2026-11-21T12/0", "2026-13-21T12/512", "12/512/1"],
)
def test_an_unreadable_name_is_an_error(name: str) -> None:
    """A record that nobody can read may be the one that matters."""
    archive = Bucket(NOON).archive()
    archive.meta.write(f"late/{name}", {})
    with pytest.raises(ArchiveError, match="not in format 1"):
        Catalog(archive).lateness(NOON)


def test_a_removed_record_still_counts() -> None:
    """A delete marker hides no announcement."""
    store = Bucket(NOON)
    Catalog(store.archive()).announce(NOON, 512)
    store.delete("orders/meta/late/2026-11-21T12/512.json")
    assert store.announced == {NOON: 512}


def test_a_tombstone_is_believed_by_the_wide_bound_alone() -> None:
    """A copy of an old removal, left by a writer that was killed in the middle of its put, is no
    removal of what came after it."""
    removed = Written(Stamp(NOON, 1, NOON, "remove", announced=True), NOON + 3 * HOUR, 0)
    stamp = Stamp(NOON + HOUR, 2, NOON + HOUR, "insert", announced=True)
    held = bucket(Written(stamp, NOON + HOUR, 9), removed)
    lateness = Lateness({}, NOON + DAY, announces=True)
    for moment in (NOON + HOUR, NOON + 2 * HOUR):
        found = item_at(held.versions(), moment, NEVER, held.read, lateness)
        assert answer(found) == stamp
    with pytest.raises(LatenessError, match="10,800 seconds after its change"):
        item_at(held.versions(), NOON + 4 * HOUR, NEVER, held.read, lateness)
    wide = lateness.of_stream(announces=False)
    assert answer(item_at(held.versions(), NOON + 4 * HOUR, NEVER, held.read, wide)) == stamp


def test_a_content_is_taken_for_the_latest_by_the_wide_bound_alone() -> None:
    """A copy of an old content, left by a writer that was killed in the middle of its put, does not
    show that the item has that content again."""
    lateness = Lateness({}, NOON + DAY, announces=True)
    listed = [("A", 3 * HOUR), ("B", HOUR + 1), ("A", 1)]
    versions = [Version("T/a", str(at), NOON + at, 9, etag) for etag, at in listed]
    pair = Pair("a", Row("a", "A", "{}"), History("a", tuple(versions)))
    assert not listed_equal(pair, NOON, lateness)
    assert listed_equal(pair._replace(history=History("a", tuple(versions[2:]))), NOON, lateness)


def test_a_version_without_the_mark_is_an_error() -> None:
    """A function of an older release that writes into a stream whose writers announce is noticed as
    soon as something of it is read, and does not matter below the floor."""
    held = bucket(Written(Stamp(NOON, 1, NOON, "insert"), NOON + 1, 9))
    lateness = Lateness({}, NOON + DAY, announces=True)
    with pytest.raises(LatenessError, match="does not announce"):
        item_at(held.versions(), NOON + HOUR, NOON, held.read, lateness)
    assert item_at(held.versions(), NOON + HOUR, NOON + 1, held.read, lateness) is None
    wide = lateness.of_stream(announces=False)
    assert item_at(held.versions(), NOON + HOUR, NOON, held.read, wide) is not None


def test_coverage_is_known_before_announcements_are_listed() -> None:
    """A put that took an hour is announced before its change counts as written, so that a reader
    who saw it counted sees it announced."""
    late = Late(0, NOON)
    late.now += 30
    late.change(0, "v")
    at = int(late.now)
    slow = late.write(0, 1)
    late.step(slow, 1)
    late.now += HOUR
    late.step(slow, 1)  # done, but not answered
    late.now += 60
    store = Bucket(late.now)
    store.objects = late.store.objects

    def listed(prefix: str) -> None:
        if "/meta/late/" in prefix:
            late.finish()

    store.listed = listed
    archive = store.archive()
    found = status_of(archive, int(late.now))
    epoch = found.coverage.epoch_at(at)
    (history,) = archive.histories()
    lateness = found.lateness_in(found.coverage.epochs[-1])
    read = item_at(history.versions, at, NEVER, archive.read, lateness)
    assert epoch is None or (read and read.body == late.truth(0, at))
    found = status_of(archive, int(late.now))
    assert found.coverage.epoch_at(at)
    lateness = found.lateness_in(found.coverage.epochs[-1])
    read = item_at(history.versions, at, NEVER, archive.read, lateness)
    assert read
    assert read.body == late.truth(0, at)


@pytest.mark.parametrize("announces", [False, True])
def test_only_a_stream_whose_writers_announce_is_trusted(announces: bool) -> None:
    """What a stream's record says decides; one without the member does not announce."""
    late = Late(0, NOON)
    catalog = Catalog(late.archive(lambda: late.now))
    stream = catalog.streams()[0]
    assert stream.announces
    old = {name: each for name, each in stream.record().items() if name != "announces"}
    assert not Stream.of(old).announces
    catalog.write_stream(stream if announces else Stream.of(old))
    found = status_of(late.archive(lambda: late.now), NOON + 100)
    assert found.coverage.epochs[-1].stream == LABEL
    assert found.lateness_in(found.coverage.epochs[-1]).announces is announces
    assert found.lateness_now.announces is announces
    assert not found.lateness_in(None).announces
    assert not found.lateness.announces


def test_a_stream_of_an_older_release_stays_one() -> None:
    """What its first release wrote of a stream was not announced, whoever reads it now."""
    world = World(0)
    with patched(lambda: world):
        world.model.tick(1)
        stream, _ = switch_on(world.dynamodb, world.archive, "function")
        assert stream.announces
        assert switch_on(world.dynamodb, world.archive, "follow")[0].announces
        readers: tuple[ReaderKind, ...] = ("function", "follow")
        for reader in readers:
            world.meta.write_stream(replace(stream, announces=False))
            found, _ = switch_on(world.dynamodb, world.archive, reader)
            assert (found.reader, found.announces) == (reader, False)


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"[]", b"{}", b'{"batchItemFailures": []}', b'{"announces": 1}', b"no JSON"],
)
def test_a_function_that_does_not_announce_is_refused(answer: bytes) -> None:
    """A function of another release, or one that fails, is not taken for one that announces."""
    asked: list[dict[str, Any]] = []

    def invoke(**request: Any) -> Any:
        asked.append(request)
        return {"Payload": BytesIO(answer)}

    class Here(PlainBucket):
        def archive(self, _: str) -> Archive:
            return Bucket(NOON).archive()

    enabler = Enabler(cast(Connection, Here()), "their-function", stream_only=False)
    enabler.__dict__["client"] = SimpleNamespace(invoke=invoke)
    with pytest.raises(UsageError, match="their-function does not announce late changes"):
        enabler.enable("orders")
    assert asked == [{"FunctionName": "their-function", "Payload": b'{"Records": []}'}]


def test_a_function_of_this_release_says_that_it_announces() -> None:
    """Its answer to an event without records is what `enable` asks for, and fails no batch."""
    answer = make_handler(lambda _: Bucket(NOON).archive())(json.loads(b'{"Records": []}'), None)
    assert answer["batchItemFailures"] == []
    payload = BytesIO(json.dumps(answer).encode())
    require_announcing(SimpleNamespace(invoke=lambda **_: {"Payload": payload}), "f")


def test_incomplete_ok_relies_on_no_announcement() -> None:
    """The way out of a version that contradicts what was announced is to read by the wide bound."""
    late = Late(0, NOON)
    late.change(0, "v")
    late.step(late.write(0, 1), 999)
    found = status_of(late.archive(lambda: late.now), NOON + 100)
    state = State("orders", found, None, (), (), (), True, {}, None)
    points = {ok: _within(late.floor, state, incomplete_ok=ok) for ok in (False, True)}
    assert {ok: point.lateness.announces for ok, point in points.items()} == {
        False: True,
        True: False,
    }


def test_the_rule_of_the_writer_is_the_rule_of_the_reader() -> None:
    """The latest put that needs no announcement keeps to the bound of a reader."""
    for age in range(NORMAL):
        if not is_late(NOON - age, NOON):
            last = version(NOON + BUDGET + SKEW)
            assert Lateness({}, NOON + DAY, announces=True).earliest(last) <= NOON - age
