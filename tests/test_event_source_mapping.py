"""A stream that calls the real handler by AWS's rules: no record is skipped without a report,
whatever fails."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.capture.batch import make_handler
from tests.event_source_mapping import RETENTION, Clock, Context, EventSourceMapping, Killed
from tests.journal import SCHEMA, T0, Journal, changes_in, check_equal, poisoned


class Bucket(MemoryStore):
    """A bucket that is unavailable for certain puts, or that kills the function at one of them."""

    puts = 0
    away = range(0)
    dies_at = -1
    dead = False

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        self.puts += 1
        self.dead = self.dead or self.puts == self.dies_at
        if self.dead:
            raise Killed
        if self.puts in self.away:
            raise ConnectionResetError("the bucket is away")
        super().put(path, payload, metadata)


def in_time() -> float:
    """A clock by which nothing is late, so that nothing else is put but changes."""
    return T0


@dataclass
class World:
    """A stream, its mapping to the real handler, the archive, and the failures bucket as contents
    by path."""

    clock: Clock = field(default_factory=lambda: Clock(T0 + 500.0))
    journal: Journal = field(default_factory=Journal)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.clock)
        self.archive = Archive(self.bucket, "", "orders", SCHEMA)
        self.handle = make_handler(lambda table: Archive(self.bucket, "", table, clock=in_time))

    def mapping(self, **settings: Any) -> EventSourceMapping:
        return EventSourceMapping(self.function, self.clock, destination=self.keep, **settings)

    def function(self, event: dict[str, Any], context: Any) -> Any:
        self.bucket.dead = False  # a new process
        return self.handle(event, context)

    def keep(self, path: str, content: bytes) -> None:
        self.failed[path] = json.loads(content)

    def sequences(self, records: list[dict[str, Any]]) -> list[str]:
        return [record["dynamodb"]["SequenceNumber"] for record in records]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("parallel", [1, 3, 10])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_every_change_arrives(world: World, size: int, parallel: int) -> None:
    """Whatever the batch size and the parallelization, the archive equals the table's history, with
    one put per change."""
    world.journal.fill(150)
    mapping = world.mapping(batch_size=size, parallel=parallel)
    mapping.read(world.journal.records)
    assert max(map(len, mapping.calls)) <= size
    check_equal(world.archive, world.journal)
    assert world.bucket.puts == 150


def test_partial_batch_response(world: World) -> None:
    """A batch resumes at the first record that was not written, and records before it are not
    delivered again."""
    records = [world.journal.write("same", str(number)) for number in range(10)]
    world.bucket.away = range(5, 8)  # the fifth put and two retries
    mapping = world.mapping()
    mapping.read(records)
    assert [len(call) for call in mapping.calls] == [10, 6, 6, 6]
    assert world.failed == {}
    check_equal(world.archive, world.journal)


def test_parallel_lanes_keep_the_order_of_a_key(world: World) -> None:
    """With ten lanes, the items of a shard are distributed, and the changes of each item are still
    written in order."""
    world.journal.fill(200, keys=30)
    mapping = world.mapping(batch_size=5, parallel=10)
    mapping.read(world.journal.records)
    seen: dict[str, list[str]] = {}
    for record in (record for call in mapping.calls for record in call):
        seen.setdefault(record["dynamodb"]["Keys"]["id"]["S"], []).append(
            record["dynamodb"]["SequenceNumber"]
        )
    assert all(found == sorted(found, key=int) for found in seen.values())
    check_equal(world.archive, world.journal)


def test_killed_in_the_middle_of_a_batch(world: World) -> None:
    """A function that is killed fails its batch, which is split and delivered again. Versions that
    are written twice change nothing."""
    world.journal.fill(60)
    world.bucket.dies_at = 20
    mapping = world.mapping()
    mapping.read(world.journal.records)
    assert [len(call) for call in mapping.calls] == [60, 30, 30]
    assert world.bucket.puts > 60
    check_equal(world.archive, world.journal)


def test_a_function_that_times_out(world: World) -> None:
    """With a slow bucket, the function stops before its deadline and reports the remaining records,
    so that no batch fails as a whole."""
    slow = world.bucket.put

    def put(path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        world.clock.sleep(3)
        slow(path, payload, metadata)

    world.bucket.put = put  # type: ignore[method-assign]
    records = [world.journal.write("same", str(number)) for number in range(40)]
    mapping = world.mapping(timeout=60, retries=5)
    mapping.read(records)
    assert [len(call) for call in mapping.calls] == [40, 23, 6]
    assert world.failed == {}
    check_equal(world.archive, world.journal)


def test_poison_goes_to_the_destination_and_the_shard_goes_on(world: World) -> None:
    """A record that cannot be parsed is retried, and then its batch is sent to the destination in
    Lambda's format. The shard continues."""
    records = world.journal.fill(60)
    records[30] = poisoned(records[30])
    mapping = world.mapping(batch_size=10, retries=3)
    mapping.read(records)
    ((path, told),) = world.failed.items()
    assert path.startswith(
        f"aws/lambda/{mapping.uuid}/shardId-00000001573689847184-864758bb/2026/11/21/2026-11-21T03.4"
    )
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    info = told["DDBStreamBatchInfo"]
    assert info["startSequenceNumber"] == records[30]["dynamodb"]["SequenceNumber"]
    assert (
        info["batchSize"] == len(json.loads(told["payload"])["Records"]) == 10
    )  # Lambda gives up on the whole batch
    assert json.loads(told["payload"])["Records"] == records[30:40]
    written = {change.stamp.sequence for change in changes_in(world.archive)}
    assert written == {int(each) for each in world.sequences(records[:30] + records[40:])}


