"""Defects that other systems of this kind had, each with a test that it cannot occur here.

Related cases are tested elsewhere: keys in test_key.py, items in test_item.py, baselines in
test_baseline.py, order in test_timeline.py, shards in test_follow.py, memory and requests in
test_scale.py.
"""

import ast
import json
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import restore.writer
import stream_backup
from backfill.run import Backfill
from backfill.segment import Counts
from restore.plan import Rebuild, Tally, steps
from restore.writer import BATCH, BatchWriter
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.selection import Selection
from stream_backup.aws.dynamodb import Answer
from stream_backup.capture.batch import write_batch
from stream_backup.core.change import Change
from stream_backup.core.item import Item, decode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.moment import iso
from stream_backup.core.records import Stream, TableDescription
from stream_backup.errors import IncompleteError
from tests.cli import Request, Shell, Table, denied, proxy
from tests.servers import Aws

START = 1_800_000_000
SCHEMA = KeySchema((("id", "S"),))
COMPOSITE = KeySchema((("pk", "S"), ("sk", "B")))


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def archive(clock: Clock) -> Archive:
    return Archive(MemoryStore(clock), "", "Users", SCHEMA)


def record(key: str, at: int, sequence: int, note: str | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "ApproximateCreationDateTime": at,
        "SequenceNumber": str(sequence),
        "Keys": {"id": {"S": key}},
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if note is not None:
        data["NewImage"] = {"id": {"S": key}, "note": {"S": note}}
    return {"eventName": "REMOVE" if note is None else "MODIFY", "dynamodb": data}


def deliver(archive: Archive, *records: dict[str, Any]) -> None:
    source = {
        "eventSourceARN": f"arn:aws:dynamodb:us-east-1:111122223333:table/{archive.table}/stream/1"
    }
    with ThreadPoolExecutor(4) as pool:
        outcome = write_batch(
            [each | source for each in records], lambda table: archive, pool, lambda: False
        )
    assert outcome.first_failed is None


def at(archive: Archive, moment: int) -> dict[str, str]:
    """Returns the notes of all items at a moment, by key."""
    with ThreadPoolExecutor(4) as pool:
        found = list(
            steps(Rebuild(archive, moment, START), Selection(archive).histories(""), pool, Tally())
        )
    items = [decode(step.body) for step in found if step.body is not None]
    return {item["id"]["S"]: item["note"]["S"] for item in items}


def test_a_retried_batch_changes_no_answer(archive: Archive, clock: Clock) -> None:
    """After a batch is delivered again, completely or from its middle, no item's newest state is an
    old one."""
    batch = [record("a", START + n, n + 1, f"v{n}") for n in range(5)] + [
        record("b", START + 5, 9, None)
    ]
    for start in (0, 0, 3, 1):
        clock.now += 60
        deliver(archive, *batch[start:])
    assert at(archive, START + 10) == {"a": "v4"}
    assert at(archive, START + 2) == {"a": "v2"}


def test_when_s3_wrote_decides_nothing(archive: Archive, clock: Clock) -> None:
    """Changes that arrive hours late and in the wrong order count at the time when they
    happened."""
    clock.now = START + 7200
    deliver(archive, record("a", START + 20, 2, "second"))
    clock.now = START + 10_800
    deliver(archive, record("a", START + 10, 1, "first"), record("b", START + 15, 3, "b"))
    assert at(archive, START + 30) == {"a": "second", "b": "b"}
    assert at(archive, START + 12) == {"a": "first"}
    assert at(archive, START + 9) == {}


def test_one_item_has_one_name_whichever_way_it_came(clock: Clock) -> None:
    """A stream record with its key attributes in another order, a scanned row, and a removal are
    versions of the same object."""
    archive = Archive(MemoryStore(clock), "", "Users", COMPOSITE)
    row: Item = {"sk": {"B": b"\x01"}, "x": {"S": "x"}, "pk": {"S": "a"}}
    archive.put_baseline(
        archive.object_of(Change.scanned(row, COMPOSITE, START, START, START)), START, empty=True
    )
    for number, keys in enumerate(
        ({"pk": {"S": "a"}, "sk": {"B": "AQ=="}}, {"sk": {"B": "AQ=="}, "pk": {"S": "a"}})
    ):
        data = {
            "ApproximateCreationDateTime": START + 9,
            "SequenceNumber": str(number + 1),
            "Keys": keys,
        }
        archive.put(Change.streamed({"eventName": "REMOVE", "dynamodb": data}))
    (history,) = archive.histories()
    assert len(history.versions) == 3


def test_prefix_without_slash_takes_in_no_sibling(clock: Clock) -> None:
    """`Users` contains nothing of `UsersArchive`, and the prefix `prod` contains nothing of
    `production`."""
    store = MemoryStore(clock)
    for prefix, table in (
        ("prod/", "Users"),
        ("prod/", "UsersArchive"),
        ("production/", "Users"),
        ("", "prod"),
    ):
        archive = Archive(store, prefix, table, SCHEMA)
        deliver(archive, record(f"{prefix}{table}", START, 1, "x"))
        Catalog(archive).write_description(
            "life", TableDescription.of({"Table": {"TableName": f"{prefix}{table}"}})
        )
    for prefix, table in (
        ("prod/", "Users"),
        ("prod/", "UsersArchive"),
        ("production/", "Users"),
        ("", "prod"),
    ):
        archive = Archive(store, prefix, table, SCHEMA)
        assert at(archive, START + 1) == {f"{prefix}{table}": "x"}
        assert Catalog(archive).description() == TableDescription.of(
            {"Table": {"TableName": f"{prefix}{table}"}}
        )


def test_two_tables_with_the_same_keys_do_not_meet(clock: Clock) -> None:
    """The same key in two tables of one archive is two items."""
    store = MemoryStore(clock)
    orders, users = (Archive(store, "all/", table, SCHEMA) for table in ("orders", "users"))
    deliver(orders, record("1", START, 1, "an order"))
    deliver(users, record("1", START, 1, "a user"))
    deliver(orders, record("1", START + 1, 2, None))
    assert at(orders, START + 5) == {}
    assert at(users, START + 5) == {"1": "a user"}


class SlowStore(MemoryStore):
    """A store whose GET requests are slow, and that counts how many were running at once."""

    most = 0
    _under_way = 0

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        time.sleep(0.02)
        with self._lock:
            self._under_way -= 1
        return super().get(path, version_id)


def test_versions_are_read_side_by_side(clock: Clock) -> None:
    """A restore reads versions concurrently."""
    store = SlowStore(clock)
    archive = Archive(store, "", "Users", SCHEMA)
    deliver(archive, *(record(str(number), START, number + 1, "x") for number in range(64)))
    with ThreadPoolExecutor(16) as pool:
        assert (
            len(list(steps(Rebuild(archive, START + 5, START), archive.histories(), pool, Tally())))
            == 64
        )
    assert store.most > 8


# Writing: a table that accepts only part of each batch.


@dataclass
class Throttled:
    """BatchWriteItem under load: after the errors in `refusals`, it processes `accepts` items of
    each batch."""

    accepts: int = BATCH
    refusals: list[str] = field(default_factory=list)
    poison: str = ""
    written: list[str] = field(default_factory=list)

    def call(self, operation: str, request: bytes) -> Answer:
        if self.refusals:
            code = self.refusals.pop(0)
            raise ClientError({"Error": {"Code": code, "Message": code}}, operation)
        requests = json.loads(request)["RequestItems"]["t"]
        keys = [each["PutRequest"]["Item"]["id"]["S"] for each in requests]
        assert len(keys) <= BATCH
        if self.poison in keys:
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": "too large"}}, operation
            )
        self.written += keys[: self.accepts]
        left = requests[self.accepts :]
        return Answer({"UnprocessedItems": {"t": left} if left else {}}, START)


