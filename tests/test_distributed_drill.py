"""Distributed drills by the real worker and the template's state machine, in this process: they
find what a local drill finds, whatever happens to workers and executions, and leave no scratch
table."""

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

import restore.plan
from stream_backup.core import as_of
from stream_backup.core.drill import DrillRecord
from stream_backup.core.key import key_hash, key_json
from stream_backup.core.rounds import IDLE_ROUNDS
from stream_backup.core.time_rule import latest_stamp
from stream_backup.distributed.drill_order import DrillOrder
from stream_backup.distributed.drill_result import STOPPED
from stream_backup.distributed.drill_start import LONGEST
from stream_backup.distributed.one_drill import OVER
from stream_backup.drill.run import GRACE
from stream_backup.drill.scratch import PREFIX
from stream_backup.errors import CoverageError, UsageError
from tests import states
from tests.distributed_world import ExitError, Killed
from tests.drill_fleet import REWIND, SCAN, SCAN_AGAIN, STAGES, DrillFleet, Nth
from tests.drill_world import CALLER, Notes, key
from tests.fake_dynamodb import refusal
from tests.model import ARN, NAME, SCHEMA
from tests.sliced import through_json

Fleet = Callable[..., DrillFleet]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return lambda items=12: DrillFleet(monkeypatch, items)


def test_a_drill_that_passes(fleet: Fleet) -> None:
    """A drill of a sound archive passes, with the record of a local drill of the same seed, and no
    scratch table is left."""
    world = fleet()
    status, found = world.distribute()
    assert world.raised == []
    assert (status, found.result, found.reason) == ("SUCCEEDED", "passed", "")
    local = world.drill()
    assert local.result == "passed"
    same = (
        *("table", "archive", "by", "seed", "part", "moment", "rewound_to", "rows", "exact_age"),
        *("compared", "compared_items", "compared_versions", "differences", "examples", "live"),
    )
    assert {name: getattr(found, name) for name in same} == {
        name: getattr(local, name) for name in same
    }
    assert found.by == CALLER
    assert world.scratch_tables == []
    drills = world.catalog.drills()
    assert (len(drills), found in drills, local in drills) == (2, True, True)
    assert len(world.run.rounds) == len(STAGES)


@pytest.mark.parametrize("seed", range(4))
def test_any_moments(fleet: Fleet, seed: int) -> None:
    """Drills of other moments pass as well."""
    status, found = fleet().distribute(seed=seed)
    assert (status, found.result) == ("SUCCEEDED", "passed"), found.reason


def test_a_single_exact_moment(fleet: Fleet) -> None:
    """Without another exact moment the copy is not rewound, and compared once."""
    world = fleet(6)
    (run,) = world.catalog.runs()
    at = run.answered
    kept = world.catalog.follow_checkpoint(world.label)
    assert kept
    stopped = replace(kept, caught_up=at, running=False)
    world.catalog.write_follow_checkpoint(world.label, stopped)
    status, found = world.distribute(at=at)
    assert (status, found.result) == ("SUCCEEDED", "passed"), found.reason
    assert found.rewound_to is None
    assert found.compared_items == 6
    assert "rewound" not in found.compared
    assert "is not rewound" in world.notes
    assert len(world.run.rounds) == 3


# ------------------------------------------------------------
# what it finds


