"""How a command follows a distributed run, is left, and stops it; and how the run ended."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream_backup.cli import distribution
from stream_backup.core.slice import cut_scan
from stream_backup.distributed import run as module
from stream_backup.distributed.machine import RUNNING, Execution, Machine, name_of
from stream_backup.distributed.records import JobEnd, JobFailure
from stream_backup.distributed.run import DistributedRun
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.errors import ArchiveError, IncompleteError, UsageError
from tests.distributed_world import WORK, Shelf

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:stream-backup-backfill"


class StepFunctions:
    """What boto3's client answers: the statuses of the only execution in turn, and the counts of
    its map run."""

    def __init__(self) -> None:
        self.executions: list[dict[str, Any]] = []
        self.statuses = ["RUNNING", "RUNNING", "SUCCEEDED"]
        self.counts = [{"total": 4, "succeeded": 1}, {"total": 4, "succeeded": 3}]
        self.stopped: list[str] = []
        self.on_look: Any = lambda: None

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> Any:  # noqa: A002, N803
        assert stateMachineArn == MACHINE
        if name in [each["name"] for each in self.executions]:
            raise ClientError({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")
        made = {"executionArn": f"arn:{name}", "name": name, "status": "RUNNING", "input": input}
        self.executions.insert(0, made)
        return made

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_executions"
        return self

    def paginate(self, *, stateMachineArn: str, statusFilter: str = "") -> Any:  # noqa: N803
        found = [each for each in self.executions if statusFilter in ("", each["status"])]
        yield {"executions": found[:1]}
        yield {"executions": found[1:]}

    def describe_execution(self, *, executionArn: str) -> Any:  # noqa: N803
        self.on_look()
        status = self.statuses.pop(0)
        self.executions[0]["status"] = status
        return {"status": status, "error": "Incomplete", "cause": "The reason is elsewhere"}

    def list_map_runs(self, *, executionArn: str) -> Any:  # noqa: N803
        return {"mapRuns": [{"mapRunArn": "1", "startDate": 1}]}

    def describe_map_run(self, *, mapRunArn: str) -> Any:  # noqa: N803
        return {"itemCounts": self.counts.pop(0)}

    def stop_execution(self, *, executionArn: str, error: str) -> None:  # noqa: N803
        self.stopped.append(executionArn)


class Shown:
    """What the bar was told."""

    done = 0

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []

    def advance(self, count: int, fraction: float | None = None) -> None:
        self.told.append((count, fraction))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StepFunctions:
    monkeypatch.setattr(module, "POLL", 0)
    return StepFunctions()


@pytest.fixture
def runs(client: StepFunctions) -> DistributedRun:
    return DistributedRun(
        Machine(client, MACHINE), WorkBucket(Shelf(), WORK), "backfill", "orders", 4
    )


def started(runs: DistributedRun) -> Execution:
    return runs.start("2026-11-22T00:00:00Z-abcdef", cut_scan(4), {}, workers=100)


DONE = JobEnd({"read": 1}, 0, {"name": "1"})


def test_a_run_is_followed_to_its_end(runs: DistributedRun, client: StepFunctions) -> None:
    """The bar counts the slices that have ended, and the end is what the last step wrote."""
    execution, shown = started(runs), Shown()
    runs.bucket.write_end(execution.job, DONE)
    assert runs.follow(execution, shown) == DONE
    assert shown.told == [(1, 0.25), (2, 0.75)]
    given = json.loads(client.executions[0]["input"])
    assert (given["at_once"], given["round"]) == (4, 0)
    assert len(runs.bucket.list_of(execution.job, 0)) == 4


def test_the_names_of_executions() -> None:
    """The name of an execution has at most the 80 characters that AWS allows, and none that it
    refuses, and tells tables with the same beginning apart."""
    long, other = "t" * 255, "t" * 254 + "u"
    name = name_of(long, "2026-11-22T00:00:00Z-abcdef") + "1000"
    assert len(name) <= 80
    assert not set(name) & set(' <>{}[]?*"#%\\^|~`$&,;:/')
    assert name.startswith(name_of(long))
    assert name_of(long) != name_of(other)


def test_only_one_run_of_a_table_at_a_time(runs: DistributedRun, client: StepFunctions) -> None:
    """While one is under way, or when two persons start one at once, the second is told how to
    return to it. Another table is not concerned, and a new run has a new name."""
    first = started(runs)
    with pytest.raises(UsageError, match="under way") as raised:
        started(runs)
    assert "--attach" in raised.value.hint
    client.executions[0]["status"] = "ABORTED"
    second = started(runs)
    assert first.job != second.job
    assert runs.last() == second
    assert client.executions[0]["status"] == RUNNING
    other = DistributedRun(runs.machine, runs.bucket, "backfill", "orders-archive", 4)
    other.require_none()
    with pytest.raises(UsageError, match="No distributed backfill of orders-archive"):
        other.last()


def test_a_name_that_is_taken_is_not_used(runs: DistributedRun, client: StepFunctions) -> None:
    """An execution that somebody else has started meanwhile is not started twice."""
    taken = f"{name_of('orders', '2026-11-22T00:00:00Z-abcdef')}0"
    monkey = client.paginate
    client.paginate = lambda **_: iter([{"executions": []}])  # type: ignore[method-assign]
    client.executions.append({"executionArn": "x", "name": taken, "status": "RUNNING"})
    with pytest.raises(UsageError, match="under way"):
        started(runs)
    client.paginate = monkey  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("status", "end", "kind", "words"),
    [
        ("ABORTED", None, IncompleteError, "was stopped"),
        ("FAILED", None, IncompleteError, "Incomplete The reason is elsewhere"),
        ("TIMED_OUT", None, IncompleteError, "TIMED_OUT"),
        ("FAILED", JobFailure("ArchiveError", "1 of 9 items.", "Fix it"), ArchiveError, "1 of 9"),
        ("FAILED", JobFailure("NewerError", "unknown here"), Exception, "unknown here"),
    ],
)
def test_the_exit_code_is_that_of_a_local_run(
    runs: DistributedRun, client: StepFunctions, status: str, end: Any, kind: Any, words: str
) -> None:
    """However an execution ended, the command ends with the error of a local run."""
    execution = started(runs)
    client.statuses = [status]
    if end:
        runs.bucket.write_end(execution.job, JobEnd({}, 1, {}, end))
    with pytest.raises(kind, match=words):
        runs.follow(execution, Shown())


@pytest.mark.parametrize(
    ("answered", "yes", "stopped"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_ctrl_c_asks(
    runs: DistributedRun,
    client: StepFunctions,
    monkeypatch: pytest.MonkeyPatch,
    answered: bool,
    yes: bool,
    stopped: bool,
) -> None:
    """Ctrl-C stops a run only when somebody says so. Otherwise it goes on, and the message says how
    to return to it. Workers find that it was stopped."""
    execution = started(runs)
    monkeypatch.setattr(distribution, "is_answered", lambda: answered)
    monkeypatch.setattr(distribution, "confirm", lambda _: yes)

    def interrupt() -> None:
        raise KeyboardInterrupt

    client.on_look = interrupt
    with pytest.raises(KeyboardInterrupt) as raised:
        distribution.follow(runs, execution)
    hint = raised.value.hint  # type: ignore[attr-defined]
    assert ("goes on" in hint) is not stopped
    assert ("--attach" in hint) is not stopped
    assert bool(client.stopped) is stopped
    assert runs.bucket.is_stopped(execution.job) is stopped
