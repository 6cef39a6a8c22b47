"""Distributed backfills by the real worker and the template's state machine, in this process:
whatever happens to workers and executions, the archive is what a local backfill writes, the record
of the run is the same, and nothing that is done is done again."""

import json
import multiprocessing.synchronize
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stream_backup import worker
from stream_backup.core.rounds import IDLE_ROUNDS
from stream_backup.distributed.limits import Allowance, limited
from stream_backup.errors import ArchiveError, IncompleteError, UsageError
from tests import states
from tests.distributed_world import DistributedWorld, ExitError, Killed
from tests.fake_dynamodb import refusal

ROWS = 24

World = Callable[[], DistributedWorld]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return lambda: DistributedWorld(monkeypatch, ROWS)


def require_equal(found: DistributedWorld, local: DistributedWorld) -> None:
    """The archive has the same items, and the table the same coverage."""
    assert found.items() == local.items()
    assert len(found.items()) == ROWS
    (run,), (other,) = found.catalog.runs(), local.catalog.runs()
    assert (run.complete, run.stream, run.floor) == (True, other.stream, other.floor)
    assert run.witness >= run.answered
    names = ("segments", "read")
    assert [run.counts[name] for name in names] == [other.counts[name] for name in names]


def test_it_equals_a_local_backfill(world: World) -> None:
    """Without trouble, the archive, the counts and the record are those of a local backfill, in one
    round."""
    local, found = world(), world()
    local.locally()
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    assert end.failure is None
    require_equal(found, local)
    assert found.catalog.runs()[0].counts == local.catalog.runs()[0].counts
    assert [len(each) for each in found.run.rounds] == [4]
    assert found.run.at_once == [4]


@pytest.mark.parametrize("request_number", [1, 2, 5, 9, 14, 23, 40, 57])
def test_a_killed_worker_is_replaced(world: World, request_number: int) -> None:
    """Whichever request a worker dies at, Step Functions calls it again, and the slice goes on from
    its checkpoint."""
    local, found = world(), world()
    local.locally()
    count = [0]

    def die() -> None:
        count[0] += 1
        if count[0] == request_number:
            raise Killed

    found.on_call = lambda _: setattr(found, "on_request", die)
    status, _ = found.distribute()
    assert count[0] > request_number
    assert status == "SUCCEEDED"
    require_equal(found, local)


def test_a_slice_that_fails_twice_is_done(world: World) -> None:
    """A slice whose worker fails twice is done by the third one, after waits that grow."""
    local, found = world(), world()
    local.locally()
    failing = [2]

    def fail(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["segment"] == 2 and failing[0]:
            failing[0] -= 1
            raise ExitError("out of memory")

    found.on_call = fail
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found, local)
    assert found.run.waits == [2, 4]
    assert len(found.run.rounds) == 1


def test_a_slice_that_fails_in_a_round_is_listed_again(world: World) -> None:
    """A slice that fails as often as it may is listed again, alone: the others are not repeated."""
    local, found = world(), world()
    local.locally()
    failing = [5]

    def fail(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["segment"] == 2 and failing[0]:
            failing[0] -= 1
            raise ExitError("out of memory")

    found.on_call = fail
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found, local)
    assert [[each["segment"] for each in items] for items in found.run.rounds] == [
        [0, 1, 2, 3],
        [2],
    ]
    assert found.run.at_once == [4, 1]


@pytest.mark.parametrize("which", ["over", "stop"])
def test_a_worker_that_runs_out_of_time_is_continued(world: World, which: str) -> None:
    """Workers with time for a few pages only leave the rest to the next round, and the run is
    complete in the end."""
    local, found = world(), world()
    local.locally()
    count = [0]

    def tick() -> None:
        count[0] += 1
        if count[0] % 40 == 0:
            getattr(found.time, which).set()

    found.on_request = tick
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    require_equal(found, local)
    assert len(found.run.rounds) > 1
    done = [each["segment"] for items in found.run.rounds[1:] for each in items]
    assert done, "nothing was left"


def test_a_stopped_execution_is_resumed(world: World) -> None:
    """After an execution was stopped, the same command does only what is left: no segment that was
    done is scanned again."""
    local, found = world(), world()
    local.locally()

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["segment"] == 2:
            raise states.AbortedError

    found.on_call = stop
    assert found.distribute() == ("ABORTED", None)
    (run,) = found.catalog.runs()
    assert not run.complete
    assert found.unfinished(run) == {2, 3}
    found.on_call = lambda _: None
    assert found.distribute()[0] == "SUCCEEDED"
    assert [[each["segment"] for each in items] for items in found.run.rounds] == [[2, 3]]
    require_equal(found, local)
    assert found.catalog.runs()[0].counts == local.catalog.runs()[0].counts


def test_a_local_backfill_resumes_a_distributed_one(world: World) -> None:
    """How far segments have been scanned is kept in the archive, so this machine can go on."""
    local, found = world(), world()
    local.locally()

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["segment"] == 3:
            raise states.AbortedError

    found.on_call = stop
    found.distribute()
    run, counts = found.locally()
    assert run.complete
    assert counts.read == ROWS
    assert found.items() == local.items()


def test_an_item_that_cannot_be_written_is_reported(world: World) -> None:
    """An object that is not of this format stops its segment and no other. The run ends with the
    error of a local backfill, gives no coverage, and only that segment is done again."""
    path = min(_paths(world))
    found = world()
    found.store.put(path, b"{}", {})
    (stream,) = found.catalog.streams()
    found.catalog.write_stream(replace(stream, empty=False))
    with pytest.raises(ArchiveError) as local:
        found.locally()
    status, end = found.distribute()
    assert found.raised == []
    assert status == "FAILED"
    assert end
    assert end.failure
    error = end.failure.error()
    assert isinstance(error, ArchiveError)
    assert (str(error), error.hint) == (str(local.value), local.value.hint)
    assert len(found.run.rounds) == IDLE_ROUNDS
    (run,) = found.catalog.runs()
    assert not run.complete
    assert len(found.unfinished(run)) == 1
    del found.store.objects[path]
    assert found.distribute()[0] == "SUCCEEDED"
    assert [len(items) for items in found.run.rounds] == [1]


