"""The watcher as time passes: what it records, what it publishes, and when the alarm on that is
raised.

The engine and the entry point are the real ones. What AWS answers comes from `World`: one archive
in memory, tables that are written all the time, and the function that reads their streams.
"""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

import stream_backup.capture.catch_up
from stream_backup import watcher as module
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.dynamodb import Answer
from stream_backup.capture.catch_up import EVERY, keeper
from stream_backup.capture.watch import RecordsConnection
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.item import encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.moment import from_iso
from stream_backup.core.records import End, Mapping, Run, Stream
from stream_backup.core.stamp import Stamp
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.progress import Progress
from tests.alarms import Alarm, Datapoint, embedded
from tests.fake_dynamodb import refusal

ALARM = Alarm("ExactAgeAlarm")
LABEL = "2026-11-21T03:32:40.266"
BEGIN = from_iso("2026-11-21T12:00:00Z")
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
STEP = 5 * MINUTE


class Bucket(MemoryStore):
    bucket = "backups"


class World(RecordsConnection):
    """AWS, and what is wrong there. `functions` has, by table, the state of the mapping, None when
    it was deleted; `errors` are the errors of the function of each minute, `behind` is how far it
    was behind when it was last called, None when it was not called lately."""

    def __init__(self, *tables: str) -> None:
        super().__init__(None, None, "s3://backups/production")
        self.second = BEGIN
        self.enabled: list[str] = []
        self.states: dict[str, str | None] = {}
        self.labels: dict[str, str | None] = {}
        self.errors = 0
        self.behind: int | None = 1
        self.failed: dict[str, bytes] = {}
        self.denied: set[str] = set()
        self.points: list[Datapoint] = []
        self.watching = True
        self.__dict__ |= {
            "store": Bucket(lambda: self.second),
            "s3": self,
            "cloudwatch": self,
            "dynamodb": self,
            "session": SimpleNamespace(client=lambda *_, **__: self),
        }
        for table in tables:
            self.enable(table)
            self.backfill(table)

    def catalog(self, table: str) -> Catalog:
        return Catalog(self.archive(table))

    def enable(self, table: str) -> None:
        self.enabled.append(table)
        self.states[table], self.labels[table] = "Enabled", LABEL
        floor = from_iso("2026-11-21T03:32:40Z")
        arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/{LABEL}"
        stream = Stream(LABEL, arn, "", floor, empty=True, reader="function", recorded=self.second)
        self.catalog(table).write_stream(stream)
        self.catalog(table).write_mapping(Mapping(table, LABEL, "f", "failures", self.second))

    def backfill(self, table: str) -> None:
        run = Run("run", LABEL, self.second - MINUTE, self.second, self.second, True, {})
        self.catalog(table).write_run(run)

    # What AWS answers

    def tables(self) -> list[str]:
        return self.enabled

    def clock(self) -> int:
        return self.second

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        if operation == "list_tables":
            return Answer({}, self.second)
        if operation in self.denied:
            raise refusal("AccessDeniedException")
        table = request["TableName"]
        if table not in self.labels:
            raise refusal("ResourceNotFoundException")
        label = self.labels[table]
        on = {"StreamSpecification": {"StreamEnabled": True}, "LatestStreamLabel": label}
        return Answer({"Table": {"TableName": table} | (on if label else {})}, self.second)

    def get_event_source_mapping(self, UUID: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        state = self.states[UUID]
        if state is None:
            raise refusal("ResourceNotFoundException")
        return {"State": state, "LastProcessingResult": "OK"}

    def get_metric_statistics(self, **asked: Any) -> dict[str, Any]:
        (statistic,) = asked["Statistics"]
        behind = None if self.behind is None else self.behind * 1000
        found = {"IteratorAge": behind, "Errors": self.errors or None}.get(asked["MetricName"])
        return {"Datapoints": [] if found is None else [{statistic: found}]}

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        if "lifecycle" in self.denied:
            raise refusal("AccessDenied")
        return {"Rules": []}

    def get_paginator(self, _: str) -> Any:
        def paginate(Prefix: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803 - boto3's name
            if "failures" in self.denied:
                raise refusal("AccessDenied")
            keys = [{"Key": key} for key in self.failed if key.startswith(Prefix)]
            return [{"Contents": keys}]

        return SimpleNamespace(paginate=paginate)

    def get_object(self, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        return {"Body": SimpleNamespace(read=lambda: self.failed[Key])}


Pass = Callable[[int], None]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World("orders", "users")
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups/production")
    monkeypatch.setattr(module, "RecordsConnection", lambda *_: found)
    return found


@pytest.fixture
def passes(world: World, capsys: pytest.CaptureFixture[str]) -> Pass:
    """Lets seconds pass, in which the schedule invokes the watcher."""

    def pass_time(seconds: int) -> None:
        for _ in range(seconds // STEP):
            world.second += STEP
            if world.watching:
                with suppress(IncompleteError):
                    module.handler({}, None)
                world.points += embedded(capsys.readouterr().out, world.second)

    return pass_time


def raised(world: World) -> bool:
    """Whether the alarm is raised, however far CloudWatch looks back for datapoints."""
    states = {ALARM.is_raised(world.points, world.second, look_back) for look_back in (0, 4)}
    assert len(states) == 1, "it depends on how far CloudWatch looks back"
    return states.pop()


def ages(world: World) -> dict[str, float]:
    """The values of the last run, by the value of their own dimension."""
    return {
        value: point.value
        for point in world.points
        if point.at == world.second
        for name, value in point.dimensions
        if name != "service"
    }


def disabled(world: World) -> None:
    world.states["orders"], world.behind = "Disabled", None


def deleted(world: World) -> None:
    world.states["orders"], world.behind = None, None


def failing(world: World) -> None:
    world.errors = 1


def far_behind(world: World) -> None:
    world.behind = 2 * HOUR


def stream_off(world: World) -> None:
    world.labels["orders"] = None


def table_deleted(world: World) -> None:
    """DynamoDB deletes a stream with its table; the mapping then reports a problem."""
    del world.labels["orders"]
    world.states["orders"] = "Disabled"


def batch_failed(world: World) -> None:
    content = {
        "DDBStreamBatchInfo": {
            "streamArn": f"arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/{LABEL}",
            "approximateArrivalOfFirstRecord": "2026-11-21T13:00:00Z",
            "approximateArrivalOfLastRecord": "2026-11-21T13:00:00Z",
        }
    }
    world.failed["aws/lambda/orders/batch"] = json.dumps(content).encode()


def record_foreign(world: World) -> None:
    world.store.put("production/orders/meta/runs/run.json", b"?", {})


def may_not_see_failures(world: World) -> None:
    world.denied.add("failures")


def rows_deleted(world: World) -> None:
    """Somebody runs `aws s3 rm` on the archive."""
    key = {"id": {"S": "a"}}
    stamp = Stamp(world.second, 1, world.second, "insert")
    archive = world.items("orders")
    archive.put(Change(key, stamp, encode(key)))
    world.store.delete(archive.root + key_hash(key))  # type: ignore[attr-defined]


def old_function(world: World) -> None:
    """A function of an older release writes versions without the mark."""
    catalog = world.catalog("orders")
    catalog.write_stream(replace(catalog.streams()[-1], announces=True))
    key = {"id": {"S": "a"}}
    change = Change(key, Stamp(world.second, 1, world.second, "insert"), encode(key))
    path = world.items("orders").root + key_hash(key)
    world.store.put(path, change.payload, change.metadata)


def watcher_gone(world: World) -> None:
    world.watching = False


FAULTS = [
    disabled,
    deleted,
    failing,
    far_behind,
    stream_off,
    table_deleted,
    batch_failed,
    record_foreign,
    may_not_see_failures,
    watcher_gone,
    rows_deleted,
    old_function,
]


def test_the_alarm_is_quiet_while_streams_are_read(world: World, passes: Pass) -> None:
    """While the function reads both streams, the newest exact second is seconds old, and the alarm
    is not raised."""
    for _ in range(12 * 6):
        passes(STEP)
        assert not raised(world)
        assert set(ages(world)) == {"orders", "users", "stream-backup"}
        assert max(ages(world).values()) < MINUTE


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_alarm_is_raised(world: World, passes: Pass, fault: Callable[[World], None]) -> None:
    """Whatever keeps the newest exact second from moving on, or the watcher from knowing it, raises
    the alarm within 90 minutes, and only one table needs to be affected. What only a walk through
    the items shows raises it within a day."""
    passes(HOUR)
    assert not raised(world)
    fault(world)
    passes(26 * HOUR if fault in (rows_deleted, old_function) else 90 * MINUTE)
    assert raised(world)


@pytest.mark.parametrize("fault", [disabled, failing, record_foreign, watcher_gone])
def test_the_other_tables_are_watched(
    world: World, passes: Pass, fault: Callable[[World], None]
) -> None:
    """A fault of one table does not keep the record of the other from growing, unless the watcher
    itself is gone or the function fails for all tables."""
    fault(world)
    passes(HOUR)
    witness = world.catalog("users").witness(LABEL)
    if fault is watcher_gone:
        assert witness is None
    elif fault is failing:
        assert witness is not None
        assert witness.read == BEGIN
    else:
        assert witness is not None
        assert witness.read > world.second - MINUTE
        assert ages(world)["users"] < MINUTE


def test_the_alarm_returns_to_ok(world: World, passes: Pass) -> None:
    """When the mapping is enabled again within a day, nothing was lost: the alarm returns to OK."""
    passes(HOUR)
    disabled(world)
    passes(20 * HOUR)
    assert raised(world)
    assert ages(world)["orders"] == ages(world)["stream-backup"] == pytest.approx(20 * HOUR, abs=60)
    world.states["orders"], world.behind = "Enabled", 1
    passes(30 * MINUTE)
    assert not raised(world)
    assert world.catalog("orders").outages() == []


def test_a_stream_that_was_not_read_for_a_day_is_an_outage(
    world: World, passes: Pass, caplog: pytest.LogCaptureFixture
) -> None:
    """After a day without reading, changes may be lost. The watcher records and logs that, and the
    alarm stays raised until a backfill gives new coverage, although the stream is read again."""
    passes(HOUR)
    disabled(world)
    passes(25 * HOUR)
    (outage,) = world.catalog("orders").outages()
    assert outage.since < BEGIN + HOUR
    assert outage.until > BEGIN + 25 * HOUR
    assert "may be lost: the stream was not read for 24 hours" in caplog.text
    world.states["orders"], world.behind = "Enabled", 1
    passes(2 * HOUR)
    assert raised(world)
    run = Run("later", LABEL, world.second - 60, world.second - 60, world.second, True, {})
    world.catalog("orders").write_run(run)
    passes(30 * MINUTE)
    assert not raised(world)


def test_what_follow_has_read_is_no_outage(world: World, passes: Pass) -> None:
    """A function takes over a stream that `follow` has read for days: the first look of the watcher
    records no outage, and the past stays exact."""
    world.second += 3 * DAY
    until = world.second - MINUTE
    kept = FollowCheckpoint(until, world.second, running=True, drained=False, shards={})
    world.catalog("orders").write_follow_checkpoint(LABEL, kept)
    passes(30 * MINUTE)
    assert world.catalog("orders").outages() == []
    witness = world.catalog("orders").witness(LABEL)
    assert witness
    assert witness.read > until


def test_a_table_that_was_just_enabled_is_not_late(world: World, passes: Pass) -> None:
    """A table without a complete backfill has no exact second. It counts from when it was enabled,
    and raises the alarm when its backfill does not come."""
    world.enable("new")
    passes(30 * MINUTE)
    assert not raised(world)
    passes(HOUR)
    assert raised(world)
    world.backfill("new")
    passes(30 * MINUTE)
    assert not raised(world)


def test_a_table_that_was_disabled_is_no_longer_watched(world: World, passes: Pass) -> None:
    """What `disable` ended has no age, and its stream is still watched until it was read to its
    end."""
    end = world.second + HOUR
    world.catalog("orders").write_end(LABEL, End(end, "switched off"))
    world.labels["orders"] = None
    passes(3 * HOUR)
    assert not raised(world)
    assert set(ages(world)) == {"users", "stream-backup"}
    witness = world.catalog("orders").witness(LABEL)
    assert witness is not None
    assert end <= witness.read < end + 2 * STEP


def test_deleted_rows_of_a_disabled_table_raise_no_alarm(world: World, passes: Pass) -> None:
    """Whoever retires the archive of a table that is not enabled any more is not held up."""
    world.catalog("orders").write_end(LABEL, End(world.second + HOUR, "switched off"))
    world.labels["orders"] = None
    rows_deleted(world)
    passes(26 * HOUR)
    assert world.catalog("orders").walks()["ended"].hidden == 1
    assert not raised(world)


def test_an_end_of_a_stream_that_is_on_does_not_count(world: World, passes: Pass) -> None:
    """When `disable` recorded an end but could not switch the stream off, the table is still
    watched."""
    world.catalog("orders").write_end(LABEL, End(world.second, "switched off"))
    passes(HOUR)
    assert set(ages(world)) == {"orders", "users", "stream-backup"}


def test_a_deleted_table_raises_the_alarm_for_a_day(world: World, passes: Pass) -> None:
    """After a day nothing is left in the stream of a deleted table, and nobody can do anything for
    it any more."""
    passes(HOUR)
    table_deleted(world)
    passes(23 * HOUR)
    assert raised(world)
    passes(2 * HOUR)
    assert not raised(world)
    assert set(ages(world)) == {"users", "stream-backup"}


def test_nothing_enabled_raises_no_alarm(world: World, passes: Pass) -> None:
    """A stack without any table publishes an age of 0, so that the alarm is not raised."""
    world.enabled.clear()
    passes(HOUR)
    assert ages(world) == {"stream-backup": 0}
    assert not raised(world)


def test_another_stack_does_not_hide_the_alarm(world: World, passes: Pass) -> None:
    """The greatest age has the name of its stack, so that the watcher of another stack in the
    account cannot stand in for one that is gone."""
    passes(HOUR)
    assert Alarm("ExactAgeAlarm", "other").is_raised(world.points, world.second, 4)


def test_unknown_retention_leaves_no_exact_second(world: World, passes: Pass) -> None:
    """Where nothing says for how long the bucket keeps versions, no second is exact, and the alarm
    is raised. Once the rules were read, their record counts."""
    world.denied.add("lifecycle")
    passes(90 * MINUTE)
    assert raised(world)
    assert ages(world)["orders"] == 90 * MINUTE
    assert world.catalog("orders").retentions() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (record_foreign, "is not in format 1"),
        (may_not_see_failures, "No permission to read the failures bucket"),
    ],
)
def test_the_watcher_fails_when_it_does_not_know(
    world: World,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    fault: Callable[[World], None],
    said: str,
) -> None:
    """A look that is not complete is an error of the function, is logged with its reason, and
    leaves the greatest age out."""
    fault(world)
    with caplog.at_level(logging.ERROR), pytest.raises(IncompleteError, match=said):
        module.handler({}, None)
    assert said in caplog.text
    published = {
        name for point in embedded(capsys.readouterr().out, 0) for name in point.dimensions
    }
    assert ("stack", "stream-backup") not in published
    assert ("table", "users") in published


def test_the_watcher_needs_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the name of an archive, the function says what to set."""
    monkeypatch.delenv("STREAM_BACKUP_ARCHIVE", raising=False)
    with pytest.raises(UsageError, match="STREAM_BACKUP_ARCHIVE is not set"):
        module.handler({}, None)


class Records(World):
    """The same world for a command, which sees the items."""

    def archive(self, table: str, schema: KeySchema | None = None) -> Archive:
        return self.items(table)


def test_follow_walks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `follow` reads a stream and nobody deployed a watcher, it walks through the items every
    few minutes. What fails there is reported, and does not end it."""
    world, notes, now = Records("orders"), list[str](), [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(stream_backup.capture.catch_up, "time", clock)
    progress = SimpleNamespace(note=notes.append)
    walk = keeper(world, "orders", cast("Progress", progress))
    walk()
    walks = world.catalog("orders").walks()
    assert walks["ended"].ended == world.second
    world.second += DAY
    walk()
    assert world.catalog("orders").walks() == walks
    now[0] += EVERY
    walk()
    assert world.catalog("orders").walks()["ended"].began == world.second
    now[0] += EVERY
    record_foreign(world)
    walk()
    assert "could not be looked at" in notes[0]


def test_the_items_of_an_archive_are_not_searched(
    world: World, passes: Pass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at a table, the watcher lists and reads only records, also when a stream went off
    without `disable`: then the commands search the items for its last change, which takes too long
    for the watcher. Only a walk lists items, a slice at a time, and stops when time is over."""
    listed: list[str] = []
    versions = world.store.versions

    def listing(prefix: str, **how: Any) -> Any:
        listed.append(prefix)
        return versions(prefix, **how)

    monkeypatch.setattr(world.store, "versions", listing)
    stream_off(world)
    passes(STEP)
    print(f"\n{len(listed)} lists, {world.store.requests} for two tables")
    assert listed
    items = [prefix for prefix in listed if "/meta/" not in prefix]
    assert set(items) == {
        f"production/{table}/{part}" for table in world.enabled for part in "0123456789abcdef"
    }
    listed.clear()
    passes(STEP)
    assert all("/meta/" in prefix for prefix in listed)
    assert len(listed) <= 46