def write(table: Throttled, items: int, patience: float = 5) -> list[str]:
    """Writes `items` items and returns the keys that could not be written."""
    dynamodb: Any = table
    writer = BatchWriter(dynamodb, "t", patience=patience)
    failures = writer.put(b'{"id":{"S":"%d"}}' % number for number in range(items))
    return [json.loads(failure.request)["PutRequest"]["Item"]["id"]["S"] for failure in failures]


def test_unprocessed_items_are_sent_again_until_none_is_left() -> None:
    """Unprocessed items are sent again for as long as something is still written."""
    table = Throttled(accepts=7)
    assert write(table, 60) == []
    assert sorted(map(int, table.written)) == list(range(60))


@pytest.mark.parametrize(
    "code", ["ProvisionedThroughputExceededException", "ThrottlingException", "InternalServerError"]
)
def test_throttling_is_waited_for(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A throttled batch is retried more than six times, after which other tools gave up."""
    monkeypatch.setattr(restore.writer, "LONGEST_PAUSE", 0.01)
    table = Throttled(refusals=[code] * 20)
    assert write(table, 3, patience=60) == []
    assert sorted(table.written) == ["0", "1", "2"]


def test_a_table_that_takes_nothing_is_reported() -> None:
    """When nothing is written any more, every item that was not written is reported."""
    assert sorted(write(Throttled(accepts=0), 3, patience=0.2)) == ["0", "1", "2"]


def test_one_bad_item_does_not_take_its_batch_along() -> None:
    """An item that the table refuses is reported alone, and the other 24 items of its batch are
    written."""
    table = Throttled(poison="13")
    assert write(table, 25) == ["13"]
    assert len(table.written) == 24


# Backfill: parallel segments, each with its own checkpoint.


@dataclass
class Scanned:
    """A table as Scan returns it: `rows` in pages of `page`, distributed among the segments. It
    reports itself as empty, as DynamoDB may do for up to six hours."""

    rows: list[Item]
    page: int = 5
    scans: int = 0
    fail_after: int = 10**9
    starts: list[tuple[int, Any]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    label = iso(START).removesuffix("Z") + ".000"

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        if operation == "describe_table":
            description = {
                "TableName": "Users",
                "TableArn": "arn",
                "ItemCount": 0,
                "TableSizeBytes": 0,
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
                "LatestStreamLabel": self.label,
            }
            return Answer({"Table": description}, START + 50)
        if operation != "scan":
            found = {
                "describe_time_to_live": {"TimeToLiveDescription": {}},
                "describe_continuous_backups": {"ContinuousBackupsDescription": {}},
                "list_tags_of_resource": {"Tags": []},
            }
            return Answer(found[operation], START + 50)
        with self.lock:
            self.scans += 1
            if self.scans > self.fail_after:
                raise KeyboardInterrupt
            start, segment, total = (
                request.get("ExclusiveStartKey"),
                request["Segment"],
                request["TotalSegments"],
            )
            self.starts.append((segment, start))
        mine = [
            row for row in self.rows if int(key_hash(COMPOSITE.key_of(row)), 16) % total == segment
        ]
        keys = [COMPOSITE.key_of(row) for row in mine]
        place = keys.index(start) + 1 if start else 0
        items = mine[place : place + self.page]
        answer: dict[str, Any] = {"Items": items}
        if place + len(items) < len(mine):
            answer["LastEvaluatedKey"] = COMPOSITE.key_of(items[-1])
        return Answer(answer, START + 50)


def wire_rows(number: int) -> list[Item]:
    return [
        {
            "pk": {"S": f"pk-{n}"},
            "sk": {"B": b64encode(bytes([n, 255 - n])).decode()},
            "v": {"N": "1"},
        }
        for n in range(number)
    ]


def backfill_of(table: Scanned, archive: Archive, segments: int = 3) -> Backfill:
    dynamodb: Any = table
    meta = Catalog(archive)
    if not meta.streams():
        meta.write_stream(Stream(table.label, "arn", "id", START, True, "follow", START))
    return Backfill(dynamodb, archive, segments, None, lambda counts: None, threading.Event())


def run(work: Backfill) -> tuple[bool, Counts]:
    found, resumed = work.begin(without_stream=False)
    return resumed, work.execute(found)[1]


@pytest.fixture
def composite(clock: Clock) -> Archive:
    clock.now = START + 50
    return Archive(MemoryStore(clock), "", "Users", COMPOSITE)


def test_a_table_reported_as_empty_is_read(composite: Archive) -> None:
    """ItemCount and the size lag by hours, so a table is read even if they are zero."""
    _, counts = run(backfill_of(Scanned(wire_rows(40)), composite))
    assert (counts.read, counts.written) == (40, 40)
    assert len(list(composite.histories())) == 40


def test_checkpoints_per_segment_with_binary_keys(composite: Archive) -> None:
    """Each segment resumes at its own last binary key, and no row is skipped, wherever the run was
    interrupted."""
    rows = wire_rows(100)
    table = Scanned(rows, fail_after=9)
    with pytest.raises(KeyboardInterrupt):
        run(backfill_of(table, composite))
    again = Scanned(rows)
    resumed, counts = run(backfill_of(again, composite))
    assert resumed
    assert counts.read == 100
    assert len(list(composite.histories())) == 100
    begun = dict(reversed(again.starts))
    assert sum(start is not None for start in begun.values()) >= 2
    assert all(
        start["sk"]["B"] in {row["sk"]["B"] for row in rows} for start in begun.values() if start
    )


class Refusing(MemoryStore):
    """A store in which every third new object is refused while `refuses`."""

    refuses = True

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        if self.refuses and "/meta/" not in path and int(path[-8:], 16) % 3 == 0:
            raise OSError("refused")
        return super().create(path, payload, metadata)


def test_a_page_that_could_not_be_written_whole_is_read_again(clock: Clock) -> None:
    """Rows that the archive refused are in no checkpoint: the run is incomplete, and the next one
    reads their pages again, so that no row is missing where the run says that it is complete."""
    clock.now = START + 50
    store, table = Refusing(clock), Scanned(wire_rows(60))
    archive = Archive(store, "", "Users", COMPOSITE)
    with pytest.raises(IncompleteError):
        run(backfill_of(table, archive))
    assert not any(each.complete for each in Catalog(archive).runs())
    assert len(list(archive.histories())) < 60
    store.refuses = False
    resumed, _ = run(backfill_of(table, archive))
    assert resumed
    assert [each.complete for each in Catalog(archive).runs()] == [True]
    assert len(list(archive.histories())) == 60


def test_running_the_backfill_again_writes_no_item_again(composite: Archive) -> None:
    """A second backfill finds every item in the archive and writes no version."""
    run(backfill_of(Scanned(wire_rows(30)), composite))
    resumed, counts = run(backfill_of(Scanned(wire_rows(30)), composite, segments=4))
    assert not resumed
    assert (counts.read, counts.written, counts.existing) == (30, 0, 30)
    assert all(len(history.versions) == 1 for history in composite.histories())


class LostAnswers(MemoryStore):
    """A store in which every conditional put succeeds but its answer is lost, so that the client's
    retry fails against its own success."""

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        super().create(path, payload, metadata)
        return False

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        super().replace(path, payload, metadata, etag)
        return False


def test_a_conditional_put_whose_answer_was_lost_is_no_failure(clock: Clock) -> None:
    """A put that fails against its own success counts as successful and leaves one version, whether
    it created or replaced the object."""
    archive = Archive(LostAnswers(clock), "", "Users", SCHEMA)
    row: Item = {"id": {"S": "a"}, "note": {"S": "x"}}
    fresh = Change.scanned(row, SCHEMA, START + 50, START + 50, START)
    assert archive.put_baseline(archive.object_of(fresh), START, empty=False) is False
    assert archive.put_baseline(archive.object_of(fresh), START, empty=True) is False
    (history,) = archive.histories()
    assert len(history.versions) == 1
    later = Change.scanned(row, SCHEMA, START + 900, START + 900, START + 800)
    archive.put_baseline(archive.object_of(later), START + 800, empty=False)
    (history,) = archive.histories()
    assert len(history.versions) == 2
    assert later.stamp in [archive.read(version).stamp for version in history.versions]


def test_a_backfill_whose_stream_went_off_covers_nothing(composite: Archive) -> None:
    """A run that ends under a different stream than it began under gives no coverage, and reports
    it."""
    table = Scanned(wire_rows(5))
    work = backfill_of(table, composite)
    found, _ = work.begin(without_stream=False)
    table.label = "2030-01-01T00:00:00.000"
    with pytest.raises(IncompleteError, match="replaced"):
        work.execute(found)
    assert not any(each.complete for each in Catalog(composite).runs())


def test_nothing_in_the_bucket_is_executed() -> None:
    """No module unpickles, evaluates, or loads code: the content of the bucket is data."""
    root = Path(stream_backup.__file__).parent.parent
    sources = [
        path
        for name in ("stream_backup", "backfill", "restore")
        for path in (root / name).rglob("*.py")
    ]
    assert len(sources) > 30
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "yaml", "dill", "jsonpickle"} & {
                name.split(".")[0] for name in imported
            }
            called = (
                node.func.id
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                else ""
            )
            assert called not in {"eval", "exec", "compile", "__import__"}, path


POISON = {
    "Records": [
        {
            "eventName": "MODIFY",
            "dynamodb": {
                "Keys": {"id": {"S": "secret"}},
                "SequenceNumber": "100000000000000000001",
                "ApproximateCreationDateTime": 1.8e9,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
    ],
    "NextShardIterator": "next",
}


@pytest.mark.server
def test_a_poison_record_is_never_skipped_and_somebody_is_told(ministack_url: str) -> None:
    """A record that cannot be parsed stops its shard: `follow --once` reports its position and none
    of its content, and exits with 3. Once the record can be read, nothing is missing."""
    aws = Aws(ministack_url)
    with proxy(ministack_url) as between:
        shell, table = Shell(between.aws, f"s3://{aws.bucket()}"), Table.create(aws, "poisoned")
        shell.done("enable", "poisoned", "--stream-only")
        table.put({"id": {"S": "a"}})
        between.rule = _poison
        said = shell.run("follow", "poisoned", "--once").refused(
            3, "failed", "100000000000000000001"
        )
        assert "secret" not in said.err
        between.rule = lambda request: None
        assert shell.done("follow", "poisoned", "--once", "--json").json["changes"] == 1
        between.rule = denied("PutObject")
        table.put({"id": {"S": "b"}})
        assert shell.run("follow", "poisoned", "--once").code in (2, 3)
        between.rule = lambda request: None
        shell.done("follow", "poisoned", "--once")
        assert shell.done("history", "poisoned", '{"id": "b"}', "--json").json["versions"]


def _poison(request: Request) -> tuple[int, bytes] | None:
    return (200, json.dumps(POISON).encode()) if request.operation == "GetRecords" else None
