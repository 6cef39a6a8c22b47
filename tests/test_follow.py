"""`follow` reads a stream as Lambda does: every shard after its parent, and every record at least
once. Where records may have been lost, it records an outage."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from obstore.exceptions import GenericError

import stream_backup.capture.delivery
import stream_backup.capture.follow
import stream_backup.capture.shards
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.dynamodb import Answer
from stream_backup.aws.patience import PATIENCE, PatientAttempts
from stream_backup.capture.follow import DESCRIBE, Follower
from stream_backup.capture.shards import Shard, ready
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Outage, Stream
from stream_backup.core.time_rule import QUIET, QUIET_READS, RETENTION, first_stamp, readable
from stream_backup.errors import UnavailableError
from stream_backup.progress import Silent

START = 1_800_000_000
LABEL = "2027-01-15T08:00:00.000"
BEGIN = first_stamp(START) - 1
"""The second before the first that a record of the stream can have."""

ARN = f"arn:aws:dynamodb:us-east-1:111122223333:table/orders/stream/{LABEL}"


running: list["FakeStreams"] = []
"""The streams of the test that runs: their clock is the only one."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing sleeps in earnest, and a shard that failed may be read again at once."""

    def now() -> float:
        return running[-1].now

    def sleep(seconds: float) -> None:
        running[-1].now += seconds

    monkeypatch.setattr(stream_backup.capture.delivery, "LONGEST_WAIT", 0.0)
    monkeypatch.setattr(PatientAttempts, "_wait", lambda _, seconds: sleep(seconds))
    for module in (
        stream_backup.capture.delivery,
        stream_backup.capture.follow,
        stream_backup.capture.shards,
    ):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=now, monotonic=now, sleep=sleep))


@dataclass
class FakeShard:
    parent: str | None = None
    closed: bool = False
    records: list[dict[str, Any]] = field(default_factory=list)
    trimmed: int = 0
    """The number of its records that have expired."""


