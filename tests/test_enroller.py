"""Enrolment: which tables the stack enables by itself, what it leaves alone, how a backfill goes on
from run to run, and what it records, logs and publishes.

The entry point and the engines are the real ones. AWS is the `Account`.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from backfill.run import Backfill
from backfill.segment import Segment
from stream_backup import enroller as module
from stream_backup.archive.audit import KINDS
from stream_backup.aws import capacity
from stream_backup.aws.capacity import ReadBudget
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.records import Enrolment, Run
from stream_backup.enrol import run as engine
from stream_backup.enrol.rule import EnrolRule
from stream_backup.errors import UsageError
from tests.account import CALLER, SCHEMA, Account, Reply, account, said
from tests.alarms import Datapoint, embedded
from tests.fake_dynamodb import refusal

__all__ = ["account", "said"]

Command = Callable[..., Reply]
RUN = 15 * 60


@dataclass
class Runs:
    """The enroller as a schedule invokes it. Seconds pass on the clock of the account, and on the
    monotonic clock that the engine reads."""

    account: Account
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    log: list[tuple[str, str, str]] = field(default_factory=list)
    points: list[Datapoint] = field(default_factory=list)

    def __call__(self, seconds: float = 810) -> dict[str, Any]:
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: seconds * 1000)
        self.log.clear()
        self.points.clear()
        try:
            return module.handler({}, context)
        finally:
            said = self.capsys.readouterr()
            self.points += embedded(said.out, int(self.account.second))
            self.account.second += RUN

    def rule(self, pattern: str = "", tag: str = "", share: str = "") -> None:
        settings = {"PATTERN": pattern, "TAG": tag, "READ_SHARE": share}
        for name, value in settings.items():
            self.monkeypatch.setenv(f"STREAM_BACKUP_ENROL_{name}", value)

    def published(self) -> dict[str, float]:
        dimensions = {("service", "stream-backup"), ("stack", "stream-backup")}
        return {each.metric: each.value for each in self.points if each.dimensions == dimensions}


@pytest.fixture
def runs(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runs:
    found = Runs(account, monkeypatch, capsys)
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups")
    monkeypatch.setattr(module, "Connection", lambda *_: account)
    clock = SimpleNamespace(monotonic=lambda: account.second, sleep=account.sleep)
    monkeypatch.setattr(engine, "time", clock)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: account.second))

    def note(level: str) -> Callable[..., None]:
        return lambda text, table="", **_: found.log.append((level, table, text))

    for level in ("info", "warning", "error"):
        monkeypatch.setattr(module.logger, level, note(level))
    found.rule("shop-*")
    return found


def nothing(**more: Any) -> dict[str, Any]:
    return {"enabled": (), "backfilled": (), "failed": {}, "left": ()} | more


# Which tables


def test_tables_are_enrolled_as_they_appear(account: Account, runs: Runs) -> None:
    """A table that matches is enabled and backfilled by the run after it appeared, and no other
    is. Who did it and why is on record, in the log, and in the metrics."""
    account.create("shop-a")
    account.create("other")
    assert runs() == nothing(enabled=("shop-a",), backfilled=("shop-a",))
    assert runs.published() == {"enrolled": 1, "enrol_failed": 0, "enrol_waiting": 0}
    assert runs.log == [
        ("info", "shop-a", "Enabled, because its name matches 'shop-*'."),
        ("info", "shop-a", "Backfill complete: 5 items read."),
    ]
    found = account.catalog("shop-a").enrolment("table-1")
    assert found
    assert (found.by, found.why) == (CALLER, "its name matches 'shop-*'")
    assert found.asked < found.enabled
    stream = account.stream("shop-a")
    assert stream
    assert stream.reader == "function"
    (run,) = account.catalog("shop-a").runs()
    assert run.complete
    assert account.stream("other") is None

    assert runs() == nothing()
    account.create("shop-b")
    assert runs() == nothing(enabled=("shop-b",), backfilled=("shop-b",))
    assert account.asked["update_table", "shop-a"] == 1
    assert account.asked["update_table", "other"] == 0


def test_a_table_is_never_enrolled_twice(account: Account, runs: Runs) -> None:
    """However often it runs, a table is switched on once, has one mapping and one backfill."""
    account.create("shop-a")
    for _ in range(4):
        runs()
    assert account.asked["update_table", "shop-a"] == 1
    assert len(account.mappings) == 1
    assert len(account.catalog("shop-a").runs()) == 1
    assert runs.published()["enrolled"] == 0


def test_a_disabled_table_is_left_alone(account: Account, runs: Runs, said: Command) -> None:
    """A table that somebody disabled is left alone, for ever, be it that the stack had enrolled it;
    and it is backed up again once somebody enables it, whose backfill the stack makes."""
    account.create("shop-a")
    runs()
    assert said("disable", "shop-a").code == 0
    for _ in range(3):
        assert runs() == nothing()
    assert account.live["shop-a"].label is None
    assert said("enable", "shop-a").code == 0
    assert runs() == nothing(backfilled=("shop-a",))
    assert said("disable", "shop-a").code == 0
    assert runs() == nothing()


def test_what_people_enabled_is_theirs(account: Account, runs: Runs, said: Command) -> None:
    """A table that somebody enabled is enabled: the stack neither enables nor backfills it."""
    account.create("shop-a")
    account.create("shop-b")
    assert said("enable", "shop-a").code == 0
    assert said("enable", "shop-b", "--stream-only").code == 0
    before = account.stream("shop-b")
    assert runs() == nothing()
    assert account.catalog("shop-a").runs() == []
    assert account.stream("shop-b") == before


def test_a_stream_that_went_off_is_left_alone(account: Account, runs: Runs) -> None:
    """If a stream was switched off without `disable`, nobody knows why: it may be somebody's
    template. The table is left alone, and the log says so in every run."""
    account.create("shop-a")
    runs()
    account.switch_off("shop-a")
    for _ in range(2):
        assert runs() == nothing()
        assert runs.log == [
            (
                "warning",
                "shop-a",
                "Left alone, because its stream was switched off without `disable`.",
            )
        ]
    assert account.live["shop-a"].label is None


def test_restored_tables_and_scratch_tables_are_left_alone(account: Account, runs: Runs) -> None:
    """A table that a restore made or is filling is left alone, and so is the scratch table of a
    drill, whatever the rule says."""
    account.create("shop-copy", tags={"stream-backup:restored": "shop-a"})
    account.create("shop-filled", tags={"stream-backup:restoring": "shop-a"})
    account.create("stream-backup-drill-shop-1")
    runs.rule("*", "backup=yes")
    account.live["stream-backup-drill-shop-1"].tags = {"backup": "yes"}
    assert runs() == nothing()
    assert account.asked["update_table", "shop-copy"] == 0


def test_a_recreated_table_is_a_new_one(account: Account, runs: Runs, said: Command) -> None:
    """A table that was deleted and created again under its name is enrolled again, unless the
    former one was disabled: that decision stands."""
    account.create("shop-a")
    account.create("shop-b")
    runs()
    assert said("disable", "shop-b").code == 0
    for name in ("shop-a", "shop-b"):
        del account.live[name]
        account.create(name)
    assert runs() == nothing(enabled=("shop-a",), backfilled=("shop-a",))


def test_a_table_that_is_being_created_waits(account: Account, runs: Runs) -> None:
    """A table that cannot be changed yet is no failure: it waits for the next run."""
    table = account.create("shop-a", status="CREATING")
    assert runs() == nothing(left=("shop-a",))
    assert runs.published() == {"enrolled": 0, "enrol_failed": 0, "enrol_waiting": 1}
    table.status = "ACTIVE"
    assert runs()["enabled"] == ("shop-a",)


def test_tags(account: Account, runs: Runs) -> None:
    """A table with the tag is enrolled: with this value if one is set, with any otherwise. Tags are
    not read where the name decides, or of tables whose streams the function may not read."""
    account.create("a", tags={"backup": "yes"})
    account.create("b", tags={"backup": "no"})
    account.create("c", tags={"other": "yes"})
    account.create("shop-a")
    stack = account.stack
    assert stack
    runs.rule("shop-*", "backup=yes")
    assert runs()["enabled"] == ("a", "shop-a")
    assert "it has the tag backup=yes" in account.catalog("a").enrolment("table-1").why  # type: ignore[union-attr]
    assert account.asked["list_tags_of_resource", "b"] == 1
    runs.rule(tag="backup")
    account.__dict__["stack"] = replace(stack, pattern="a*,shop-*")
    assert runs() == nothing()
    assert account.asked["list_tags_of_resource", "b"] == 1
    account.__dict__["stack"] = stack
    assert runs()["enabled"] == ("b",)


def test_a_table_that_the_function_cannot_read_fails(account: Account, runs: Runs) -> None:
    """A table that matches EnrolPattern and not TablePattern cannot be backed up: that is a
    failure, which says what to change."""
    account.create("shop-a")
    stack = account.stack
    assert stack
    account.__dict__["stack"] = replace(stack, pattern="orders*")
    assert "can read only tables that match 'orders*'" in runs()["failed"]["shop-a"]
    assert account.asked["update_table", "shop-a"] == 0


# Failures


def test_one_table_that_fails_stops_no_other(account: Account, runs: Runs) -> None:
    """A table that cannot be enabled, and one that cannot be read, are failures of their own: in
    the log, in the metric, and in `status`; the others are enrolled."""
    for name in ("shop-a", "shop-b", "shop-c", "shop-d"):
        account.create(name)
    keys = account.live["shop-b"]
    keys.label = keys.latest = "2026-11-21T03:32:40.266"
    keys.view = "KEYS_ONLY"

    def deny(operation: str, request: dict[str, Any]) -> None:
        if operation == "scan" and request["TableName"] == "shop-c":
            raise refusal("AccessDeniedException")

    account.on_call = deny
    found = runs()
    assert found["enabled"] == ("shop-a", "shop-c", "shop-d")
    assert found["backfilled"] == ("shop-a", "shop-d")
    assert sorted(found["failed"]) == ["shop-b", "shop-c"]
    assert runs.published()["enrol_failed"] == 2
    errors = {table: text for level, table, text in runs.log if level == "error"}
    assert "KEYS_ONLY" in errors["shop-b"]
    assert "does not permit" in errors["shop-c"]
    attempt = account.catalog("shop-b").enable_attempt()
    assert attempt
    assert "KEYS_ONLY" in attempt.reason

    account.on_call = lambda *_: None
    account.switch_off("shop-b")
    keys.view = "NEW_AND_OLD_IMAGES"
    found = runs()
    assert found == nothing(enabled=("shop-b",), backfilled=("shop-b", "shop-c"))
    assert account.catalog("shop-b").enable_attempt() is None


def test_an_unexpected_error_is_not_logged_with_its_text(account: Account, runs: Runs) -> None:
    """The text of an error that nobody expected may contain what an item contains, so only its type
    is logged."""
    account.create("shop-a")
    secret = "4929-1234-5678-9012"

    def fail(operation: str, _: Any) -> None:
        if operation == "scan":
            raise RuntimeError(secret)
        if operation == "update_table" and account.calls["scan"]:
            raise ParamValidationError(report=secret)

    account.on_call = fail
    assert runs()["failed"] == {"shop-a": "Unexpected: RuntimeError."}
    account.create("shop-b")
    assert runs()["failed"]["shop-b"] == "Unexpected: ParamValidationError."
    assert secret not in str(runs.log)


def test_a_run_that_learns_nothing_is_a_failure(account: Account, runs: Runs) -> None:
    """If the tables cannot be listed, or nothing says which to enrol, the run fails and says so in
    the metric."""
    account.create("shop-a")

    def deny(operation: str, _: Any) -> None:
        if operation == "list_tables":
            raise refusal("AccessDeniedException")

    account.on_call = deny
    with pytest.raises(Exception, match="AccessDenied"):
        runs()
    assert runs.published()["enrol_failed"] == 1
    account.on_call = lambda *_: None
    runs.rule()
    with pytest.raises(UsageError, match="Neither a pattern nor a tag"):
        runs()
    assert runs.published()["enrol_failed"] == 1


@pytest.mark.parametrize("position", range(1, 40))
def test_a_run_that_is_killed_is_finished_by_the_next(
    account: Account, runs: Runs, position: int
) -> None:
    """Whichever request to DynamoDB is the last one before a run is killed, the next run completes
    what it began: the table is enabled with one mapping, was switched on once, and its backfill is
    complete."""
    account.create("shop-a")

    def kill(*_: Any) -> None:
        if account.calls.total() == position:
            raise KeyboardInterrupt

    account.on_call = kill
    with suppress(KeyboardInterrupt):
        runs()
    account.on_call = lambda *_: None
    for _ in range(2):
        runs()
    found = account.catalog("shop-a")
    assert account.asked["update_table", "shop-a"] <= 2
    assert len(found.streams()) == 1
    assert len(account.mappings) == 1
    enrolment = found.enrolment("table-1")
    assert enrolment
    assert enrolment.enabled
    assert [run.complete for run in found.runs()] == [True]
    assert runs() == nothing()


# Backfills


def slow(account: Account, table: str, seconds: float) -> None:
    """Makes each page of this table take so long."""

    def wait(operation: str, request: dict[str, Any]) -> None:
        if operation == "scan" and request["TableName"] == table:
            account.second += seconds

    account.on_call = wait


def test_a_backfill_goes_on_in_the_next_run(account: Account, runs: Runs) -> None:
    """A backfill that does not end in the time of a run continues from its checkpoints in the next
    ones, as the same run, and reads no page twice but the one that was cut off."""
    account.create("shop-a", rows=40)
    slow(account, "shop-a", 200)
    assert runs() == nothing(enabled=("shop-a",), left=("shop-a",))
    assert runs.published()["enrol_waiting"] == 1
    (first,) = account.catalog("shop-a").runs()
    assert not first.complete
    for _ in range(20):
        found = runs()
        assert found["failed"] == {}
        if found["backfilled"]:
            break
    (last,) = account.catalog("shop-a").runs()
    assert last.complete
    assert last.name == first.name
    assert last.counts["read"] == 40
    names = {path for path in account.store.objects if "/meta/" not in path}  # type: ignore[attr-defined]
    assert len(names) == 40


def test_tables_share_the_time_of_a_run(account: Account, runs: Runs) -> None:
    """A large table leaves the others their share of a run, and the table that was not worked on
    for the longest time is first in the next one."""
    account.create("shop-a", rows=60)
    account.create("shop-b")
    slow(account, "shop-a", 40)
    found = runs()
    assert found["backfilled"] == ("shop-b",)
    assert found["left"] == ("shop-a",)


def test_nothing_is_begun_when_the_time_is_over(account: Account, runs: Runs) -> None:
    """When too little time is left to enable a table, or to backfill it, that waits for the next
    run, and is no failure."""
    account.create("shop-a")
    assert runs(module.RESERVE + engine.ENABLING - 1) == nothing(left=("shop-a",))
    assert account.asked["update_table", "shop-a"] == 0
    assert runs(module.RESERVE + engine.ENABLING + 20)["enabled"] == ("shop-a",)
    account.catalog("shop-a")
    assert runs(module.RESERVE + engine.SHORTEST - 1)["backfilled"] == ()


def test_the_read_share(account: Account, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backfill uses its share of the capacity of a provisioned table, and no more segments than a
    page of each allows. An on-demand table has no limit."""
    asked: dict[str, tuple[float | None, int | None]] = {}
    genuine = Backfill

    def spied(
        dynamodb: Any, archive: Any, segments: Any, units: Any, *rest: Any, **how: Any
    ) -> Any:
        asked[archive.table] = (units, segments)
        return genuine(dynamodb, archive, segments, units, *rest, **how)

    monkeypatch.setattr("stream_backup.enrol.run.Backfill", spied)
    account.create("shop-small", rows=2, units=1)
    account.create("shop-large", units=4000)
    account.create("shop-demand")
    runs.rule("shop-*", share="50")
    assert len(runs()["backfilled"]) == 3
    assert asked == {"shop-small": (0.5, 1), "shop-large": (2000.0, 4), "shop-demand": (None, None)}


