"""Failed batches: how they affect coverage while they wait, and how they are redriven."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from restore.plan import Rebuild, Rewind
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import status_of
from stream_backup.capture import failures
from stream_backup.capture.batch import make_handler
from stream_backup.capture.failures import DONE, GIVEN_UP, FailedBatch, Place, waiting
from stream_backup.capture.redrive import LONGEST, Redrive
from stream_backup.core.as_of import item_at
from stream_backup.core.change import Change
from stream_backup.core.coverage import Coverage, Epoch, Hole
from stream_backup.core.time_rule import LATE, NEVER
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
    """While failed changes of its stream wait, an epoch is exact only up to the second before the
    first of them."""
    coverage = Coverage((EPOCH,), T0 + 1000, (hole,))
    assert coverage.end_of(EPOCH) == end
    assert coverage.bounds == (EPOCH.start, end)
    for moment in range(T0 + 100, T0 + 1001, 10):
        assert coverage.epoch_at(moment) == (EPOCH if moment <= end else None)


def test_a_moment_in_a_hole_is_refused() -> None:
    """The error gives the last exact moment, and the hint gives the first waiting change and the
    command that redrives it."""
    coverage = Coverage(
        (EPOCH,), T0 + 1000, (Hole("A", T0 + 500, T0 + 510), Hole("A", T0 + 300, T0 + 310))
    )
    with pytest.raises(CoverageError, match=r"2026-11-21T03:37:39Z") as raised:
        coverage.require(T0 + 400, "orders")
    assert "stream-backup redrive orders" in raised.value.hint
    assert "2026-11-21T03:37:40Z" in raised.value.hint
    assert coverage.require(T0 + 299, "orders") == EPOCH


# ------------------------------------------------------------
# redelivery


@pytest.fixture(scope="module")
def s3(moto_url: str) -> Any:
    return Aws(moto_url).client("s3")


class Fragile(MemoryStore):
    """A store in which every write after the first `last` writes fails."""

    writes = 0
    last = 10**9

    def _write(
        self, path: str, payload: bytes, metadata: Mapping[str, str], allowed: bool = True
    ) -> bool:
        self.writes += 1
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
        self.archive = Archive(self.store, "", "orders", SCHEMA)
        self.handle = make_handler(lambda table: Archive(self.store, "", table))
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

    def paths(self, prefix: str = "") -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found]

    def redrive(self) -> Redrive:
        with ThreadPoolExecutor(4) as pool:
            work = Redrive(self.s3, self.archive, pool, self.clock)
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

        def replace(
            self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str
        ) -> bool:
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


@pytest.mark.parametrize("days", [0.5, 3, 400])
def test_how_late_it_is_is_on_record_first(world: World, days: float) -> None:
    """A batch that is redriven after more than a day would mislead readers that rely on the
    retention of the stream. The archive therefore records how late it is before the first version
    is written, and with that record every moment is exact."""
    world.journal.fill(30, keys=3)
    batch, rest = world.journal.records[:20], world.journal.records[20:]
    world.handle({"Records": rest}, None)
    world.fail(batch)
    world.clock.sleep(days * DAY)
    world.store.last = world.store.writes + 1
    with pytest.raises(IncompleteError, match="the bucket is away"):
        world.redrive()
    written = {change.stamp.sequence for change in changes_in(world.archive)}
    assert written == {int(record["dynamodb"]["SequenceNumber"]) for record in rest}
    world.store.last = 10**9
    lateness = Catalog(world.archive).lateness()
    late_by = (
        int(world.clock.now) + LONGEST - batch[0]["dynamodb"]["ApproximateCreationDateTime"] - LATE
    )
    assert lateness == max(0, late_by)
    work = world.redrive()
    assert work.batches == 1
    lateness = Catalog(world.archive).lateness()
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
    lateness = status_of(world.archive, int(world.clock.now)).lateness
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
        lateness = Catalog(world.archive).lateness()
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


def test_the_latest_of_all_redrives_counts(world: World) -> None:
    """Readers use the largest lateness of all redrives, including those that were on time."""
    for days in (9, 0):
        world.clock.sleep(days * DAY)
        world.journal.now = int(world.clock.now) - (9 * DAY if days else 0)
        world.fail([world.journal.write("a", f"{days}")], f"{days}")
        world.redrive()
    records = world.archive.read_meta("redrives").values()
    assert sorted(record["lateness"] > 0 for record in records) == [False, True]
    assert Catalog(world.archive).lateness() > 7 * DAY


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