@dataclass
class FakeStreams:
    """DynamoDB Streams as AWS documents it: pages of shards, iterators that expire, records that
    are trimmed, and empty answers although more records follow."""

    now: float = START
    shards: dict[str, FakeShard] = field(default_factory=dict)
    enabled: bool = True
    page: int = 100
    per_answer: int = 3
    empty_answers: int = 0
    calls: list[str] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    sequence: int = 0
    tells_ends: bool = True
    """Whether a description has the last sequence number of a closed shard."""
    trouble: Callable[[str], Exception | None] = lambda operation: None
    """What a call of this operation fails of."""

    def __post_init__(self) -> None:
        running[:] = [self]

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        self.calls.append(operation)
        if error := self.trouble(operation):
            raise error
        return Answer(getattr(self, operation)(**request), int(self.now))

    def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str = "") -> dict[str, Any]:  # noqa: N803
        assert StreamArn == ARN
        names = sorted(self.shards)
        rest = [name for name in names if name > ExclusiveStartShardId][: self.page]
        shards = [
            {"ShardId": name, "SequenceNumberRange": self._range(self.shards[name])}
            | ({"ParentShardId": parent} if (parent := self.shards[name].parent) else {})
            for name in rest
        ]
        description: dict[str, Any] = {
            "Shards": shards,
            "StreamStatus": "ENABLED" if self.enabled else "DISABLED",
        }
        if rest and rest[-1] != names[-1]:
            description["LastEvaluatedShardId"] = rest[-1]
        return {"StreamDescription": description}

    def _range(self, shard: FakeShard) -> dict[str, str]:
        found = {"StartingSequenceNumber": str(10**20)}
        if shard.closed and self.tells_ends:
            found["EndingSequenceNumber"] = str(10**20 + self.sequence)
        return found

    def get_shard_iterator(
        self,
        StreamArn: str,  # noqa: N803
        ShardId: str,  # noqa: N803
        ShardIteratorType: str,  # noqa: N803
        SequenceNumber: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        shard = self.shards[ShardId]
        if ShardIteratorType == "TRIM_HORIZON":
            return {"ShardIterator": f"{ShardId}/{shard.trimmed}/{len(self.calls)}"}
        sequences = [each["dynamodb"]["SequenceNumber"] for each in shard.records]
        place = sequences.index(SequenceNumber) + 1
        if place <= shard.trimmed:
            raise failure("TrimmedDataAccessException", "GetShardIterator")
        return {"ShardIterator": f"{ShardId}/{place}/{len(self.calls)}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        if ShardIterator in self.expired:
            raise failure("ExpiredIteratorException", "GetRecords")
        name, start, _ = ShardIterator.split("/")
        shard, place = self.shards[name], int(start)
        if place < shard.trimmed:
            raise failure("TrimmedDataAccessException", "GetRecords")
        count = min(self.per_answer, Limit)
        if self.empty_answers:
            self.empty_answers, count = self.empty_answers - 1, 0
        found = shard.records[place : place + count]
        following = f"{name}/{place + len(found)}/{len(self.calls)}"
        ended = shard.closed and place + len(found) == len(shard.records)
        return {"Records": found} | ({} if ended else {"NextShardIterator": following})

    def write(self, shard: str, *keys: str) -> None:
        """Writes a change of each of these items, one second apart."""
        for key in keys:
            self.now += 1
            self.sequence += 1
            image = {"id": {"S": key}, "n": {"N": str(self.sequence)}}
            data: dict[str, Any] = {
                "Keys": {"id": {"S": key}},
                "NewImage": image,
                "SequenceNumber": str(10**20 + self.sequence),
            }
            data |= {
                "ApproximateCreationDateTime": float(self.now),
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            }
            self.shards[shard].records.append({"eventName": "INSERT", "dynamodb": data})


def failure(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


@dataclass
class Sink:
    """A handler that keeps the records that it receives. `answer` decides which of them fail."""

    delivered: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    answer: Callable[[list[str]], list[str]] = lambda keys: []
    """Takes the keys of a batch and returns the keys that failed."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        records = event["Records"]
        assert all(record["eventSourceARN"] == ARN for record in records)
        keys = [record["dynamodb"]["Keys"]["id"]["S"] for record in records]
        self.batches.append(keys)
        failed = self.answer(keys)
        first = min((keys.index(key) for key in failed), default=len(keys))
        self.delivered += keys[:first]
        sequences = {
            key: record["dynamodb"]["SequenceNumber"]
            for key, record in zip(keys, records, strict=True)
        }
        return {"batchItemFailures": [{"itemIdentifier": sequences[key]} for key in failed]}


@dataclass
class Noting(Silent):
    """Keeps the notes that are reported."""

    said: list[str]

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass
class World:
    streams: FakeStreams = field(default_factory=FakeStreams)
    sink: Sink = field(default_factory=Sink)
    said: list[str] = field(default_factory=list)
    recorded: int = START

    def __post_init__(self) -> None:
        self.patience = PatientAttempts(self.said.append, lambda: self.streams.now)
        self.store = MemoryStore(lambda: self.streams.now)
        archive = Archive(self.store, "", "orders", attempts=self.patience)
        self.meta = Catalog(archive)

    def follower(self) -> Follower:
        """Returns one run of `follow`, already started."""
        stream = Stream(LABEL, ARN, "id", START, True, "follow", self.recorded)
        dynamodb: Any = SimpleNamespace(call=self.call)
        found = Follower(dynamodb, self.meta, stream, self.sink, Noting(self.said))
        found.start()
        return found

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        """Calls an operation with patience, as the client of a command does."""
        work = lambda: self.streams.call(operation, request)  # noqa: E731
        return self.patience(f"DynamoDBStreams {operation}", work)

    def read(
        self, rounds: int = 20, follower: Follower | None = None, pace: float = 0.0
    ) -> Follower:
        """Reads for so many rounds, which take `pace` seconds each, keeps the checkpoint and
        stops."""
        follower = follower or self.follower()
        for _ in range(rounds):
            follower.round()
            self.streams.now += pace
        follower.checkpoint(running=False, force=True)
        return follower

    @property
    def outages(self) -> list[Outage]:
        return self.meta.outages()


@pytest.fixture
def world() -> World:
    return World()


def test_one_shard(world: World) -> None:
    """Every record of a shard is delivered once and in order, however many answers that takes."""
    world.streams.shards["a"] = FakeShard()
    keys = [str(number) for number in range(10)]
    world.streams.write("a", *keys)
    follower = world.read()
    assert world.sink.delivered == keys
    assert follower.changes == 10
    assert world.outages == []


def test_parents_come_first(world: World) -> None:
    """No record of a shard is delivered before all records of its parent, including across splits
    and grandchildren."""
    shards = {"c": None, "b1": "c", "b2": "c", "a": "b1", "z": "b2"}
    world.streams.shards = {
        name: FakeShard(parent, closed=name in ("c", "b1", "b2")) for name, parent in shards.items()
    }
    for number in range(5):
        for name in shards:
            world.streams.write(name, f"{name}-{number}")
    world.read(40)
    order = {key: place for place, key in enumerate(world.sink.delivered)}
    assert len(order) == 25
    for name, parent in shards.items():
        if parent:
            assert order[f"{parent}-4"] < order[f"{name}-0"]


def test_ready_shards() -> None:
    """A shard can be started when its parent is done or gone. It is not started twice, nor after it
    is done."""
    shards = {
        name: Shard(name, parent)
        for name, parent in {"a": None, "b": "a", "c": "gone", "d": "b"}.items()
    }
    assert [shard.name for shard in ready(shards, set(), {})] == ["a", "c"]
    assert [shard.name for shard in ready(shards, {"a"}, {"c": 1})] == ["b"]
    assert [shard.name for shard in ready(shards, {"a", "b"}, {"c": 1})] == ["d"]
    assert list(ready(shards, {"a", "b", "c", "d"}, {})) == []


def test_all_pages_of_shards(world: World) -> None:
    """A stream of 250 shards, described 100 at a time, is read completely."""
    world.streams.shards = {f"shard-{number:03}": FakeShard() for number in range(250)}
    for name in world.streams.shards:
        world.streams.write(name, name)
    world.read(3)
    assert sorted(world.sink.delivered) == sorted(world.streams.shards)


def test_empty_answers_are_not_the_end(world: World) -> None:
    """GetRecords may answer empty in the middle of a shard, hundreds of times: for QUIET seconds
    nothing is claimed of it."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "x")
    world.streams.empty_answers = 500
    follower = world.read(500, pace=(QUIET - 1) / 500)
    assert world.sink.delivered == []
    assert follower.caught_up == BEGIN
    world.read(1, follower)
    assert world.sink.delivered == ["x"]


def test_few_empty_answers_are_not_the_end(world: World) -> None:
    """Nor do a few of them, however long they take, nor many in one second and one much later."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "x")
    world.streams.empty_answers = 1000
    follower = world.read(QUIET_READS - 1, pace=QUIET)
    assert follower.caught_up == BEGIN
    late = World()
    late.streams.shards["a"] = FakeShard()
    late.streams.empty_answers = 1000
    follower = late.read(QUIET_READS + 1)
    late.streams.now += 3600
    late.read(1, follower)
    assert follower.caught_up <= START


def test_a_new_iterator_begins_again(world: World) -> None:
    """An iterator that is fetched again points behind the last record, not behind what was empty
    since then."""
    world.streams.shards["a"] = FakeShard()
    world.streams.empty_answers = 1000
    follower = world.read(QUIET_READS, pace=(QUIET - 1) / QUIET_READS)
    world.streams.expired = {str(follower.readers["a"]._iterator)}  # noqa: SLF001 - what AWS handed out
    world.read(QUIET_READS, follower, pace=(QUIET - 1) / QUIET_READS)
    assert follower.caught_up == BEGIN


@pytest.mark.parametrize("tells_ends", [True, False])
def test_a_closed_shard_ends_with_its_last_answer_alone(world: World, tells_ends: bool) -> None:
    """A shard that is closed, or has a child, is read until there is no further iterator: no number
    of empty answers, over no time, moves what is claimed past what it still holds."""
    world.streams.tells_ends = tells_ends
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a")}
    world.streams.write("a", "x")
    written = world.streams.now
    world.streams.write("b", "y")
    world.streams.empty_answers = 1000
    follower = world.read(1000, pace=10)
    assert follower.caught_up < written
    world.read(2, follower)
    assert world.sink.delivered == ["x", "y"]


def test_nothing_is_read_before_the_first_round(world: World) -> None:
    """In the second in which the stream was switched on, `caught_up` does not include that
    second."""
    world.streams.now = from_iso(LABEL)
    follower = world.follower()
    follower.start()
    assert follower.caught_up < follower.started


def test_caught_up_in_a_quiet_stream(world: World) -> None:
    """In a quiet stream, `caught_up` is AWS's clock minus the seconds after which a change is
    expected to be readable."""
    world.streams.shards["a"] = FakeShard()
    world.streams.now += 1000
    caught_up = world.read(QUIET * 4, pace=0.5).caught_up
    assert readable(int(world.streams.now) - QUIET - 3) <= caught_up
    assert caught_up <= readable(int(world.streams.now) - QUIET)


def test_caught_up_in_a_busy_stream(world: World) -> None:
    """In a shard that always has new records, `caught_up` advances with the records, and the
    slowest shard decides."""
    world.streams.shards = {"a": FakeShard(), "b": FakeShard()}
    follower = world.follower()
    for number in range(30):
        world.streams.write("a", f"a-{number}")
        world.streams.write("b", f"b-{number}")
        follower.round()
    assert world.streams.now - 13 < follower.caught_up < world.streams.now


def test_caught_up_never_passes_what_is_not_delivered(world: World) -> None:
    """Neither the clock nor another shard advances `caught_up` past a record that has not been
    written."""
    world.streams.shards = {"a": FakeShard(), "b": FakeShard()}
    world.streams.write("a", "x", "poison", "y")
    stuck = int(world.streams.shards["a"].records[1]["dynamodb"]["ApproximateCreationDateTime"])
    world.sink.answer = lambda keys: [key for key in keys if key == "poison"]
    follower = world.follower()
    for number in range(30):
        world.streams.write("b", f"b-{number}")
        follower.round()
    assert follower.caught_up < stuck
    assert "y" not in world.sink.delivered
    assert follower.stuck > 5


def test_a_new_child_claims_nothing(world: World) -> None:
    """Between the end of a shard and the first answer of its child, the clock does not advance
    `caught_up`."""
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a")}
    world.streams.write("a", "x")
    world.streams.write("b", "y")
    world.streams.now += 500
    follower = world.follower()
    follower.round()
    assert world.sink.delivered == ["x"]
    assert follower.caught_up <= START + 1
    follower.round()
    assert world.sink.delivered == ["x", "y"]


def test_a_child_not_begun_holds_the_others_back(world: World) -> None:
    """A quiet shard does not advance `caught_up` in the round in which another shard ended whose
    child has not been read yet."""
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a"), "quiet": FakeShard()}
    world.streams.write(
        "a", *(f"x-{number}" for number in range(2 * QUIET * world.streams.per_answer))
    )
    world.streams.write("b", "y")
    written = world.streams.now
    world.streams.now += 500
    follower = world.follower()
    while "y" not in world.sink.delivered:
        assert follower.caught_up < written
        follower.round()
        world.streams.now += 1


def test_partial_batch(world: World) -> None:
    """After a partial answer, the batch resumes at the first failed record, and no record after it
    counts as delivered."""
    world.streams.shards["a"] = FakeShard()
    world.streams.per_answer = 100
    world.streams.write("a", "1", "2", "3", "4", "5")
    answers = iter([["3", "5"], ["3"], []])
    world.sink.answer = lambda keys: next(answers)
    follower = world.read(5)
    assert world.sink.batches == [["1", "2", "3", "4", "5"], ["3", "4", "5"], ["3", "4", "5"]]
    assert world.sink.delivered == ["1", "2", "3", "4", "5"]
    assert follower.changes == 5
    assert follower.stuck == 0
    assert any("not written" in said for said in world.said)


def test_progress_is_not_being_stuck(world: World) -> None:
    """A batch that is written in several parts does not count as failing repeatedly."""
    world.streams.shards["a"] = FakeShard()
    world.streams.per_answer = 100
    world.streams.write("a", *map(str, range(10)))
    world.sink.answer = lambda keys: keys[1:2]
    follower = world.follower()
    for _ in range(9):
        follower.round()
        assert follower.stuck <= 1
    world.read(2, follower)
    assert len(world.sink.delivered) == 10


def test_answer_that_names_no_record(world: World) -> None:
    """An answer that names a record that is not in the batch fails the whole batch, as in
    Lambda."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "2")
    answers: list[dict[str, Any]] = [
        {"batchItemFailures": [{"itemIdentifier": "no such"}]},
        {"batchItemFailures": []},
    ]
    follower = world.follower()
    follower.handle = lambda event, context: answers.pop(0)
    follower.round()
    assert follower.changes == 0
    follower.round()
    assert follower.changes == 2


def test_handler_that_raises(world: World) -> None:
    """A handler that raises is called again with the same records, and the error is reported."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "2")
    failures = iter([True, True, False])

    def answer(keys: list[str]) -> list[str]:
        if next(failures):
            raise RuntimeError("S3 is away")
        return []

    world.sink.answer = answer
    world.read(5)
    assert world.sink.batches == [["1", "2"]] * 3
    assert world.sink.delivered == ["1", "2"]
    assert any("S3 is away" in said for said in world.said)


def test_other_shards_go_on(world: World) -> None:
    """A shard that is stuck does not block other shards."""
    world.streams.shards = {"a": FakeShard(), "b": FakeShard()}
    world.streams.write("a", "poison")
    world.streams.write("b", *map(str, range(10)))
    world.sink.answer = lambda keys: [key for key in keys if key == "poison"]
    world.read(10)
    assert world.sink.delivered == [str(number) for number in range(10)]


def test_the_slowest_shard_decides(world: World) -> None:
    """While one shard is stuck, no second from its first unwritten record on is claimed, however
    far another shard has been read."""
    world.streams.shards = {"stuck": FakeShard(), "quick": FakeShard()}
    world.streams.now += 1000
    world.streams.write("stuck", "poison")
    written = int(world.streams.now)
    world.sink.answer = lambda keys: [key for key in keys if key == "poison"]
    follower = world.follower()
    for number in range(20):
        world.streams.now += 10
        world.streams.write("quick", str(number))
        world.read(1, follower)
    assert len(world.sink.delivered) == 20
    assert follower.caught_up < written


def test_expired_iterator(world: World) -> None:
    """An expired iterator is replaced by one that starts after the last record that was read."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "2")
    follower = world.read(2)
    world.streams.expired = {str(follower.readers["a"]._iterator)}  # noqa: SLF001 - what AWS handed out
    world.streams.write("a", "3")
    world.read(3, follower)
    assert world.sink.delivered == ["1", "2", "3"]
    assert world.outages == []


def test_a_second_run_goes_on(world: World) -> None:
    """A second `follow` resumes after the last delivered record and delivers nothing again."""
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a")}
    world.streams.write("a", "1", "2", "3", "4")
    world.read(1)
    assert world.sink.delivered == ["1", "2", "3"]
    world.read()
    world.streams.write("b", "5")
    caught_up = world.read().caught_up
    assert world.sink.delivered == ["1", "2", "3", "4", "5"]
    assert world.follower().caught_up == caught_up
    assert world.outages == []


def test_a_stuck_run_goes_on_at_the_failed_record(world: World) -> None:
    """The record that a run could not write is the first one that the next run delivers."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "poison", "3")
    world.sink.answer = lambda keys: [key for key in keys if key == "poison"]
    world.read(3)
    world.sink.answer = lambda keys: []
    world.read()
    assert world.sink.delivered == ["1", "poison", "3"]


def test_trimmed_records_are_an_outage(world: World) -> None:
    """Records that expired before they were read are an outage from the last certain second on, and
    reading continues."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "2")
    caught_up = world.read().caught_up
    world.streams.write("a", "3", "4", "5")
    world.streams.shards["a"].trimmed = 4
    world.read()
    assert world.sink.delivered == ["1", "2", "5"]
    (outage,) = world.outages
    assert outage.since == caught_up
    assert outage.until == world.streams.now
    assert any("may be lost" in said for said in world.said)


def test_a_shard_that_expired_unread_is_an_outage(world: World) -> None:
    """A shard that expired before it was read to its end is an outage. Its descendants are read."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1")
    caught_up = world.read().caught_up
    world.streams.now += RETENTION + 100
    world.streams.shards = {"c": FakeShard("b")}
    world.streams.write("c", "9")
    world.read()
    assert world.sink.delivered == ["1", "9"]
    assert min(outage.since for outage in world.outages) == caught_up


def test_a_day_in_which_nobody_read_is_an_outage(world: World) -> None:
    """If nothing of a shard has been read for a day, its first records may be lost without an
    error, so this is an outage."""
    world.streams.shards["a"] = FakeShard()
    world.read(0)
    world.streams.write("a", "1", "2", "3")
    world.streams.now += RETENTION + 100
    world.streams.shards["a"].trimmed = 2
    world.read()
    assert world.sink.delivered == ["3"]
    (outage,) = world.outages
    assert (outage.since, outage.until) == (START, world.streams.now)


def test_less_than_a_day_is_none(world: World) -> None:
    """A reader that was stopped for less than a day has lost nothing."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1")
    world.read()
    world.streams.write("a", "2")
    world.streams.now += RETENTION - 100
    world.read()
    assert world.sink.delivered == ["1", "2"]
    assert world.outages == []


def test_a_child_begun_a_day_late_is_an_outage(world: World) -> None:
    """The child of a shard that was stuck for a day may have lost its first records, so this is an
    outage."""
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a")}
    world.streams.write("a", "1")
    world.streams.write("b", "2", "3")
    world.sink.answer = lambda keys: keys
    follower = world.read(3)
    world.streams.now += RETENTION + 100
    world.streams.shards["b"].trimmed = 1
    world.sink.answer = lambda keys: []
    world.read(5, follower)
    assert world.sink.delivered == ["1", "3"]
    assert len(world.outages) == 1


def test_a_process_that_slept_for_a_day(world: World) -> None:
    """After more than a day without a read the iterator has expired, and a shard of which no record
    was delivered is read from what is left of it, without any error: an outage."""
    world.streams.shards["a"] = FakeShard()
    follower = world.read(1)
    world.streams.write("a", "1", "2")
    world.streams.now += RETENTION + 100
    world.streams.shards["a"].trimmed = 1
    world.streams.expired = {str(follower.readers["a"]._iterator)}  # noqa: SLF001 - what AWS handed out
    world.read(5, follower)
    assert world.sink.delivered == ["2"]
    (outage,) = world.outages
    assert outage.until == world.streams.now


def test_enabled_a_day_before_the_first_read(world: World) -> None:
    """Shards that expired before the stream was enabled do not count. A first read more than a day
    after that is an outage."""
    world.recorded = START + RETENTION * 3
    world.streams.now = world.recorded + 3600
    world.streams.shards = {"b": FakeShard("expired long ago")}
    world.read()
    assert world.outages == []
    late = World(recorded=START)
    late.streams.now = START + RETENTION + 1
    late.streams.shards = {"b": FakeShard("expired long ago")}
    late.read()
    assert [outage.since for outage in late.outages] == [START]


def test_switched_off_and_read_to_the_end(world: World) -> None:
    """A stream that is off is drained only after it has been read to its end. It stays drained in
    the next run, even days later."""
    world.streams.shards = {"a": FakeShard(closed=True), "b": FakeShard("a", closed=True)}
    world.streams.enabled = False
    world.streams.write("a", "1")
    world.streams.write("b", "2")
    follower = world.follower()
    follower.round()
    assert not follower.drained
    world.read(5, follower)
    assert follower.drained
    assert world.sink.delivered == ["1", "2"]
    kept = world.meta.follow_checkpoint(LABEL)
    assert kept
    assert kept.drained
    world.streams.now += 2 * RETENTION
    assert world.read().drained
    assert world.outages == []


def test_checkpoint(world: World) -> None:
    """A checkpoint is plain JSON with the second up to which everything is written, and the last
    record of each shard."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1", "2")
    world.read()
    kept = world.meta.follow_checkpoint(LABEL)
    assert kept
    stored = kept.record()
    assert stored == json.loads(json.dumps(stored))
    last = world.streams.shards["a"].records[1]["dynamodb"]["SequenceNumber"]
    assert stored["shards"] == {"a": {"done": False, "parent": None, "position": last}}
    assert stored["caught_up"] <= iso(int(world.streams.now))
    assert kept.running is False


def test_done_shards_are_forgotten(world: World) -> None:
    """A checkpoint does not grow without limit: a shard that is gone, and whose children are gone
    too, is removed from it."""
    names = [f"shard-{number:03}" for number in range(50)]
    for parent, name in zip([None, *names], names, strict=False):
        kept_parent = {parent: world.streams.shards[parent]} if parent else {}
        for shard in kept_parent.values():
            shard.closed = True
        world.streams.shards = {name: FakeShard(parent), **kept_parent}
        world.streams.write(name, name)
        world.read(2)
    kept = world.meta.follow_checkpoint(LABEL)
    assert kept
    assert len(kept.shards) <= 3
    assert world.sink.delivered == names
    assert world.outages == []


def test_the_stream_is_described_now_and_then(world: World) -> None:
    """DescribeStream may be called ten times a second: it is called every few seconds, and when a
    shard has ended, so that its children are read at once."""
    world.streams.shards = {"a": FakeShard()}
    follower = world.read(100, pace=0.25)
    assert world.streams.calls.count("describe_stream") <= 100 * 0.25 / DESCRIBE + 2
    world.streams.shards |= {"a": FakeShard(closed=True), "b": FakeShard("a")}
    world.streams.write("b", "1")
    world.read(2, follower)
    assert world.sink.delivered == ["1"]


def test_pages_of_a_description_take_their_time(world: World) -> None:
    """A stream of thousands of shards is described page by page, with pauses."""
    world.streams.shards = {f"shard-{number:04}": FakeShard() for number in range(1000)}
    began = world.streams.now
    world.follower()
    assert world.streams.calls.count("describe_stream") / (world.streams.now - began) <= 10


BUSY = [
    failure("ThrottlingException", "op"),
    failure("LimitExceededException", "op"),
    ClientError(
        {"Error": {"Code": "?", "Message": "?"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "op"
    ),
    EndpointConnectionError(endpoint_url="https://dynamodb"),
    ReadTimeoutError(endpoint_url="https://dynamodb"),
]


@pytest.mark.parametrize("operation", ["describe_stream", "get_shard_iterator", "get_records"])
@pytest.mark.parametrize("error", BUSY, ids=lambda error: type(error).__name__)
def test_ten_minutes_of_trouble(world: World, operation: str, error: Exception) -> None:
    """AWS is busy or out of reach for ten minutes: reading waits, says so once, and resumes."""
    world.streams.shards["a"] = FakeShard()
    world.read(1)
    world.streams.write("a", "1")
    over = world.streams.now + 600
    world.streams.trouble = lambda called: (
        error if called == operation and world.streams.now < over else None
    )
    world.read(3)
    assert world.sink.delivered == ["1"]
    assert over <= world.streams.now < over + 60
    (said,) = world.said
    assert operation in said
    assert "15 minutes" in said
    assert 10 < world.streams.calls.count(operation) < 100
    assert world.outages == []


def test_trouble_without_end(world: World) -> None:
    """Trouble that does not end ends the command with exit code 3, and running it again resumes
    it."""
    world.streams.shards["a"] = FakeShard()
    world.streams.trouble = lambda called: BUSY[0] if called == "get_records" else None
    began = world.streams.now
    with pytest.raises(UnavailableError, match="Throttling") as found:
        world.read(1)
    assert world.streams.now - began > PATIENCE
    assert found.value.exit_code == 3
    assert "resume" in found.value.hint
    assert len(world.said) == 1


def test_a_checkpoint_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is out of reach for ten minutes: the checkpoint is written after that."""
    world.streams.shards["a"] = FakeShard()
    world.streams.write("a", "1")
    over = world.streams.now + 600
    put = world.store.put

    def busy(*arguments: Any) -> None:
        if world.streams.now < over:
            raise GenericError("Server returned non-2xx status code: 503 Service Unavailable")
        put(*arguments)

    monkeypatch.setattr(world.store, "put", busy)
    world.read()
    assert world.meta.follow_checkpoint(LABEL)
    assert len(world.said) == 1


def test_other_errors_are_not_swallowed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS errors that are not about expired iterators or trimmed records are raised."""
    world.streams.shards["a"] = FakeShard()

    def denied(**_: Any) -> dict[str, Any]:
        raise failure("AccessDeniedException", "GetRecords")

    monkeypatch.setattr(world.streams, "get_records", denied)
    with pytest.raises(ClientError, match="AccessDenied"):
        world.read()
