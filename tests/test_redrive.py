"""Failed batches: how they affect coverage while they wait, and how they are redriven."""

import json
from collections.abc import Iterator
from collections.abc import Mapping as Object
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from restore.plan import Rebuild, Rewind
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import status_of
from stream_backup.archive.store import ConflictError
from stream_backup.capture import failures
from stream_backup.capture.batch import make_handler
from stream_backup.capture.failures import DONE, GIVEN_UP, FailedBatch, Place, waiting
from stream_backup.capture.holes import close_hole, lost_batches, record_holes
from stream_backup.capture.redrive import LONGEST, Redrive, give_up_nameless
from stream_backup.capture.tombstones import tombstones_kept
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.coverage import Coverage, Epoch, Hole
from stream_backup.core.key import key_hash
from stream_backup.core.moment import iso
from stream_backup.core.records import Mapping, RedriveRecord
from stream_backup.core.retention import Bound
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import BUDGET, NEVER, Lateness, written_until
from stream_backup.core.version import Version
from stream_backup.errors import CoverageError, IncompleteError, RecordError
from tests.backends import Backend
from tests.cli import Table, lines, next_second, proxy
from tests.event_source_mapping import Clock, EventSourceMapping, discarded
from tests.journal import (
    LABEL,
    SCHEMA,
    T0,
    Journal,
    assert_order,
    changes_in,
    check_equal,
    poisoned,
    restored,
)
from tests.servers import Aws
from tests.stack import Deployed

DAY = 24 * 3600
SHARD = "shardId-00000001573689847184-864758bb"


# ------------------------------------------------------------
# coverage

EPOCH = Epoch("A", T0, T0 + 100, None)


@pytest.mark.parametrize(
    ("hole", "end"),
    [
        (Hole("A", T0 + 300, T0 + 310), T0 + 299),
        (Hole("A", T0 + 50, T0 + 60), T0 + 49),  # no exact moment: the epoch starts later
        (Hole("A", T0 - 20, T0 + 10), T0 - 21),
        (
            Hole("A", T0 - 20, T0 - 10),
            T0 + 1000,
        ),  # stamped before the floor, so it does not affect this epoch
        (Hole("B", T0 + 300, T0 + 310), T0 + 1000),
        (Hole("A", T0 + 2000, T0 + 2000), T0 + 1000),
    ],
)
def test_a_failed_batch_is_a_hole(hole: Hole, end: int) -> None:
    """While changes of its stream wait, an epoch is exact up to the second before the first of
    them."""
    coverage = Coverage((EPOCH,), Bound(T0 + 1000, ""), (hole,))
    assert coverage.end_of(EPOCH).moment == end
    assert coverage.bounds
    assert [bound.moment for bound in coverage.bounds] == [EPOCH.start, end]
    for moment in range(T0 + 100, T0 + 1001, 10):
        assert coverage.epoch_at(moment) == (EPOCH if moment <= end else None)


def test_a_moment_in_a_hole_is_refused() -> None:
    """The error gives the last exact moment, and the hint gives the first waiting change and the
    command that redrives it."""
    coverage = Coverage(
        (EPOCH,),
        Bound(T0 + 1000, ""),
        (Hole("A", T0 + 500, T0 + 510), Hole("A", T0 + 300, T0 + 310)),
    )
    with pytest.raises(CoverageError, match=r"2026-11-21T03:37:39Z") as raised:
        coverage.require(T0 + 400, "orders")
    assert "stream-backup redrive orders" in raised.value.hint
    assert "from 2026-11-21T03:37:40Z on" in str(raised.value)
    assert coverage.require(T0 + 299, "orders") == EPOCH


# ------------------------------------------------------------
# redelivery


@pytest.fixture(scope="module")
def s3(moto_url: str) -> Any:
    return Aws(moto_url).client("s3")


class Fragile(MemoryStore):
    """A store in which every write after the first `last` writes fails, and each takes `took`
    seconds."""

    writes = 0
    last = 10**9
    took = 0.0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._sleep = clock.sleep

    def _write(
        self, path: str, payload: bytes, metadata: Object[str, str], allowed: bool = True
    ) -> bool:
        self.writes += 1
        if self.took:
            self._sleep(self.took)
        if self.writes > self.last:
            raise ConnectionResetError("the bucket is away")
        return super()._write(path, payload, metadata, allowed)


@dataclass
class World:
    """An archive in memory, a stream that is read by Lambda's rules, and a failures bucket on
    moto."""

    s3: Any
    clock: Clock = field(default_factory=lambda: Clock(T0 + 500.0))
    journal: Journal = field(default_factory=Journal)

    def __post_init__(self) -> None:
        self.bucket = Aws(self.s3.meta.endpoint_url).bucket()
        self.store = Fragile(self.clock)
        self.archive = Archive(self.store, "", "orders", SCHEMA, self.clock)
        self.handle = make_handler(lambda table: Archive(self.store, "", table, None, self.clock))
        self.mapping = EventSourceMapping(
            self.handle, self.clock, 10, retries=2, destination=self.keep
        )

    def keep(self, path: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=path, Body=content)

    def fail(self, records: list[dict[str, Any]], name: str = "batch") -> str:
        """Writes these records to the failures bucket as one batch and returns its path."""
        path = f"aws/lambda/{self.mapping.uuid}/{SHARD}/2026/11/21/{name}"
        self.keep(path, discarded(records, SHARD, "RetryAttemptsExhausted", 3, self.clock.now))
        return path

    @property
    def waiting(self) -> list[FailedBatch]:
        return waiting(self.s3, [Place(self.bucket)])

    @property
    def lateness(self) -> Lateness:
        return status_of(self.archive, int(self.clock.now)).lateness

    def paths(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found]

    def redrive(self, tombstones: int | None = None) -> Redrive:
        with ThreadPoolExecutor(4) as pool:
            work = Redrive(self.s3, self.archive, pool, self.clock, tombstones)
            for batch in self.waiting:
                work.redrive(batch)
        return work