def _paths(world: World) -> list[str]:
    other = world()
    other.locally()
    return list(other.items())


def test_what_every_worker_is_refused_ends_the_run(world: World) -> None:
    """When every slice fails, the map is given up early, and the run ends with the reason: nothing
    is tried again that would fail again."""
    found = world()

    def refuse() -> None:
        raise refusal("AccessDeniedException")

    found.on_call = lambda event: setattr(
        found, "on_request", refuse if event["step"] == "slice" else lambda: None
    )
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.failure
    assert isinstance(end.failure.error(), IncompleteError)
    assert "4 slices of the backfill of orders could not be finished" in end.failure.text
    assert "does not permit" in end.failure.text
    assert found.run.waits == []
    slices = [each for each in found.calls if each["step"] == "slice"]
    assert len(slices) == 3 * IDLE_ROUNDS, "more than half of them failed"
    assert not found.catalog.runs()[0].complete


def test_an_answer_that_was_lost_is_given_again(world: World) -> None:
    """A worker that is called again for a slice that it has done makes no request for it, and gives
    the same answer; so does the end of a round."""
    found = world()
    found.distribute()
    made = found.store.requests.copy()
    for event in list(found.calls):
        first, second = found.call(event), found.call(event)
        assert first == second
        if event["step"] == "slice":
            assert found.store.requests == made
    assert found.catalog.runs()[0].complete


def test_a_stopped_job_ends_its_workers(world: World) -> None:
    """Step Functions does not end functions that it has called. They find that the job was stopped,
    and end by themselves; the rest of the slice is left."""
    found = world()
    found.on_call = lambda event: found.bucket.stop(event["job"])
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.left == 4
    assert len(found.run.rounds) == 1
    assert found.items() == {}
    assert not found.catalog.runs()[0].complete


def test_a_rate_needs_no_semaphore(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS Lambda has no /dev/shm, so nothing that a worker does may need a semaphore of
    `multiprocessing`, even with a limit on its rate."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    found = world()
    assert found.distribute(read_units=10**9)[0] == "SUCCEEDED"


def test_a_worker_uses_its_share(world: World) -> None:
    """The capacity of a run is divided among the workers of the round, and again when some of them
    have ended."""
    found = world()
    found.distribute(read_units=80.0, workers=2)
    job = found.bucket.job(found.calls[0]["job"])
    assert (job.read_units, job.at_once) == (80.0, 2)
    for name in ("1", "2", "3"):
        del found.shelf.objects[f"jobs/{job.name}/reports/0/{name}"]
    with limited(found.bucket, job, 0, 4, found.time) as limits:
        assert limits.reading.units == 40.0
    found.shelf.objects |= {f"jobs/{job.name}/reports/0/{name}": b"{}" for name in ("1", "2")}
    with limited(found.bucket, job, 0, 4, found.time) as limits:
        assert (limits.reading.units, limits.writing.units) == (80.0, None)


def test_an_allowance_is_one_budget() -> None:
    """What is consumed in a process is at most its units for the time that has passed, and follows
    its units when they change."""
    now = [0.0]
    allowance = Allowance(10.0, lambda: now[0])
    assert [allowance.spend(5), allowance.spend(5)] == [0.5, 1.0]
    now[0], allowance.units = 1.0, 50.0
    assert allowance.spend(5) == pytest.approx(0.1)
    allowance.units = None
    assert allowance.spend(10**6) == 0


def test_the_time_of_a_worker_ends_before_its_invocation() -> None:
    """A minute before its end, an invocation begins no page; what it has read is still written. In
    the last seconds nothing is written any more."""
    with worker.working_time(worker.RESERVE) as (_, time):
        assert time.over.wait(10)
        assert not time.stop.is_set()
    with worker.working_time(worker.HARD) as (_, time):
        assert time.stop.wait(10)
    with worker.working_time(900) as (_, time):
        assert not time.over.is_set()


def test_a_worker_that_is_not_configured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its settings the function fails with a sentence."""
    monkeypatch.delenv("STREAM_BACKUP_ARCHIVE", raising=False)
    with pytest.raises(UsageError, match="STREAM_BACKUP_ARCHIVE is not set"):
        worker.handler({}, None)


def test_no_key_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of a worker names jobs and slices, and no key or content of an item."""
    found = world()
    found.distribute()
    said = capsys.readouterr()
    assert "item " not in said.out + said.err
    assert json.dumps({"S": "1"}) not in said.out + said.err


def test_a_worker_that_is_slow_gets_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When each worker has time for a few puts only, because many share what S3 takes, its pages
    are small enough to be written, so that the run ends."""
    monkeypatch.setattr("stream_backup.distributed.backfill.PAGE_ROWS", 1)
    monkeypatch.setattr("tests.fake_dynamodb.PAGE", 1000)
    local, found = world(), world()
    local.locally()
    puts, create = [0], found.store.create

    def slow(*words: Any) -> bool:
        puts[0] += 1
        if puts[0] % 3 == 0:
            found.time.over.set()
            found.time.stop.set()
        return create(*words)

    monkeypatch.setattr(found.store, "create", slow)
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found, local)
    assert len(found.run.rounds) > 1