def test_a_walk_that_ends_too_early(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the short walk of the product is found, as by a local drill, and the items are
    named."""
    world = fleet()
    monkeypatch.setattr(as_of, "latest_stamp", lambda version: latest_stamp(version) - 3600)
    at = int(world.model.now) - 60
    status, found = world.distribute(at=at)
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert set(found.examples) == {key_json(key(number)) for number in range(0, 12, 3)}
    assert found.reason == f"{found.differences} of 24 compared rows differ."
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]
    local = world.drill(at=at)
    assert (local.differences, local.reason) == (found.differences, found.reason)


def test_a_rewind_that_skips_rows(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of rewinds alone is found by the second comparison."""
    world = fleet()
    monkeypatch.setattr(restore.plan, "settled", lambda *_: True)
    status, found = world.distribute(at=int(world.model.now) - 60, seed=2)
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert found.rewound_to
    assert 0 < found.differences <= 12
    assert len(found.examples) == found.differences


@pytest.mark.parametrize("planted", ["extra", "missing", "changed"])
@pytest.mark.parametrize("before", [SCAN, SCAN_AGAIN])
def test_a_row_that_was_planted(fleet: Fleet, planted: str, before: str) -> None:
    """A row that only the copy has, that only the archive has, or that has another content, is a
    difference, be it before or after the rewind. Its content is not on record."""
    world = fleet()

    def plant(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and world.stage_of(event) == before and not done:
            rows = world.dynamodb.others[world.scratch_tables[0]]
            row = key(99) if planted == "extra" else SCHEMA.key_of(rows[min(rows)])
            done.append(key_json(row))
            if planted == "missing":
                del rows[key_hash(row)]
            else:
                rows[key_hash(row)] = {**row, "v": {"S": "planted secret"}}

    done: list[str] = []
    world.on_call = plant
    status, found = world.distribute(at=int(world.model.now) - 60, seed=2)
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert done[0] in found.examples
    assert "secret" not in json.dumps(found.record())


def test_an_unreadable_version(fleet: Fleet) -> None:
    """A version that cannot be read is reported by the restore, and is a difference."""
    world = fleet()
    path = f"{NAME}/{key_hash(key(4))}"
    world.store.objects[path] = [
        each._replace(metadata={"format": "1"}) for each in world.store.objects[path]
    ]
    status, found = world.distribute(at=int(world.model.now) - 60)
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert "1 items cannot be read: " in found.reason
    assert path in found.reason
    assert found.differences >= 1
    assert world.scratch_tables == []


def test_a_row_that_the_table_refuses(fleet: Fleet) -> None:
    """A row that cannot be restored is a failure of the drill. It does not keep the other rows from
    being compared, and why it was refused is not on record."""
    world = fleet()
    plain = world.dynamodb.call

    def call(operation: str, request: Any) -> Any:
        if operation == "batch_write_item" and b'"item 4"' in request:
            raise refusal("ValidationException")
        return plain(operation, request)

    world.dynamodb.call = call  # type: ignore[method-assign]
    status, found = world.distribute(at=int(world.model.now) - 60)
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert "1 rows could not be restored." in found.reason
    assert "ValidationException" not in json.dumps(found.record())
    assert key_json(key(4)) in found.examples


# ------------------------------------------------------------
# trouble in each stage


def require_passed(world: DrillFleet, status: str, found: DrillRecord, items: int = 12) -> None:
    """The drill passed, compared every item twice, and left nothing behind."""
    assert (status, found.result) == ("SUCCEEDED", "passed"), found.reason
    assert found.compared_items == 2 * items
    assert found.rows == len(world.model.at(found.moment or 0) or {})
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("request_number", [1, 4])
def test_a_killed_worker_is_replaced(fleet: Fleet, stage: str, request_number: int) -> None:
    """Whichever stage a worker dies in, and whatever it has done by then, Step Functions calls it
    again, and every item is counted once."""
    world = fleet()

    def kill() -> None:
        raise Killed

    die = Nth(request_number, kill)

    def on(event: dict[str, Any]) -> None:
        mine = event["step"] == "slice" and world.stage_of(event) == stage
        world.on_request = die if mine else lambda: None

    world.on_call = on
    require_passed(world, *world.distribute())
    assert world.run.waits, "nobody died"


@pytest.mark.parametrize("stage", STAGES)
def test_a_slice_that_fails_twice_is_done(fleet: Fleet, stage: str) -> None:
    """A slice whose worker fails twice is done by the third one."""
    world = fleet()
    failing = [2]

    def fail(event: dict[str, Any]) -> None:
        mine = event["step"] == "slice" and world.stage_of(event) == stage
        if mine and event["slice"]["name"] == "1" and failing[0]:
            failing[0] -= 1
            raise ExitError("out of memory")

    world.on_call = fail
    found = world.distribute()
    assert world.run.waits == [2, 4]
    require_passed(world, *found)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("which", ["over", "stop"])
def test_a_worker_that_runs_out_of_time_is_continued(fleet: Fleet, stage: str, which: str) -> None:
    """What workers have no time for is done in another round of the same stage, and every item is
    counted once."""
    world = fleet(24)
    tick = Nth(3, lambda: getattr(world.time, which).set())

    def on(event: dict[str, Any]) -> None:
        mine = event["step"] == "slice" and world.stage_of(event) == stage
        world.on_request = tick if mine else lambda: None

    world.on_call = on
    # With this seed, both moments have many rows.
    status, found = world.distribute(at=int(world.model.now) - 60, seed=1)
    require_passed(world, status, found, items=24)
    assert len(world.run.rounds) > len(STAGES)


def test_an_answer_that_was_lost_is_given_again(fleet: Fleet) -> None:
    """Every call that is repeated, in whatever order, gives the same answer, changes no table, and
    leaves the record as it is."""
    world = fleet()
    _, found = world.distribute()
    batches = world.dynamodb.batches
    calls = list(world.calls)
    Random(1).shuffle(calls)
    for event in calls:
        assert world.call(event) == world.call(event)
    assert world.dynamodb.batches == batches
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]


@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_on_one_slice(fleet: Fleet, stage: str) -> None:
    """A worker that is still at work when another one has done its slice changes nothing, and only
    one of them counts."""
    world = fleet()
    began, done = list[Any](), list[bool]()

    def on(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and world.stage_of(event) == stage and not began:
            began.append(event)
            world.on_request = Nth(4, other)

    def other() -> None:
        world.on_request = lambda: None
        done.append(world.call(began[0])["done"])

    world.on_call = on
    require_passed(world, *world.distribute())
    assert done == [True]
    assert not world.run.waits


def test_a_worker_of_a_round_that_has_ended_does_nothing(fleet: Fleet) -> None:
    """A worker of the restore that is still there when the copy was rewound, because Step Functions
    has called another one in its place, finds that its round has ended, and writes nothing."""
    world = fleet()
    late: list[bool] = []

    def on(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and world.stage_of(event) == SCAN_AGAIN and not late:
            first = [each for each in world.calls if each["round"] == 0 and "slice" in each]
            for each in first:
                path = f"jobs/{each['job']}/reports/0/{each['slice']['name']}"
                kept = world.shelf.objects.pop(path)  # as it was when the worker began
                late.append(world.call(each)["done"])
                world.shelf.objects[path] = kept

    world.on_call = on
    require_passed(world, *world.distribute(at=int(world.model.now) - 60))
    assert late == [False] * 4


def test_a_step_that_is_repeated_at_once(fleet: Fleet) -> None:
    """A step that ends a round and is called twice, because its answer was lost, begins the next
    stage as it has begun: the restore ends once."""
    world = fleet()
    ends: list[Any] = []

    def on(event: dict[str, Any]) -> None:
        if event["step"] == "collect" and event not in ends:
            ends.append(event)
            world.model.tick(100)
            raise_after.append(True)

    def lost() -> None:
        if raise_after:
            raise_after.pop()
            raise ExitError("the answer was lost")

    raise_after: list[bool] = []
    world.on_call, world.after_call = on, lost
    found = world.distribute()
    require_passed(world, *found)
    assert len(world.run.waits) == len(STAGES)
    assert found[1].restore_seconds == 100


# ------------------------------------------------------------
# drills that do not come to an end


@pytest.mark.parametrize("stage", STAGES)
def test_a_stopped_drill_leaves_no_table(fleet: Fleet, stage: str) -> None:
    """A drill that is stopped in any stage is put on record by whoever follows it, and its scratch
    table is removed. Another drill passes."""
    world = fleet()

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and world.stage_of(event) == stage:
            raise states.AbortedError

    world.on_call = stop
    status, found = world.distribute()
    assert (status, found.result, found.reason) == ("ABORTED", "interrupted", STOPPED)
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]
    execution = next(world.machine.executions(""))
    assert world.settle(execution) == found
    world.on_call = lambda _: None
    _, other = world.distribute()
    assert (other.result, other.removed) == ("passed", ())


def test_the_next_drill_removes_what_nobody_did(fleet: Fleet) -> None:
    """A drill that was stopped while nobody followed it leaves its scratch table. A local drill
    leaves it as long as it may still run, and says so; the next distributed one removes it, says
    so, and puts the stopped one on record."""
    world = fleet()

    def stop(event: dict[str, Any]) -> None:
        if event["round"] == 2:
            raise states.AbortedError

    world.on_call = stop
    world.machine.describe(world.start())
    (left,) = world.scratch_tables
    assert world.catalog.drills() == []
    notes = Notes()
    assert world.drill(notes).result == "passed"
    assert f"{left} belongs to a drill that may still be running" in notes
    world.on_call = lambda _: None
    status, found = world.distribute()
    assert (status, found.result, found.removed) == ("SUCCEEDED", "passed", (left,))
    assert f"Removed scratch table {left}" in world.notes
    assert world.scratch_tables == []
    results = [each.result for each in world.catalog.drills()]
    assert sorted(results) == ["interrupted", "passed", "passed"]


def test_a_table_that_its_job_does_not_have_any_more(fleet: Fleet) -> None:
    """When the work bucket has forgotten a stopped drill, the time in the tag decides."""
    world = fleet()

    def stop(event: dict[str, Any]) -> None:
        raise states.AbortedError

    world.on_call = stop
    world.machine.describe(world.start())
    (left,) = world.scratch_tables
    world.shelf.objects.clear()
    world.on_call = lambda _: None
    assert world.distribute()[1].removed == ()
    assert world.scratch_tables == [left]
    world.model.tick(LONGEST + GRACE + 60)
    world.reach()
    assert world.distribute()[1].removed == (left,)
    assert world.scratch_tables == []


def test_a_drill_that_is_asked_to_stop_ends(fleet: Fleet) -> None:
    """Workers of a stopped job end by themselves, and so does the drill, when the execution itself
    was not stopped."""
    world = fleet()

    def stop(event: dict[str, Any]) -> None:
        if event["round"] == 3:
            world.bucket.stop(event["job"])

    world.on_call = stop
    status, found = world.distribute()
    assert (status, found.result, found.reason) == ("FAILED", "interrupted", STOPPED)
    assert (found.compared_items, found.differences) == (12, 0)
    assert "rewound" not in found.compared
    assert world.scratch_tables == []


def test_differences_of_a_drill_that_was_stopped(fleet: Fleet) -> None:
    """What was found before a drill was stopped counts: it has failed."""
    world = fleet()

    def on(event: dict[str, Any]) -> None:
        if event["step"] == "collect" and event["round"] == 0:
            world.dynamodb.others[world.scratch_tables[0]].clear()
        if event["round"] == 3:
            world.bucket.stop(event["job"])

    world.on_call = on
    at = int(world.model.now) - 60
    status, found = world.distribute(at=at)
    rows = len(world.model.at(at) or {})
    assert (status, found.result) == ("FAILED", "failed")
    assert found.reason == f"{rows} of 12 compared rows differ. {STOPPED}"
    assert len(found.examples) == rows


def test_what_every_worker_is_refused_ends_the_drill(fleet: Fleet) -> None:
    """When no worker may do its work, the drill has failed, with the reason, and no scratch table
    is left."""
    world = fleet()

    def refuse() -> None:
        raise refusal("AccessDeniedException")

    world.on_call = lambda event: setattr(
        world, "on_request", refuse if event["step"] == "slice" else lambda: None
    )
    status, found = world.distribute()
    assert (status, found.result) == ("FAILED", "failed")
    assert "does not permit" in found.reason
    assert world.scratch_tables == []
    assert len(world.run.rounds) == IDLE_ROUNDS


def test_the_time_of_a_drill_is_over(fleet: Fleet) -> None:
    """A worker that begins when the time of its drill is nearly over does nothing: another drill
    may remove the scratch table."""
    world = fleet()

    def wait(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and world.stage_of(event) == REWIND and not waited:
            waited.append(True)
            world.model.tick(LONGEST + 1)

    waited: list[bool] = []
    world.on_call = wait
    before = len(world.calls)
    status, found = world.distribute()
    assert (status, found.result, found.reason) == ("FAILED", "interrupted", OVER)
    assert len(world.calls) - before < 60
    assert world.scratch_tables == []


def test_a_record_that_cannot_be_written(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill whose last step may not write the record is no success, however often that step is
    repeated. Whoever follows it writes the record, with the reason."""
    world = fleet()
    with monkeypatch.context() as patch:

        def denied(*_: Any) -> Any:
            raise refusal("AccessDeniedException")

        patch.setattr("stream_backup.archive.catalog.Catalog.write_drill", denied)
        execution = world.machine.describe(world.start())
        assert world.call(world.calls[-1])["state"] == "incomplete"
    assert execution.status == "FAILED"
    assert world.catalog.drills() == []
    found = world.settle(execution)
    assert found.result == "failed"
    assert "does not permit" in found.reason
    assert world.catalog.drills() == [found]
    assert world.scratch_tables == []


def test_a_scratch_table_that_cannot_be_removed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill whose scratch table cannot be removed has failed and names it. The next drill removes
    it once its time is over."""
    world = fleet()
    with monkeypatch.context() as patch:

        def denied(_: Any) -> Any:
            raise refusal("AccessDeniedException")

        patch.setattr(world.dynamodb, "_delete_table", denied)
        status, found = world.distribute()
    (left,) = world.scratch_tables
    assert (status, found.result) == ("SUCCEEDED", "failed")
    assert f"Scratch table {left} could not be removed" in found.reason
    world.model.tick(LONGEST + GRACE + 60)
    world.reach()
    assert world.drill().removed == (left,)


# ------------------------------------------------------------
# how it begins


def test_a_moment_outside_coverage(fleet: Fleet) -> None:
    """It is refused, and that is on record; nothing is started and no table is made."""
    world = fleet()
    with pytest.raises(CoverageError):
        world.start(at=1000)
    (kept,) = world.catalog.drills()
    assert (kept.result, kept.moment, kept.scratch) == ("refused", None, "")
    assert "Removing" not in world.notes
    assert world.machine.given == {}
    assert world.scratch_tables == []


@pytest.mark.parametrize("where", ["create_table", "start", "started"])
def test_interrupted_while_it_begins(fleet: Fleet, where: str) -> None:
    """Ctrl-C before the drill is under way leaves no scratch table and no execution, and is on
    record."""
    world = fleet()
    call, start = world.dynamodb.call, world.machine.start

    def created(operation: str, request: Any) -> Any:
        found = call(operation, request)
        if operation == where:
            raise KeyboardInterrupt
        return found

    def started(job: str, given: str) -> Any:
        if where == "started":
            start(job, given)
        raise KeyboardInterrupt

    world.dynamodb.call = created  # type: ignore[method-assign]
    if where != "create_table":
        world.machine.start = started
    with pytest.raises(KeyboardInterrupt):
        world.start()
    (kept,) = world.catalog.drills()
    assert kept.result == "interrupted"
    assert world.scratch_tables == []
    assert not list(world.machine.executions("", "RUNNING"))


def test_one_drill_at_a_time(fleet: Fleet) -> None:
    """While a drill of the table is under way, another one is refused: no table is made, and the
    first one goes on."""
    world = fleet()
    first = world.start()
    tables = world.scratch_tables
    with pytest.raises(UsageError, match="drill of orders is under way"):
        world.start()
    assert world.scratch_tables == tables
    assert world.catalog.drills() == []
    assert world.settle(world.machine.describe(first)).result == "passed"


def test_a_table_that_is_not_in_the_archive(fleet: Fleet) -> None:
    """A mistyped name leaves no record in the archive."""
    world = fleet(1)
    world.connection.tables = lambda: [NAME]  # type: ignore[method-assign]
    before = len(world.store.objects)
    with pytest.raises(UsageError, match="nothing of table 'ordesr'"):
        world.start(table="ordesr")
    assert len(world.store.objects) == before


@pytest.mark.parametrize("seed", range(3))
def test_a_share_of_the_items(fleet: Fleet, seed: int) -> None:
    """With --sample, these items alone are restored and rewound. Rows of the copy that are no part
    of it are differences."""
    world = fleet(40)
    status, found = world.distribute(sample=0.4, seed=seed)
    assert (status, found.result) == ("SUCCEEDED", "passed"), found.reason
    assert found.part == "40% of the items"
    assert 0 < found.compared_items // 2 < 40

    def plant(event: dict[str, Any]) -> None:
        if event["step"] == "collect" and event["round"] == 0:
            rows = world.dynamodb.others[world.scratch_tables[0]]
            rows.update({key_hash(key(number)): key(number) for number in range(40)})

    world.on_call = plant
    status, found = world.distribute(sample=0.4, seed=seed, at=int(world.model.now) - 60)
    assert found.differences >= 40 - found.compared_items // 2


@pytest.mark.parametrize("other", ["payments", f"{PREFIX}payments-1"])
def test_no_other_table_is_written(fleet: Fleet, other: str) -> None:
    """Workers write to their scratch table alone, even when they are told to fill and to rewind
    another one, be it the scratch table of another drill."""
    world = fleet()
    execution = world.start(at=int(world.model.now) - 60)
    path = f"jobs/{execution.job}/job.json"
    job = json.loads(world.shelf.objects[path])
    job["settings"]["restore"]["into"] = job["settings"]["rewind"]["copy"] = other
    world.shelf.objects[path] = json.dumps(job).encode()
    world.dynamodb.others[other] = {}
    found = world.settle(world.machine.describe(execution))
    assert found.result == "failed"
    assert "not its scratch table" in found.reason
    assert world.dynamodb.others == {other: {}}
    assert ARN.replace(NAME, other) not in world.dynamodb.tags


def test_an_order_is_data(fleet: Fleet) -> None:
    """What workers are told survives JSON, without loss."""
    world = fleet()
    execution = world.start(sample=0.3)
    settings = world.bucket.job(execution.job).settings
    order = DrillOrder.of(settings)
    assert DrillOrder.of(through_json(order.settings())) == order
    assert order.part
    assert order.rewind
    assert order.scratch.name in world.scratch_tables


def test_no_key_is_logged(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a worker names jobs and slices, and no key or content of an item."""
    world = fleet()
    world.distribute()
    assert "Slice 1 is done" in caplog.text
    assert "item " not in caplog.text
