"""The scheduled drills: which tables they are about and in which order, what they publish and log,
when they end, and when the alarms on them are raised.

The entry points of the driller and of the watcher are the real ones. What a drill does is a fake
here (test_drill.py has the engine), and AWS is the `World` of the watcher.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from stream_backup import driller as module
from stream_backup import watcher
from stream_backup.capture.drilled import wanted
from stream_backup.core.drill import DrillRecord, DrillResult
from stream_backup.core.moment import iso
from stream_backup.core.records import End
from stream_backup.drill.run import DrillRequest
from stream_backup.errors import CoverageError, IncompleteError, UnavailableError, UsageError
from tests.alarms import Alarm, Datapoint, embedded
from tests.fake_dynamodb import refusal
from tests.test_watcher import BEGIN, DAY, HOUR, LABEL, MINUTE, World, record_foreign

FAILED, AGE = Alarm("DrillFailedAlarm"), Alarm("DrillAgeAlarm")
SECRET = "4929-1234-5678-9012"
"""What an item contains."""


def record(table: str, ended: int, result: DrillResult = "passed", **more: Any) -> DrillRecord:
    made = DrillRecord(
        name=f"{iso(ended)}-abcdef",
        table=table,
        archive="s3://backups/production",
        began=ended - MINUTE,
        ended=ended,
        by="arn:aws:sts::123456789012:assumed-role/driller",
        result=result,
        reason="" if result == "passed" else f"it {result}",
        seed=1,
        part="all",
        moment=ended - HOUR,
    )
    return replace(made, **more)


@dataclass
class Drills:
    """The engine: what each table answers, what was asked, and how many seconds a drill takes."""

    world: World
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[DrillRequest] = field(default_factory=list)
    takes: int = 30
    passed: float = 0.0

    def __call__(
        self, connection: Any, request: DrillRequest, progress: Any, stop: Event
    ) -> DrillRecord:
        assert connection is self.world
        self.asked.append(request)
        self.pass_time(self.takes)
        answer = self.answers.get(request.table, "passed")
        if isinstance(answer, Exception):
            raise answer
        more = {"rows": 10, "restore_seconds": 4.0, "rows_per_second": 2.5, "exact_age": 7}
        made = answer if isinstance(answer, DrillRecord) else None
        made = made or record(request.table, self.world.second, answer, **more)
        self.world.catalog(request.table).write_drill(made)
        return made

    def pass_time(self, seconds: int) -> None:
        self.passed += seconds
        self.world.second += seconds

    @property
    def tables(self) -> list[str]:
        return [each.table for each in self.asked]


@dataclass
class Run:
    """The driller as a schedule invokes it."""

    drills: Drills
    capsys: pytest.CaptureFixture[str]
    points: list[Datapoint] = field(default_factory=list)
    said: str = ""

    def __call__(self, seconds: float = 900) -> dict[str, Any]:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: seconds * 1000)
        try:
            return module.handler({}, context)
        finally:
            said = self.capsys.readouterr()
            self.said += said.out + said.err
            self.points += embedded(said.out, self.drills.world.second)

    def published(self, dimension: str, value: str) -> dict[str, float]:
        return {
            each.metric: each.value
            for each in self.points
            if each.dimensions == {("service", "stream-backup"), (dimension, value)}
        }


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World("orders", "users")
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups/production")
    monkeypatch.setenv("STREAM_BACKUP_DRILL_TABLES", "*")
    monkeypatch.setattr(watcher, "RecordsConnection", lambda *_: found)
    monkeypatch.setattr(module, "Connection", lambda *_: found)
    return found


@pytest.fixture
def drills(world: World, monkeypatch: pytest.MonkeyPatch) -> Drills:
    found = Drills(world)
    monkeypatch.setattr(module, "drill", found)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: found.passed))
    return found


@pytest.fixture
def run(drills: Drills, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(drills, capsys)


# Which tables


def test_every_enabled_table_is_drilled(world: World, drills: Drills, run: Run) -> None:
    """Without names, every table that is enabled is drilled, with the number of rows of the
    parameter and a limit of time. One that was disabled, or deleted, is not."""
    for name in ("retired", "deleted", "again"):
        world.enable(name)
    world.catalog("retired").write_end(LABEL, End(world.second, "switched off"))
    world.labels["retired"] = None
    world.catalog("again").write_end(LABEL, End(world.second, "switched off"))  # but it is on
    del world.labels["deleted"]
    assert run() == {"passed": 3, "failed": [], "left": []}
    assert drills.tables == ["again", "orders", "users"]
    for each in drills.asked:
        assert (each.rows, each.at) == (module.ROWS, None)


def test_tables_share_the_time(drills: Drills, run: Run) -> None:
    """Each table may take its share of the time that is left, but no less than a drill needs, so
    that one that takes too long does not keep the others from their turn."""
    drills.takes = 100
    run(900)
    assert [each.seconds for each in drills.asked] == [390, 680]
    run(320)
    assert drills.asked[-1].seconds == module.SHORTEST


def test_the_named_tables_are_drilled(
    world: World, drills: Drills, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With names, only these tables are drilled. A name that is not an enabled table fails the run,
    because a misspelled table would never be drilled."""
    monkeypatch.setenv("STREAM_BACKUP_DRILL_TABLES", "users")
    monkeypatch.setenv("STREAM_BACKUP_DRILL_ROWS", "50")
    assert run() == {"passed": 1, "failed": [], "left": []}
    assert [(each.table, each.rows) for each in drills.asked] == [("users", 50)]
    monkeypatch.setenv("STREAM_BACKUP_DRILL_TABLES", "users,ordrs")
    assert run() == {"passed": 1, "failed": ["ordrs"], "left": []}
    assert run.published("table", "ordrs") == {"drill_passed": 0, "drill_failed": 1}