def test_a_budget_without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda has no shared memory for semaphores, so a budget is then kept in the process alone,
    and is the same budget."""

    def fails(_: str) -> Any:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(capacity, "get_context", fails)
    budget = ReadBudget(10.0, lambda: 100.0)
    assert [budget.spend(5) for _ in range(3)] == [0.5, 1.0, 1.5]


# The rule


@given(st.text("ab", min_size=1, max_size=3), st.sampled_from(["", "a*", "b", "*a,b*"]))
def test_the_rule(table: str, patterns: str) -> None:
    """A table is selected when one of the patterns matches or when it has the tag, and by nothing
    else."""
    rule = EnrolRule.of({"STREAM_BACKUP_ENROL_PATTERN": patterns, "STREAM_BACKUP_ENROL_TAG": "k=v"})
    named = {"": False, "a*": table[0] == "a", "b": table == "b"}.get(
        patterns, table[-1] == "a" or table[0] == "b"
    )
    assert bool(rule.why(table, dict)) == named
    assert rule.why(table, lambda: {"k": "v"})
    assert bool(rule.why(table, lambda: {"k": "w", "v": "k"})) == named


def test_settings_of_the_rule() -> None:
    """Patterns are separated by commas, a tag may have any value, and the share is a percentage."""
    rule = EnrolRule.of(
        {
            "STREAM_BACKUP_ENROL_PATTERN": " shop-*, orders,",
            "STREAM_BACKUP_ENROL_TAG": "backup",
            "STREAM_BACKUP_ENROL_READ_SHARE": "10",
        }
    )
    assert rule == EnrolRule(("shop-*", "orders"), "backup", None, 0.1)
    assert EnrolRule.of({"STREAM_BACKUP_ENROL_TAG": "a=b=c"}) == EnrolRule((), "a", "b=c")
    assert EnrolRule.of({"STREAM_BACKUP_ENROL_TAG": "a="}).why("t", lambda: {"a": ""})


def test_the_record_is_a_record() -> None:
    """What the enroller records is known to `check`."""
    made = Enrolment("id", 1, 2, "arn", "why")
    assert KINDS["enrolments"](made.record()) == made


def test_patience_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that AWS does not answer are made again only until the run is over."""
    begun: list[float] = []

    class Fake:
        daemon = False

        def __init__(self, seconds: float, _: Any) -> None:
            begun.append(seconds)

        def start(self) -> None:
            pass

        def cancel(self) -> None:
            begun.append(-1)

    monkeypatch.setattr(module, "Timer", Fake)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    with module.patience(150.0):
        assert begun == [50 + module.GRACE]
    assert begun[1:] == [-1]
    assert module.GRACE < module.RESERVE
    assert logging.getLogger(module.logger.name)


