"""What a distributed drill asks AWS for, evaluated with the policies of its worker and of its state
machine: they allow all of it, and without a statement it does not pass. As in
test_distributed_rights.py, every request is evaluated by IAM's rules before it is answered."""

import pytest

from stream_backup.core.drill import DrillRecord
from stream_backup.distributed.drill_result import STOPPED
from stream_backup.distributed.machine import ABORTED
from tests.distributed_world import RENDERED
from tests.drill_fleet import WORKER as FUNCTION
from tests.drill_fleet import DrillFleet
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Rendered, Statement, allows, without
from tests.test_distributed_rights import DISTRIBUTOR, STATES, WORK, guard

WORKER = RENDERED.policy("DrillWorkerPolicy")
MACHINE = RENDERED.policy("DrillMachinePolicy")
BUCKET = "arn:aws:s3:::backups"
TABLES = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table"
SCRATCH = f"{TABLES}/stream-backup-drill-{NAME}-1"
MACHINES, CHILDREN = f"{STATES}:stateMachine", f"{STATES}:execution"

NEEDED = (
    *("ListVersions", "ReadVersions", "WriteRecords", "ScratchTables"),
    *("ReadWork", "ListWork", "WriteWork"),
)
"""Statements of the worker that a drill uses here. The others are checked by themselves."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> DrillFleet:
    return DrillFleet(monkeypatch)


def drill(world: DrillFleet) -> DrillRecord:
    """Makes a drill whose rewind puts rows and deletes others."""
    execution = world.start(at=int(world.model.now) - 60, seed=0)
    execution = world.machine.describe(execution)
    world.after_call()
    return world.settle(execution)


def test_the_worker_may_do_its_work(world: DrillFleet) -> None:
    """With its policy alone, workers restore, scan, compare, and rewind, and the last step removes
    the scratch table and writes the record. They need every action on scratch tables."""
    asked = guard(world, WORKER)
    found = drill(world)
    assert found.passed, found.reason
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]
    (scratch,) = (each for each in WORKER if each["Sid"] == "ScratchTables")
    assert set(scratch["Action"]) <= asked


@pytest.mark.parametrize("sid", NEEDED)
def test_no_drill_passes_without_a_statement(world: DrillFleet, sid: str) -> None:
    """Without one of these statements the drill does not pass, and whoever follows it removes the
    scratch table."""
    guard(world, without(WORKER, sid))
    found = drill(world)
    assert not found.passed
    assert found in world.catalog.drills()
    assert world.scratch_tables == [] or "could not be removed" in found.reason


def test_a_worker_writes_only_scratch_tables() -> None:
    """A worker of a drill puts only records of drills into the archive and deletes nothing of it.
    It neither reads nor writes a table that is not a scratch table, and creates none."""
    for path in (f"{NAME}/{'0' * 32}", f"{NAME}/meta/runs/1", f"payments/{'0' * 32}"):
        for action in ("PutObject", "DeleteObject", "DeleteObjectVersion"):
            assert not allows(WORKER, f"s3:{action}", f"{BUCKET}/{path}")
    assert allows(WORKER, "s3:PutObject", f"{BUCKET}/{NAME}/meta/drills/1")
    assert not allows(WORKER, "s3:PutObject", f"{BUCKET}/payments/meta/drills/1")
    assert not allows(WORKER, "s3:DeleteObject", f"{BUCKET}/{NAME}/meta/drills/1")
    assert not allows(WORKER, "s3:GetObjectVersion", f"{BUCKET}/payments/{'0' * 32}")
    (scratch,) = (each for each in WORKER if each["Sid"] == "ScratchTables")
    for action in scratch["Action"]:
        for table in (NAME, "payments", f"{NAME}-restored-1"):
            assert not allows(WORKER, action, f"{TABLES}/{table}")
    for action in ("CreateTable", "UpdateTable", "RestoreTableFromBackup"):
        assert not allows(WORKER, f"dynamodb:{action}", SCRATCH)


@pytest.mark.parametrize(
    ("statements", "sid", "action", "resource"),
    [
        (WORKER, "SeeBucket", "s3:GetBucketVersioning", BUCKET),
        (WORKER, "WriteRecords", "s3:PutObject", f"{BUCKET}/{NAME}/meta/drills/1"),
        (WORKER, "ScratchTables", "dynamodb:DeleteTable", SCRATCH),
        (MACHINE, "CallWorkers", "lambda:InvokeFunction", FUNCTION),
        (MACHINE, "ReadLists", "s3:GetObject", f"{WORK}/jobs/1/lists/0.json"),
        (MACHINE, "StartChildren", "states:StartExecution", f"{MACHINES}:stream-backup-drill"),
        (MACHINE, "SeeChildren", "states:DescribeExecution", f"{CHILDREN}:stream-backup-drill:1"),
        (MACHINE, "SeeChildren", "states:StopExecution", f"{CHILDREN}:stream-backup-drill:1"),
        (DISTRIBUTOR, "StartRuns", "states:StartExecution", f"{MACHINES}:stream-backup-drill"),
        (DISTRIBUTOR, "StartRuns", "states:ListExecutions", f"{MACHINES}:stream-backup-drill"),
        (DISTRIBUTOR, "FollowRuns", "states:ListMapRuns", f"{CHILDREN}:stream-backup-drill:1"),
        (DISTRIBUTOR, "FollowRuns", "states:StopExecution", f"{CHILDREN}:stream-backup-drill:1"),
        (
            DISTRIBUTOR,
            "FollowRuns",
            "states:DescribeExecution",
            f"{CHILDREN}:stream-backup-drill:1",
        ),
        (
            DISTRIBUTOR,
            "CountSlices",
            "states:DescribeMapRun",
            f"{STATES}:mapRun:stream-backup-drill/a:1",
        ),
    ],
)
def test_one_statement_allows_it(
    statements: list[Statement], sid: str, action: str, resource: str
) -> None:
    """Each action is allowed by one statement, for resources of this stack or scratch tables
    alone."""
    assert allows(statements, action, resource)
    assert not allows(without(statements, sid), action, resource)
    other = resource.replace("stream-backup-drill", "payments").replace(WORK, "arn:aws:s3:::o")
    other = other.replace(BUCKET, "arn:aws:s3:::o")
    assert not allows(statements, action, other)


def test_no_statement_is_unknown() -> None:
    """Every statement of the policy is one that a test here takes away, or one of the exceptions
    that are named."""
    assert {each["Sid"] for each in WORKER} - set(NEEDED) == {
        *("SeeBucket", "WriteLog", "OnlyThisArchive", "OnlyThisWork")
    }
    log = f"arn:aws:logs:{PLACE}:{ACCOUNT}:log-group:/aws/lambda/stream-backup-drill:log-stream:1"
    for action in ("logs:PutLogEvents", "logs:CreateLogStream"):
        assert allows(WORKER, action, log)
        assert not allows(without(WORKER, "WriteLog"), action, log)


@pytest.mark.parametrize("statements", [MACHINE, WORKER])
def test_the_work_bucket_of_another_account_is_refused(statements: list[Statement]) -> None:
    """If the work bucket is deleted, anybody can create one with its name."""
    where = f"{WORK}/jobs/1/lists/0.json"
    assert allows(statements, "s3:GetObject", where)
    assert not allows(statements, "s3:GetObject", where, owner="999999999999")
    assert allows(without(statements, "OnlyThisWork"), "s3:GetObject", where, owner="999999999999")


def test_whoever_starts_a_drill_needs_no_more(world: DrillFleet) -> None:
    """With the policies of the driller and of distributed runs, a drill is started, stopped, and
    put on record, and its scratch table is created and removed. Those of distributed runs alone do
    not allow it."""
    driller = Rendered(
        ExistingBucket="backups", TablePattern=NAME, DrillSchedule="rate(7 days)"
    ).policy("DrillerPolicy")
    guard(world, [*driller, *DISTRIBUTOR])
    world.on_call({})  # from now on
    execution = world.start()
    (name,) = world.scratch_tables
    assert name.startswith("stream-backup-drill-")
    world.runs.stop(execution)
    found = world.settle(execution._replace(status=ABORTED))
    assert (found.result, found.reason) == ("interrupted", STOPPED)
    assert world.scratch_tables == []
    world.after_call()
    guard(world, DISTRIBUTOR)
    world.on_call({})
    with pytest.raises(Exception, match="AccessDenied"):
        world.start()
    world.after_call()
    assert world.scratch_tables == []