@pytest.mark.parametrize(
    ("text", "names"),
    [("*", None), ("orders", {"orders"}), ("orders, users,", {"orders", "users"}), ("a,*", None)],
)
def test_names_are_parsed(text: str, names: set[str] | None) -> None:
    """Names are separated by commas, and an asterisk stands for every table."""
    assert wanted(text) == names


def test_the_table_that_waits_longest_is_drilled_first(
    world: World, drills: Drills, run: Run
) -> None:
    """Whatever the last results were, the table whose last drill is the oldest is first, and one
    that was never drilled is before all others."""
    world.enable("zebras")
    world.catalog("orders").write_drill(record("orders", BEGIN + HOUR))
    world.catalog("users").write_drill(record("users", BEGIN + MINUTE))
    world.enable("tried")
    world.catalog("tried").write_drill(record("tried", BEGIN + 2 * HOUR, "failed"))
    world.second = BEGIN + DAY
    run()
    assert drills.tables == ["zebras", "users", "orders", "tried"]


# Time


def test_no_drill_begins_that_could_not_end(
    drills: Drills, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A drill is begun only if enough time is left for it. What is left is said, and comes first in
    the next run."""
    drills.takes = 650
    assert run(900) == {"passed": 1, "failed": [], "left": ["users"]}
    assert "no time left for 1 tables" in caplog.text
    assert run(900) == {"passed": 1, "failed": [], "left": ["orders"]}
    assert drills.tables == ["orders", "users"]


@given(
    tables=st.integers(1, 30),
    takes=st.lists(st.integers(1, 900), min_size=30, max_size=30),
    given=st.integers(60, 900),
)
def test_time_is_never_over(tables: int, takes: list[int], given: int) -> None:
    """However many tables there are and however long each takes, a drill that keeps to its limit
    ends early enough before the end of the invocation to remove its scratch table, and no table is
    forgotten."""
    now, asked = [0.0], list[str]()
    names = [f"table-{index}" for index in range(tables)]

    def one(request: DrillRequest) -> bool:
        assert request.seconds is not None
        assert request.seconds >= module.SHORTEST
        now[0] += min(request.seconds, takes[len(asked)])
        assert now[0] + module.RESERVE <= given
        asked.append(request.table)
        return True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_waiting", lambda _: (names, []))
        patched.setattr(module, "_drill", one)
        patched.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        found = module.drill_all(given - module.RESERVE)
    assert [*asked, *found.left] == names
    assert found.passed == len(asked)


def test_a_drill_that_does_not_end_is_stopped(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill that does not end by itself in its time is stopped, and then its requests are not
    made again any more while AWS is busy. Nothing waits for a drill that has ended."""
    monkeypatch.setattr(module, "SHORTEST", 0.01)
    monkeypatch.setattr(module, "REMOVAL", 0.0)
    opened, seen = list[Any](), list[object]()

    def connect(*words: Any) -> World:
        opened.append(words)
        return world

    def waits(_: Any, request: DrillRequest, __: Any, stop: Event) -> DrillRecord:
        *_, attempts = opened[-1]
        seen.append(attempts("S3 GetObject", lambda: "answered"))
        seen.append(stop.wait(20))
        try:
            attempts("S3 GetObject", busy)
        except UnavailableError:
            seen.append("given up")
        return record(request.table, world.second, "interrupted")

    monkeypatch.setattr(module, "Connection", connect)
    monkeypatch.setattr(module, "drill", waits)
    assert run(module.RESERVE + 0.02)["failed"] == ["orders", "users"]
    assert seen == ["answered", True, "given up"] * 2
    assert {words[2] for words in opened} == {"s3://backups/production"}
    for each in threading.enumerate():
        if isinstance(each, threading.Timer):
            each.join(60)
            assert not each.is_alive()


def busy() -> None:
    raise refusal("SlowDown")


# Results


def test_metrics_are_published(drills: Drills, run: Run) -> None:
    """Each drill publishes its result and what it measured, and the run the number of tables whose
    drill did not pass."""
    drills.answers["users"] = "failed"
    assert run() == {"passed": 1, "failed": ["users"], "left": []}
    measured = {
        "drill_rows": 10,
        "drill_seconds": 4.0,
        "drill_rows_per_second": 2.5,
        "drill_exact_age": 7,
    }
    assert run.published("table", "orders") == measured | {"drill_passed": 1, "drill_failed": 0}
    assert run.published("table", "users") == measured | {"drill_passed": 0, "drill_failed": 1}
    assert run.published("stack", "stream-backup") == {"drill_failed": 1}


@pytest.mark.parametrize("age", [0, None])
def test_an_unknown_age_is_not_published(drills: Drills, run: Run, age: int | None) -> None:
    """Where no second was exact, `drill_exact_age` has no value; an age of 0 is one."""
    drills.answers["orders"] = record("orders", BEGIN, exact_age=age)
    run()
    assert run.published("table", "orders").get("drill_exact_age") == age


REASONS: list[Any] = [
    "failed",
    "interrupted",
    "refused",
    CoverageError("No moment of this archive can be restored exactly yet.", ""),
    refusal("AccessDeniedException"),
    ValueError(SECRET),
    RecursionError(),
]


@pytest.mark.parametrize("answer", REASONS, ids=str)
def test_a_drill_that_does_not_pass_stops_no_other(
    drills: Drills, run: Run, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of one drill, the others are made. It counts as failed, also when it was
    refused or did not end, raises the alarm, and the log has an error with its table."""
    drills.answers["orders"] = answer
    assert run() == {"passed": 1, "failed": ["orders"], "left": []}
    assert drills.tables == ["orders", "users"]
    assert run.published("table", "orders")["drill_failed"] == 1
    assert FAILED.is_raised(run.points, drills.world.second, 0)
    (error,) = (each for each in caplog.records if each.levelno == logging.ERROR)
    assert "did not pass" in error.getMessage()
    assert error.__dict__["table"] == "orders"


@pytest.mark.parametrize(
    "answer",
    [
        record("orders", BEGIN, "failed", differences=2, reason=SECRET, examples=(SECRET,)),
        record("orders", BEGIN, "failed", reason=f"1 items could not be restored: {SECRET}"),
        ParamValidationError(report=f"Invalid type for Item: {SECRET}"),
        KeyError(SECRET),
    ],
    ids=["differences", "incomplete", "parameter", "unexpected"],
)
def test_the_log_has_no_contents(
    drills: Drills,
    run: Run,
    answer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What differs and what failed is logged without the contents of items and without their
    keys."""
    drills.answers["orders"] = answer
    run()
    assert SECRET not in run.said + caplog.text
    assert "did not pass" in caplog.text


def test_scratch_tables_that_were_removed_are_logged(
    drills: Drills, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A scratch table that an interrupted drill left, and this one removed, is named in the log."""
    removed = ("stream-backup-drill-1",)
    drills.answers["orders"] = record("orders", BEGIN, removed=removed)
    run()
    assert "Removed the scratch tables of interrupted drills: stream-backup-drill-1" in caplog.text


def test_a_table_that_cannot_be_looked_at_stops_no_other(
    world: World, drills: Drills, run: Run
) -> None:
    """A record of one table that cannot be read fails that table alone."""
    world.store.put("production/orders/meta/streams/2.json", b"?", {})
    assert run() == {"passed": 1, "failed": ["orders"], "left": []}
    assert drills.tables == ["users"]


def test_a_run_that_cannot_begin_raises_the_alarm(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the tables cannot be listed, nothing is drilled: the invocation fails, so that Lambda
    repeats it, and the alarm is raised."""

    def denied() -> list[str]:
        raise refusal("AccessDenied")

    monkeypatch.setattr(world, "tables", denied)
    with pytest.raises(Exception, match="AccessDenied"):
        run()
    assert run.published("stack", "stream-backup") == {"drill_failed": 1}
    monkeypatch.delenv("STREAM_BACKUP_ARCHIVE")
    with pytest.raises(UsageError, match="STREAM_BACKUP_ARCHIVE is not set"):
        run()


# Alarms


@pytest.fixture
def watched(world: World, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Datapoint]]:
    def look() -> list[Datapoint]:
        with suppress(IncompleteError):
            watcher.handler({}, None)
        return list(embedded(capsys.readouterr().out, world.second))

    return look


def ages(points: list[Datapoint]) -> dict[str, float]:
    return {
        value: each.value
        for each in points
        if each.metric == "drill_age_days"
        for name, value in each.dimensions
        if name != "service"
    }


def test_the_alarm_is_raised_until_all_drills_of_a_run_pass(drills: Drills, run: Run) -> None:
    """Between two runs there is no value, and the alarm keeps its state: it is quiet until a drill
    fails, and raised until all drills of a run pass."""
    states = []
    for answer in ("passed", "failed", "passed", "passed"):
        drills.answers["users"] = answer
        run()
        states.append(FAILED.is_raised(run.points, drills.world.second, 0))
        drills.pass_time(7 * DAY)
        states.append(FAILED.is_raised(run.points, drills.world.second, 0))
    assert states == [False, False, True, True, False, False, False, False]


def test_a_missing_drill_raises_the_alarm(
    world: World, drills: Drills, run: Run, watched: Callable[[], list[Datapoint]]
) -> None:
    """While a drill passes every week, its age stays below the threshold. When the schedule stops,
    or drills of one table do not pass any more, the alarm is raised after DrillMaxAgeDays."""
    for _ in range(3):
        run()
        drills.pass_time(7 * DAY)
        points = watched()
        assert set(ages(points)) == {"orders", "users", "stream-backup"}
        assert ages(points)["stream-backup"] == pytest.approx(7, abs=0.01)
        assert not AGE.is_raised(points, world.second, 4)
    drills.answers["users"] = "interrupted"
    for _ in range(2):
        run()
        drills.pass_time(7 * DAY)
    points = watched()
    assert ages(points)["orders"] == pytest.approx(7, abs=0.01)
    assert ages(points)["users"] == ages(points)["stream-backup"] == pytest.approx(21, abs=0.01)
    assert AGE.is_raised(points, world.second, 4)
    assert AGE.is_raised([], world.second, 4)  # the watcher does not know


def test_a_drill_by_hand_counts(world: World, watched: Callable[[], list[Datapoint]]) -> None:
    """The age is that of the records, so a drill that somebody runs with the command counts too,
    and a newer drill that did not pass does not."""
    world.second = BEGIN + 40 * DAY
    assert AGE.is_raised(watched(), world.second, 4)
    for table in ("orders", "users"):
        world.catalog(table).write_drill(record(table, world.second - DAY))
        world.catalog(table).write_drill(record(table, world.second - HOUR, "failed"))
    points = watched()
    assert ages(points) == pytest.approx({"orders": 1, "users": 1, "stream-backup": 1})
    assert not AGE.is_raised(points, world.second, 4)


def test_a_table_that_was_just_enabled_is_not_late(
    world: World, watched: Callable[[], list[Datapoint]]
) -> None:
    """A table that was never drilled counts from when it was first enabled."""
    world.second = BEGIN + 30 * DAY
    for table in ("orders", "users"):
        world.catalog(table).write_drill(record(table, world.second))
    world.enable("new")
    assert ages(watched())["new"] == 0
    world.second += 16 * DAY
    assert ages(watched())["new"] == pytest.approx(16)
    (stream,) = world.catalog("new").streams()
    again = replace(stream, label=f"{LABEL}9", recorded=world.second)
    world.catalog("new").write_stream(again)
    assert ages(watched())["new"] == pytest.approx(16)


@pytest.mark.parametrize("names", ["orders", "orders,ordrs"])
def test_only_the_named_tables_have_an_age(
    world: World,
    watched: Callable[[], list[Datapoint]],
    monkeypatch: pytest.MonkeyPatch,
    names: str,
) -> None:
    """With names, no other table has an age. A name that is not an enabled table leaves the
    greatest age out, so that the alarm is raised."""
    monkeypatch.setenv("STREAM_BACKUP_DRILL_TABLES", names)
    points = watched()
    assert set(ages(points)) == {"orders"} | ({"stream-backup"} if names == "orders" else set())
    assert AGE.is_raised(points, world.second, 4) == (names != "orders")


def test_without_a_schedule_no_age_is_published(
    world: World, watched: Callable[[], list[Datapoint]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no drill is scheduled, the watcher reads no record of a drill, and publishes what it
    always did."""
    monkeypatch.delenv("STREAM_BACKUP_DRILL_TABLES")
    world.store.put("production/orders/meta/drills/1.json", b"?", {})
    assert {each.metric for each in watched()} == {"exact_age"}


def foreign_drill(world: World) -> None:
    world.store.put("production/orders/meta/drills/9.json", b"?", {})


@pytest.mark.parametrize("fault", [foreign_drill, record_foreign])
def test_an_unknown_drill_raises_the_alarm(
    world: World, fault: Callable[[World], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """When the records of a table cannot be read, the other tables have their age, and the greatest
    one is left out. What is wrong with drills alone does not touch `exact_age`."""
    fault(world)
    with pytest.raises(IncompleteError, match="orders"):
        watcher.handler({}, None)
    points = list(embedded(capsys.readouterr().out, world.second))
    assert set(ages(points)) == {"users"}
    exact = {name for each in points if each.metric == "exact_age" for name in each.dimensions}
    assert (("stack", "stream-backup") in exact) == (fault is foreign_drill)


def test_only_the_last_drills_are_read(
    world: World, watched: Callable[[], list[Datapoint]]
) -> None:
    """The watcher runs every few minutes, so it reads no more records of drills than those after
    the last one that passed."""
    watched()
    before = world.store.requests["get"]
    watched()
    usual = world.store.requests["get"] - before
    for day in range(50):
        world.catalog("orders").write_drill(record("orders", BEGIN - day * DAY))
    before = world.store.requests["get"]
    points = watched()
    assert ages(points)["orders"] == 0
    assert world.store.requests["get"] - before <= usual + 4