@pytest.fixture
def world(s3: Any) -> World:
    return World(s3)


def test_poison_comes_back_once_it_is_cured(world: World) -> None:
    """A poison record goes to the failures bucket, and the shard continues. While the record cannot
    be parsed, a redrive writes the other records of its batch, keeps the batch, and reports the
    reason. Once it is fixed, a redrive makes every moment exact again."""
    records = world.journal.fill(60)
    delivered = [
        poisoned(record) if number == 33 else record for number, record in enumerate(records)
    ]
    world.mapping.read(delivered)
    (batch,) = world.waiting
    assert batch.hole == Hole(
        LABEL, *(records[number]["dynamodb"]["ApproximateCreationDateTime"] for number in (33, 39))
    )
    assert (batch.table, batch.records, batch.reason) == ("orders", 7, "RetryAttemptsExhausted")
    assert len(list(changes_in(world.archive))) == 53

    ((kept, reason),) = world.redrive().kept
    assert kept == batch
    assert "1 of 7 records" in reason
    assert "value 33" not in reason
    assert {change.stamp.sequence for change in changes_in(world.archive)} == {
        int(record["dynamodb"]["SequenceNumber"]) for record in records if record != records[33]
    }
    assert world.paths() == [batch.path]

    told = json.loads(world.s3.get_object(Bucket=world.bucket, Key=batch.path)["Body"].read())
    told["payload"] = json.dumps({"Records": records[33:40]})
    world.keep(batch.path, json.dumps(told).encode())
    work = world.redrive()
    assert (work.batches, work.kept) == (1, [])
    assert world.paths() == [DONE + batch.path]
    check_equal(world.archive, world.journal)
    assert world.redrive().batches == 0


@pytest.mark.parametrize("removed", [False, True])
def test_the_newest_by_stamp_is_written_last(world: World, removed: bool) -> None:
    """When a redrive writes late versions, it writes the item's newest version by stamp again, even
    if that is a tombstone, because lifecycle expiry depends on the order of writes. Items that are
    already in order are not rewritten."""
    old = world.journal.write("a", "old")
    world.journal.now += 10
    world.journal.write("a", None if removed else "new")
    world.journal.write("b", "first")
    world.handle({"Records": world.journal.records[1:]}, None)
    world.clock.sleep(100)
    world.journal.now += 100
    late = world.journal.write("b", "late, and the newest")
    world.fail([old, late])
    assert world.redrive().reasserted == 1
    check_equal(world.archive, world.journal)


def test_reassert_under_a_delete_marker(backend: Backend) -> None:
    """On every store, the newest version by stamp is written on top of an older one, with its
    metadata, whether or not a stray delete marker is on top. If it is on top already, nothing is
    written."""
    archive = Archive(backend.store, "", "orders", SCHEMA)
    journal = Journal()
    changes = [Change.streamed(journal.write("a", str(number))) for number in range(3)]
    for number in (0, 2, 1):
        archive.put(changes[number])
    assert archive.reassert(changes[0].name)
    assert archive.read(archive.history(changes[0].key).versions[0]) == changes[2]
    assert not archive.reassert(changes[0].name)
    archive.put(changes[1])
    backend.delete(archive.root + changes[0].name)
    assert archive.reassert(changes[0].name)
    assert archive.read(archive.history(changes[0].key).versions[0]) == changes[2]
    assert not archive.reassert("0" * 32)


def test_reassert_never_covers_a_change_that_arrives_meanwhile() -> None:
    """A change that arrives between the read and the put stays on top."""
    journal = Journal()
    changes = [Change.streamed(journal.write("a", str(number))) for number in range(4)]

    class Racing(MemoryStore):
        racer: Change | None = None

        def replace(self, path: str, payload: bytes, metadata: Object[str, str], etag: str) -> bool:
            if racer := self.racer:
                self.racer = None
                self.put(path, racer.payload, racer.metadata)
            return super().replace(path, payload, metadata, etag)

    store = Racing(lambda: T0 + 9)
    archive = Archive(store, "", "orders", SCHEMA)
    for number in (2, 0):
        archive.put(changes[number])
    store.racer = changes[3]
    archive.reassert(changes[0].name)
    assert archive.read(archive.history(changes[0].key).versions[0]) == changes[3]