@pytest.mark.parametrize("retries", [-1, 50])
def test_an_outage_of_hours_uses_up_retries(world: World, retries: int) -> None:
    """S3 refuses every put for three hours, in which Lambda tries a batch once a minute. With the
    default of the template nothing is given up. With fifty retries, every change is given up within
    the first hour, although the record age allows six."""
    records = world.journal.fill(40)
    world.bucket.away = range(1, 181)
    world.mapping(batch_size=100, retries=retries, record_age=6 * 3600, pause=60).read(records)
    conditions = {told["requestContext"]["condition"] for told in world.failed.values()}
    if retries == -1:
        assert conditions == set()
        check_equal(world.archive, world.journal)
    else:
        assert conditions == {"RetryAttemptsExhausted"}
        assert world.clock.now - T0 < 2 * 3600


def test_old_records_are_given_up(world: World) -> None:
    """A batch whose records are older than the mapping allows is sent to the destination, even if
    it was never tried."""
    records = world.journal.fill(30)
    world.clock.now = world.journal.now + 3601
    world.mapping(record_age=3600).read(records)
    (told,) = world.failed.values()
    assert told["requestContext"]["condition"] == "RecordAgeExceeded"
    assert json.loads(told["payload"])["Records"] == records
    assert world.bucket.puts == 0


def test_without_a_destination_a_day_loses_records(world: World) -> None:
    """Without a destination, records that cannot be written for a day are lost. This is the reason
    for the failures bucket."""
    records = world.journal.fill(10)
    records[9] = poisoned(records[9])
    mapping = world.mapping(pause=3600)
    mapping.destination = None
    mapping.read(records)
    assert mapping.lost == records[9:]
    assert world.clock.now - T0 > RETENTION


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    size=st.integers(1, 40),
    parallel=st.integers(1, 5),
    away=st.tuples(st.integers(0, 80), st.integers(0, 12)),
    dies_at=st.integers(-1, 80),
    twice=st.booleans(),
)
def test_no_delivery_makes_a_restore_wrong(
    seed: int, size: int, parallel: int, away: tuple[int, int], dies_at: int, twice: bool
) -> None:
    """Law 3, with Lambda's rules: after failures, kills, parallel lanes, and delivery of the whole
    stream twice, every restore is correct."""
    world = World(journal=Journal(seed=seed))
    world.journal.fill(60, keys=6)
    world.bucket.away = range(away[0], sum(away))
    world.bucket.dies_at = dies_at
    world.mapping(batch_size=size, parallel=parallel).read(world.journal.records)
    if twice:
        world.mapping(batch_size=size).read(world.journal.records)
    check_equal(world.archive, world.journal)


def test_two_copies_of_the_function_run_the_same_batch(world: World) -> None:
    """Two copies of the function that write the same batch at once, with one running in the middle
    of the other, leave every restore correct."""
    records = world.journal.fill(40, keys=4)
    store = Interrupted(world, records)
    slow = make_handler(lambda table: Archive(store, "", table, clock=in_time))
    assert slow({"Records": records}, Context(world.clock, world.clock.now + 60)) == {
        "batchItemFailures": []
    }
    assert world.bucket.puts == 80
    check_equal(world.archive, world.journal)


class Interrupted(MemoryStore):
    """Puts into the world's bucket. In the middle of the puts, the other copy writes the whole
    batch."""

    def __init__(self, world: World, records: list[dict[str, Any]]) -> None:
        super().__init__(world.clock)
        self.world, self.others, self.left = world, records, 15

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        with self._lock:
            self.left -= 1
            if self.left == 0:
                self.world.function(
                    {"Records": self.others}, Context(self.world.clock, self.world.clock.now + 60)
                )
            self.world.bucket.put(path, payload, metadata)