class Waits(Event):
    """An event that nobody sets, and that notes how long somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout or 0)
        assert len(self.noted) < 5, "it waits beyond its time"
        return False


def test_a_page_is_written_before_the_wait_for_it(account: Account) -> None:
    """A page whose capacity takes longer than a run is on record before the wait, which ends with
    the time: so the next run goes on behind it, and the backfill ends some day."""
    account.create("shop-a", rows=9)
    stop, saved = Waits(), list[SegmentCheckpoint]()

    def save(_: int, checkpoint: SegmentCheckpoint) -> None:
        assert stop.noted == []
        saved.append(checkpoint)

    with ThreadPoolExecutor(2) as pool:
        segment = Segment(
            dynamodb=cast("Any", account),
            archive=account.archive("shop-a", SCHEMA),
            run=Run("run", "label", 0, 0, 0, False, {"segments": 1}),
            number=0,
            total=1,
            empty=True,
            budget=ReadBudget(0.001),
            pool=pool,
            stop=stop,
            save=save,
            progress=lambda _: None,
            over=lambda: bool(stop.noted),
        )
        counts = segment.scan(None, account.clock())
    assert (counts.read, counts.written) == (2, 2)
    assert [each.next is not None for each in saved] == [True]
    assert stop.noted == [1.0]
    assert account.calls["scan"] == 1