class Disordered(MemoryStore):
    """A bucket whose clock differs by a second from put to put, which lists the versions of one
    second in any order, and in which another writer puts a change before a conditional put."""

    def __init__(self, random: Random, racers: list[Change]) -> None:
        super().__init__(lambda: T0 + random.choice([9, 10]))
        self.random = random
        self.racers = racers

    def versions(self, prefix: str, **how: Any) -> Iterator[Version]:
        found = list(super().versions(prefix, **how))
        self.random.shuffle(found)
        return iter(sorted(found, key=lambda each: (each.path, -each.written)))

    def replace(self, path: str, payload: bytes, metadata: Object[str, str], etag: str) -> bool:
        self.race(path)
        return super().replace(path, payload, metadata, etag)

    def create(self, path: str, payload: bytes, metadata: Object[str, str]) -> bool:
        self.race(path)
        return super().create(path, payload, metadata)

    def race(self, path: str) -> None:
        assert self.requests["put"] < 60, "it does not end"
        if self.racers:
            racer = self.racers.pop(0)
            self.put(path, racer.payload, racer.metadata)


@given(
    removals=st.lists(st.booleans(), min_size=1, max_size=6),
    racing=st.lists(st.booleans(), max_size=3),
    order=st.randoms(use_true_random=False),
    marker=st.booleans(),
)
def test_reassert_in_a_listing_without_order(
    removals: list[bool], racing: list[bool], order: Random, marker: bool
) -> None:
    """A reassertion ends with the newest version by stamp on top, whatever the order in which
    versions of about one second are listed, a delete marker over them or not, and even if two
    tombstones with the same ETag come one after the other."""
    journal = Journal()
    changes = [
        Change.streamed(journal.write("a", None if removed else f"{number}"))
        for number, removed in enumerate([False, *removals, *racing])
    ]
    written, racers = changes[: len(removals) + 1], changes[len(removals) + 1 :]
    order.shuffle(written)
    store = Disordered(order, racers)
    archive = Archive(store, "", "orders", SCHEMA)
    for change in written:
        archive.put(change)
    path = archive.root + written[0].name
    if marker:
        store.delete(path)
    archive.reassert(written[0].name)
    assert not archive.reassert(written[0].name)
    current = store.current(path)
    assert current is not None
    known = [archive.read(version).stamp for version in store.versions(path)]
    assert Stamp.of(dict(current.metadata)).rank == max(stamp.rank for stamp in known)


def test_reassert_that_is_always_overtaken() -> None:
    """A reassertion that meets a conflict each time ends with an error after a while."""
    journal = Journal()
    changes = [Change.streamed(journal.write("a", str(number))) for number in range(2)]
    archive = Archive(store := MemoryStore(lambda: T0 + 9), "", "orders", SCHEMA)
    for change in reversed(changes):
        archive.put(change)
    store.conflicts = lambda _: True
    with pytest.raises(ConflictError):
        archive.reassert(changes[0].name)


@pytest.mark.parametrize("days", [0.5, 3, 400])
def test_how_late_it_is_is_on_record_first(world: World, days: float) -> None:
    """A batch that is redriven later than usual would mislead readers that rely on the usual
    bounds. The archive therefore records how late it is before the first version is written, and
    with that record every moment is exact."""
    world.journal.fill(30, keys=3)
    batch, rest = world.journal.records[:20], world.journal.records[20:]
    world.handle({"Records": rest}, None)
    world.fail(batch)
    world.clock.sleep(days * DAY)
    world.store.last = world.store.writes + 2  # the record of the redrive, and the announcement
    with pytest.raises(IncompleteError, match="the bucket is away"):
        world.redrive()
    written = {change.stamp.sequence for change in changes_in(world.archive)}
    assert written == {int(record["dynamodb"]["SequenceNumber"]) for record in rest}
    world.store.last = 10**9
    late_by = int(world.clock.now) + BUDGET - batch[0]["dynamodb"]["ApproximateCreationDateTime"]
    announced = max(world.lateness.announced.values())
    assert announced // 2 < late_by <= announced
    work = world.redrive()
    assert work.batches == 1
    lateness = world.lateness
    for moment in world.journal.moments:
        assert restored(world.archive, moment, lateness) == world.journal.at(moment)
    assert_order(world.archive)


def test_without_the_record_a_reader_would_be_wrong(world: World) -> None:
    """With only the bound of one day, a reader misses a version that was redriven after three days.
    This is the reason for `lateness`."""
    record = world.journal.write("a", "late")
    world.fail([record])
    world.clock.sleep(3 * DAY)
    world.redrive()
    (history,) = world.archive.histories()
    moment = T0 + 10
    assert item_at(history.versions, moment, NEVER, world.archive.read) is None
    world.clock.sleep(60)
    lateness = world.lateness
    assert item_at(history.versions, moment, NEVER, world.archive.read, lateness) is not None
    for bodies in (True, False):
        assert Rebuild(world.archive, moment, NEVER, bodies).step(history).action == "absent"
        assert Rebuild(world.archive, moment, NEVER, bodies, lateness).step(history).action == "put"
    assert Rewind(world.archive, moment, NEVER, NEVER).step(history).action == "delete"
    assert Rewind(world.archive, moment, NEVER, NEVER, lateness).step(history).action == "unchanged"


def test_interrupted_anywhere_and_run_again(s3: Any) -> None:
    """Wherever a redrive is interrupted, a batch still waits, and running the redrive again
    completes it with every moment exact."""
    cut = 0
    while True:
        world = World(s3, journal=Journal(seed=cut))
        world.journal.fill(24, keys=3)
        records = world.journal.records
        world.handle({"Records": records[12:]}, None)
        paths = [world.fail(records[start : start + 4], f"batch-{start}") for start in (0, 4, 8)]
        world.clock.sleep(2 * DAY)
        world.store.last = world.store.writes + cut
        with suppress(IncompleteError, ConnectionResetError):
            world.redrive()
            break
        assert world.paths("aws/")
        world.store.last = 10**9
        world.redrive()
        assert world.paths() == [DONE + path for path in sorted(paths)]
        lateness = world.lateness
        for moment in world.journal.moments:
            assert restored(world.archive, moment, lateness) == world.journal.at(moment), (
                cut,
                moment,
            )
        assert_order(world.archive)
        cut += 2
    assert cut > 15


def test_interrupted_between_copy_and_delete(world: World) -> None:
    """A batch that was copied to done/ but not deleted yet still waits, and redriving it again does
    no harm."""
    world.journal.fill(10)
    path = world.fail(world.journal.records)
    world.s3.copy_object(
        Bucket=world.bucket, Key=DONE + path, CopySource={"Bucket": world.bucket, "Key": path}
    )
    assert world.redrive().batches == 1
    assert world.paths() == [DONE + path]
    check_equal(world.archive, world.journal)


def test_given_up(world: World) -> None:
    """A batch that can never be written can be given up, which records an outage over its changes.
    Two batches that begin in the same second are one outage."""
    records = world.journal.fill(12, per_second=2)
    paths = [
        world.fail([poisoned(record) for record in records[:count]], name)
        for name, count in (("a", 8), ("b", 2))
    ]
    with ThreadPoolExecutor(4) as pool:
        work = Redrive(world.s3, world.archive, pool, world.clock)
        for batch in world.waiting:
            assert not work.redrive(batch)
            work.give_up(batch, int(world.clock.now))
    assert world.paths() == sorted(GIVEN_UP + path for path in paths)
    (outage,) = Catalog(world.archive).outages()
    last = records[7]["dynamodb"]["ApproximateCreationDateTime"]
    assert (outage.stream, outage.since, outage.until) == (LABEL, T0 - 1, last)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"DDBStreamBatchInfo": {}}',
        b'{"DDBStreamBatchInfo": {"streamArn": 7}}',
    ],
)
def test_an_object_that_lambda_did_not_write(world: World, content: bytes) -> None:
    """An object among the failed batches of a mapping that is not a batch counts as a hole in all
    of history, because it may be a damaged batch. Reading its records fails with the reason."""
    prefix = f"aws/lambda/{world.mapping.uuid}/"
    world.keep(f"{prefix}x", content)
    (batch,) = waiting(world.s3, [Place(world.bucket, prefix, "orders", LABEL)])
    assert (batch.table, batch.stream, batch.since) == ("orders", LABEL, 0)
    assert batch.until > T0 + 100 * 365 * DAY
    with pytest.raises(RecordError, match="contains no records"):
        failures.records(world.s3, batch)


@pytest.mark.parametrize(
    "payload", [None, "", "{}", "[]", json.dumps({"Records": []}), json.dumps({"Records": [1]}), 7]
)
def test_a_batch_without_its_records(world: World, payload: Any) -> None:
    """A batch without its records is still a hole, from the second that Lambda reports, and is kept
    with the reason."""
    told = json.loads(discarded(world.journal.fill(5), SHARD, "RetryAttemptsExhausted", 1, T0)) | {
        "payload": payload
    }
    world.keep(f"aws/lambda/{world.mapping.uuid}/x", json.dumps(told).encode())
    (batch,) = world.waiting
    assert batch.since == T0
    ((_, reason),) = world.redrive().kept
    assert "contains no records" in reason


def test_the_records_widen_what_lambda_says(world: World) -> None:
    """A hole begins at the oldest and ends at the newest change of the batch, whatever the order of
    the records."""
    records = world.journal.fill(30)
    told = json.loads(discarded(records[10:11], SHARD, "RetryAttemptsExhausted", 1, T0))
    world.keep(
        f"aws/lambda/{world.mapping.uuid}/x",
        json.dumps(told | {"payload": json.dumps({"Records": records})}).encode(),
    )
    (batch,) = world.waiting
    assert batch.hole == Hole(LABEL, T0, records[-1]["dynamodb"]["ApproximateCreationDateTime"])


def test_every_redrive_announces_for_its_hour(world: World) -> None:
    """How late a redrive wrote is recorded for the hour in which it wrote."""
    for days in (9, 0):
        world.clock.sleep(days * DAY)
        world.journal.now = int(world.clock.now) - (9 * DAY if days else 0)
        world.fail([world.journal.write("a", f"{days}")], f"{days}")
        world.redrive()
    (announced,) = world.lateness.announced.values()
    assert 9 * DAY < announced <= 18 * DAY
    assert [record.lateness for record in redrives(world)] == [0, 0]


def test_a_redrive_that_did_not_announce(world: World) -> None:
    """The lateness that an earlier release recorded still widens the bound of every version."""
    world.archive.meta.write(
        "redrives/old",
        {"name": "old", "lateness": 7 * DAY, "last": "2026-11-21T03:32:40Z"}
        | {"batches": 1, "changes": 1, "reasserted": 0},
    )
    version = Version("T/a", "v", T0, 9, "")
    bounds = [lateness.earliest(version) for lateness in (Lateness(), world.lateness)]
    assert bounds[0] - bounds[1] == 7 * DAY


def redrives(world: World) -> list[RedriveRecord]:
    return [RedriveRecord.of(each) for each in world.archive.meta.read("redrives").values()]


def test_the_event_as_an_object(world: World) -> None:
    """The payload may also be a JSON object, although Lambda writes it as text."""
    told = json.loads(discarded(world.journal.fill(5), SHARD, "RetryAttemptsExhausted", 1, T0))
    world.keep(
        f"aws/lambda/{world.mapping.uuid}/x",
        json.dumps(told | {"payload": json.loads(told["payload"])}).encode(),
    )
    assert world.redrive().changes == 5
    check_equal(world.archive, world.journal)


def test_a_record_of_another_table(world: World) -> None:
    """A record of another table is never written to this table's archive."""
    mine, other = world.journal.write("a", "1"), Journal("users").write("a", "2")
    world.fail([mine, other])
    ((_, reason),) = world.redrive().kept
    assert "not of table orders" in reason
    assert len(list(changes_in(world.archive))) == 1


def test_put_aside_by_somebody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that another redrive moved aside between the listing and the read is skipped."""
    world.fail(world.journal.fill(3))
    real = failures._paths  # noqa: SLF001 - the instant between two requests

    def listed(*arguments: Any) -> Iterator[str]:
        for path in real(*arguments):
            world.s3.delete_object(Bucket=world.bucket, Key=path)
            yield path

    monkeypatch.setattr(failures, "_paths", listed)
    assert world.waiting == []


# ------------------------------------------------------------
# holes that expire


def lambda_path(world: World, written: int) -> str:
    """Where Lambda puts a batch that it gives up on in this second."""
    day, time = iso(written).rstrip("Z").split("T")
    return (
        f"aws/lambda/{world.mapping.uuid}/{SHARD}/{day.replace('-', '/')}"
        f"/{day}T{time.replace(':', '.')}-0123456789abcdef"
    )


def test_an_unreadable_object_is_a_hole_of_a_day(world: World) -> None:
    """What an object contains that cannot be read is at most a day older than the time in its name:
    neither the hole nor the outage that it becomes reaches back to the beginning of time."""
    written = T0 + 40 * DAY
    world.keep(lambda_path(world, written), b"damaged")
    prefix = f"aws/lambda/{world.mapping.uuid}/"
    (batch,) = waiting(world.s3, [Place(world.bucket, prefix, "orders", LABEL)])
    assert written - DAY - 3600 < batch.since <= written - DAY
    assert written <= batch.until < written + 60
    with ThreadPoolExecutor(1) as pool:
        work = Redrive(world.s3, world.archive, pool, world.clock)
        assert not work.redrive(batch)
        world.clock.now = written + 400 * DAY
        work.give_up(batch, int(world.clock.now))
    (outage,) = Catalog(world.archive).outages()
    assert (outage.since, outage.until) == (batch.since - 1, batch.until)


def test_two_redrives_at_once(world: World) -> None:
    """A batch that another redrive moves aside after it was listed, before it is read or before it
    is moved, is no error."""
    records = world.journal.fill(20)
    for number in (0, 1):
        world.fail(records[number * 10 : number * 10 + 10], f"batch-{number}")
    first, second = world.waiting
    with ThreadPoolExecutor(4) as pool:
        one, other = (Redrive(world.s3, world.archive, pool, world.clock) for _ in range(2))
        assert one.redrive(first)
        assert other.redrive(first)
        failures.move(world.s3, second, DONE)
        failures.move(world.s3, second, DONE)
        assert (one.kept, other.kept) == ([], [])
    assert world.paths() == [DONE + first.path, DONE + second.path]


def test_a_change_does_not_come_back_when_its_tombstone_has_expired(world: World) -> None:
    """A change that is older than the bucket keeps tombstones may have been followed by a removal
    whose tombstone has expired. It is written only if the item has a later current version."""
    for name in ("gone", "marked", "changed", "removed"):
        world.journal.write(name, "old")
    batch = list(world.journal.records)
    world.journal.now += 10
    for name in ("gone", "marked", "removed"):
        world.journal.write(name, None)
    world.journal.write("changed", "new")
    world.handle({"Records": world.journal.records[4:]}, None)
    gone, marked = (f"orders/{key_hash({'id': {'S': name}})}" for name in ("gone", "marked"))
    del world.store.objects[gone]  # a lifecycle rule removed the tombstone, then its marker
    world.store.delete(marked)  # a lifecycle rule has put a marker on it
    path = world.fail(batch)
    world.clock.sleep(31 * DAY)
    work = world.redrive(tombstones=30 * DAY)
    ((_, reason),) = work.kept
    assert "2 of 4 records" in reason
    assert "tombstone" in reason
    assert work.changes == 2
    assert world.paths() == [path]
    assert restored(world.archive, int(world.clock.now), world.lateness) == world.journal.at(
        int(world.clock.now)
    )
    assert_order(world.archive)


@pytest.mark.parametrize("kept", [None, 40 * DAY])
def test_where_tombstones_expire_a_batch_has_a_limited_time(world: World, kept: int | None) -> None:
    """A change counts as safe for LONGEST seconds. What is not written by then waits for the next
    redrive; without rules there is no limit."""
    world.fail(world.journal.fill(20, keys=1))
    world.store.took = 100
    if kept is None:
        assert world.redrive(tombstones=kept).changes == 20
        return
    with pytest.raises(IncompleteError, match="takes too long"):
        world.redrive(tombstones=kept)
    assert 0 < len(list(changes_in(world.archive))) < LONGEST // 100
    world.store.took = 0
    assert world.redrive(tombstones=kept).changes == 20
    check_equal(world.archive, world.journal)


def test_an_unreadable_batch_that_was_given_up_is_moved_by_the_next_run(world: World) -> None:
    """A run that is interrupted after it recorded that it gives a batch up, and before the batch is
    moved, leaves it waiting. The next run moves it, although nothing can be read of it."""
    path = world.fail(world.journal.fill(4))
    world.keep(path, b"{}")
    (batch,) = world.waiting
    close_hole(Catalog(world.archive), batch, GIVEN_UP, int(world.clock()))
    assert world.redrive().kept == []
    assert world.paths() == [GIVEN_UP + path]


def test_a_redrive_that_is_killed_covers_what_it_wrote(world: World) -> None:
    """While a redrive writes, its record says until when it may do so, as nobody else says it when
    it is killed: until then, older versions may cover newer ones."""
    world.fail(world.journal.fill(20, keys=1))
    world.store.took = 100
    world.store.last = world.store.writes + 9
    with pytest.raises(IncompleteError):
        world.redrive()
    (record,) = Catalog(world.archive).redrives()
    written = max(
        version.written for history in world.archive.histories() for version in history.versions
    )
    assert written > record.began + BUDGET
    assert written <= written_until(record.last)


@pytest.mark.parametrize(("kept", "age"), [(None, 400), (40 * DAY, 31)])
def test_while_tombstones_are_kept_every_change_is_written(
    world: World, kept: int | None, age: int
) -> None:
    """Where no rule expires tombstones, or none can have expired yet, the only change of an item
    comes back however late it is."""
    world.fail(world.journal.fill(5))
    world.clock.sleep(age * DAY)
    assert world.redrive(tombstones=kept).batches == 1


RULE = {"Status": "Enabled", "Filter": {"Prefix": ""}}
ELSEWHERE = RULE | {"Filter": {"Prefix": "x"}}
SUPERSEDED = RULE | {"NoncurrentVersionExpiration": {"NoncurrentDays": 35}}
TOMBSTONES = {
    "Status": "Enabled",
    "Filter": {"ObjectSizeLessThan": 1},
    "Expiration": {"Days": 90},
}


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ([], None),
        ([SUPERSEDED], None),
        ([TOMBSTONES], None),
        ([TOMBSTONES, SUPERSEDED], 125),
        ([TOMBSTONES, SUPERSEDED | {"Status": "Disabled"}], None),
        ([TOMBSTONES, SUPERSEDED, RULE | {"Expiration": {"Days": 7}}], 42),
        (
            [TOMBSTONES, SUPERSEDED, RULE | {"Filter": {"Prefix": "x"}, "Expiration": {"Days": 7}}],
            125,
        ),
        ([SUPERSEDED, RULE | {"Expiration": {"ExpiredObjectDeleteMarker": True}}], None),
    ],
)
def test_how_long_tombstones_are_kept(rules: list[dict[str, Any]], days: int | None) -> None:
    """A tombstone is gone after the rule that expires it and then the rule for superseded
    versions; without both it stays for ever."""
    client = SimpleNamespace(get_bucket_lifecycle_configuration=lambda **_: {"Rules": rules})
    assert tombstones_kept(client, "b", "orders/") == (None if days is None else days * DAY)


def test_rules_that_may_not_be_read() -> None:
    """Without permission to read the rules the shortest that S3 allows are assumed: two days."""

    def denied(**_: Any) -> Any:
        error = {"Error": {"Code": "AccessDenied", "Message": ""}}
        raise ClientError(error, "GetBucketLifecycleConfiguration")

    client = SimpleNamespace(get_bucket_lifecycle_configuration=denied)
    assert tombstones_kept(client, "b", "orders/") == 2 * DAY


def test_a_hole_stays_when_its_object_is_gone(world: World) -> None:
    """A failed batch that was seen stays a hole after its object has expired, until it is given up;
    one that was redriven or given up is no hole, even if its record was written late."""
    records = world.journal.fill(12)
    for number in range(3):
        world.fail(records[number * 4 : number * 4 + 4], f"batch-{number}")
    catalog, batches = Catalog(world.archive), world.waiting
    record_holes(catalog, batches, T0)
    record_holes(catalog, batches, T0)
    assert lost_batches(catalog, batches) == []
    for batch in batches:
        world.s3.delete_object(Bucket=world.bucket, Key=batch.path)
    assert [each.hole for each in lost_batches(catalog, [])] == [each.hole for each in batches]
    with ThreadPoolExecutor(1) as pool:
        work = Redrive(world.s3, world.archive, pool, world.clock)
        (lost, *_) = lost_batches(catalog, [])
        assert not work.redrive(lost)
        assert "no longer in the failures bucket" in work.kept[0][1]
        work.give_up(lost, int(world.clock.now))
    assert [each.path for each in lost_batches(catalog, [])] == [each.path for each in batches[1:]]
    assert catalog.outages()[0].since == batches[0].since - 1
    close_hole(catalog, batches[1], DONE, T0)
    record_holes(catalog, batches, T0)  # by somebody who listed it before it was moved
    assert [each.path for each in lost_batches(catalog, [])] == [batches[2].path]


@pytest.mark.parametrize("give_up", [False, True])
def test_a_redriven_batch_is_no_hole(world: World, give_up: bool) -> None:
    """A redrive closes the record of a batch before it moves the batch aside, so that no reader
    finds neither."""
    records = world.journal.fill(4)
    world.fail([poisoned(each) for each in records] if give_up else records)
    catalog, (batch,) = Catalog(world.archive), world.waiting
    record_holes(catalog, [batch], T0)
    with ThreadPoolExecutor(4) as pool:
        work = Redrive(world.s3, world.archive, pool, world.clock)
        assert work.redrive(batch) is not give_up
        if give_up:
            work.give_up(batch, int(world.clock.now))
    assert lost_batches(catalog, world.waiting) == []


def test_an_object_of_an_unknown_mapping_is_given_up(world: World) -> None:
    """An object that names no table, under a mapping that no archive knows, may hold changes of any
    table whose failed batches go to that bucket: giving it up is an outage of each."""
    written = T0 + 3 * DAY
    path = lambda_path(world, written).replace(world.mapping.uuid, "unknown")
    world.keep(path, b"damaged")
    users = Archive(world.store, "", "users", SCHEMA)
    Catalog(world.archive).write_mapping(Mapping("a", LABEL, "f", world.bucket, T0))
    Catalog(users).write_mapping(Mapping("b", LABEL, "f", "another bucket", T0))
    (batch,) = world.waiting
    assert batch.table == ""
    give_up_nameless(world.s3, [world.archive, users], batch, written + 60)
    assert world.paths() == [GIVEN_UP + path]
    (outage,) = Catalog(world.archive).outages()
    assert (outage.stream, outage.since, outage.until) == (LABEL, batch.since - 1, batch.until)
    assert Catalog(users).outages() == []


# ------------------------------------------------------------
# the commands


def put(table: Table, key: str, value: str) -> None:
    table.put({"id": {"S": key}, "value": {"S": value}})


@pytest.mark.server
def test_the_whole_story(aws: Aws) -> None:
    """A poison record waits in the failures bucket: status reports it, a restore that it makes
    inexact is refused with a hint, and redrive keeps it until it is fixed. After that, every
    restore is exact. A batch that is given up is a gap until the next backfill."""
    deployed = Deployed.make(aws)
    shell, table = deployed.shell, Table.create(aws, "redriven")
    for number in range(5):
        put(table, f"k{number}", "first")
    enabled = shell.done("enable", "redriven", "--json").json
    store = aws.store(deployed.archive_bucket)
    handle = make_handler(lambda name: Archive(store, "production/", name))
    mapping = deployed.mapping(enabled["mapping"], handle, Clock(T0), retries=2)
    delivered = 0

    def deliver(*poison: str) -> list[dict[str, Any]]:
        """Makes the function read the new records of the stream. The changes of the items in
        `poison` are damaged."""
        nonlocal delivered
        records = deployed.stream(enabled["arn"])[delivered:]
        delivered += len(records)
        mapping.clock.now = records[-1]["dynamodb"]["ApproximateCreationDateTime"] + 1
        mapping.read(
            poisoned(each) if each["dynamodb"]["Keys"]["id"]["S"] in poison else each
            for each in records
        )
        return records

    shell.done("backfill", "redriven")
    put(table, "k0", "second")
    before, rows_before = next_second(), table.rows()
    next_second()
    put(table, "k0", "poison")
    put(table, "k1", "third")
    table.delete({"id": {"S": "k2"}})
    after, rows_after = next_second(), table.rows()
    (poison,) = [
        each
        for each in deliver("k0")[-4:]
        if each["dynamodb"].get("NewImage", {}).get("value") == {"S": "poison"}
    ]
    # k0's change in the second before is damaged too, so the hole begins there.

    status = shell.done("status", "redriven", "--json").json
    assert len(status["failed_batches"]) == 1
    assert status["latest"] < before
    assert f"failed batches  1 with changes from {before} on" in shell.done("status").out
    for words in (("--to", "-"), ("--plan",), ("--in-place", "--yes")):
        shell.run("restore", "redriven", "--at", after, *words).refused(
            4, "redrive redriven", before
        )
    assert (
        lines(shell.done("restore", "redriven", "--at", after, "--to", "-", "--incomplete-ok").out)
        != rows_after
    )

    said = shell.run("redrive", "redriven", "--json")
    assert said.code == 3, said
    assert said.json["failed"][0]["batch"].startswith(
        f"s3://{deployed.failures}/aws/lambda/{enabled['mapping']}/"
    )
    assert "cannot be parsed" in said.json["failed"][0]["reason"]
    assert "--give-up" in said.err.splitlines()[-1]

    (path,) = deployed.waiting()
    told = json.loads(
        aws.client("s3").get_object(Bucket=deployed.failures, Key=path)["Body"].read()
    )
    cured = {each["dynamodb"]["SequenceNumber"]: each for each in deployed.stream(enabled["arn"])}
    records = [
        cured[each["dynamodb"]["SequenceNumber"]] for each in json.loads(told["payload"])["Records"]
    ]
    assert poison in records
    deployed.keep(path, json.dumps(told | {"payload": json.dumps({"Records": records})}).encode())
    assert shell.done("redrive", "--json").json["tables"][0]["changes"] == len(records)
    assert deployed.waiting() == [DONE + path]
    assert lines(shell.done("restore", "redriven", "--at", before, "--to", "-").out) == rows_before
    assert lines(shell.done("restore", "redriven", "--at", after, "--to", "-").out) == rows_after
    assert shell.done("redrive", "redriven", "--json").json["tables"] == []
    shell.done("restore", "redriven", "--at", before, "--in-place", "--yes")
    assert table.rows() == rows_before

    deliver()
    next_second()
    put(table, "k3", "never to be known")
    lost = next_second()
    deliver("k3")
    given_up = shell.done("redrive", "redriven", "--give-up", "--json").json
    assert len(given_up["failed"]) == 1
    status = shell.done("status", "redriven", "--json").json
    assert status["failed_batches"] == []
    assert status["latest"] < lost
    assert "given up" in status["gaps"][-1]["reason"]
    shell.run("restore", "redriven", "--at", lost, "--to", "-").refused(4, "outside")
    shell.done("backfill", "redriven")
    now = next_second()
    assert lines(shell.done("restore", "redriven", "--at", now, "--to", "-").out) == table.rows()


@pytest.mark.server
def test_an_object_that_expires(aws: Aws) -> None:
    """A failed batch whose object is gone stays a hole that status and restore report, until it is
    given up; so can an object be that names no table."""
    deployed = Deployed.make(aws)
    shell, table = deployed.shell, Table.create(aws, "expired")
    put(table, "k", "v")
    uuid = shell.done("enable", "expired", "--json").json["mapping"]
    shell.done("backfill", "expired")
    moment = next_second()
    day, clock = moment.rstrip("Z").split("T")
    name = f"{SHARD}/{day.replace('-', '/')}/{day}T{clock.replace(':', '.')}-0123"
    deployed.keep(f"aws/lambda/{uuid}/{name}", b"damaged")
    assert shell.run("redrive", "expired").code == 3
    (path,) = deployed.waiting()
    aws.client("s3").delete_object(Bucket=deployed.failures, Key=path)
    (batch,) = shell.done("status", "expired", "--json").json["failed_batches"]
    assert "no longer in the failures bucket" in json.dumps(batch)
    shell.run("restore", "expired", "--at", moment, "--to", "-").refused(4, "redrive expired")
    said = shell.run("redrive", "--json")
    assert (said.code, said.json["failed"][0]["table"]) == (3, "expired")
    deployed.keep(f"aws/lambda/unknown/{name}", b"damaged")
    assert "redrive --give-up" in shell.run("redrive").err.splitlines()[-1]
    given_up = shell.done("redrive", "--give-up").err
    assert "next backfill of: expired" in given_up
    assert deployed.waiting() == [f"{GIVEN_UP}aws/lambda/unknown/{name}"]
    status = shell.done("status", "expired", "--json").json
    assert (status["failed_batches"], status["earliest"]) == ([], None)
    shell.done("backfill", "expired")
    now = next_second()
    assert lines(shell.done("restore", "expired", "--at", now, "--to", "-").out) == table.rows()


@pytest.mark.server
def test_out_of_sight(aws: Aws) -> None:
    """Without permission to read the failures bucket, a restore works and reports what is unknown.
    If no failures bucket is known, redrive names the option that specifies one."""
    deployed = Deployed.make(aws)
    table = Table.create(aws, "unseen")
    put(table, "k", "v")
    deployed.shell.done("enable", "unseen")
    deployed.shell.done("backfill", "unseen")
    moment = next_second()
    with proxy(aws.url) as between:
        denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        between.rule = lambda request: (
            (403, denied) if request.path.startswith(f"/{deployed.failures}") else None
        )
        shell = replace(deployed.shell, aws=between.aws)
        said = shell.done("restore", "unseen", "--at", moment, "--to", "-")
        assert lines(said.out) == table.rows()
        assert "No permission to read the failures bucket" in said.err
        assert shell.done("status", "unseen", "--json").json["failed_batches"] is None
        shell.run("redrive", "unseen").refused(2, "not permit")
    bare = replace(
        deployed.shell, archive=f"s3://{aws.bucket()}", more={"STREAM_BACKUP_STACK": "nowhere"}
    )
    bare.run("redrive").refused(2, "--failures")
    assert bare.done("redrive", "--failures", deployed.failures, "--json").json["tables"] == []
