"""What a distributed restore asks AWS for, evaluated with the policies of its worker and of its
state machine: they allow all of it, and without a statement it does not end well. As in
test_distributed_rights.py, every request is evaluated by IAM's rules before it is answered."""

import pytest

from tests.distributed_world import RENDERED
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Statement, allows, without
from tests.restore_world import INTO, RestoreWorld
from tests.restore_world import WORKER as FUNCTION
from tests.test_distributed_rights import DISTRIBUTOR, STATES, WORK, guard

WORKER = RENDERED.policy("RestoreWorkerPolicy")
BUCKET = "arn:aws:s3:::backups"
MACHINE = RENDERED.policy("RestoreMachinePolicy")
CHILD = f"{STATES}:execution:stream-backup-restore:1"
TABLES = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table"

NEEDED = (
    *("ListVersions", "ReadVersions", "FillTables", "RecordProgress"),
    *("ReadWork", "ListWork", "WriteWork"),
)
"""Statements of the worker that a restore uses here. The others are checked by themselves."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> RestoreWorld:
    """Of its archive nothing is restored yet."""
    return RestoreWorld(monkeypatch, rows=12)


def test_the_worker_may_do_its_work(world: RestoreWorld) -> None:
    """With its policy alone, workers load every slice, and the end of the run puts the tags
    back."""
    guard(world, WORKER)
    status, _ = world.distribute()
    assert status == "SUCCEEDED"
    world.after_call()
    assert world.restored() == world.expected()
    assert world.finished


@pytest.mark.parametrize("sid", NEEDED)
def test_no_restore_ends_well_without_a_statement(world: RestoreWorld, sid: str) -> None:
    """Without one of these statements the execution fails, and the table is still marked as partly
    filled."""
    guard(world, without(WORKER, sid))
    assert world.distribute()[0] == "FAILED"
    world.after_call()
    assert not world.finished


def test_a_worker_only_reads_the_archive() -> None:
    """A worker of a restore puts nothing into the archive and deletes nothing of it, reads no other
    table's items, and neither creates, reads, nor deletes tables."""
    for path in (f"{NAME}/{'0' * 32}", f"{NAME}/meta/runs/1", f"payments/{'0' * 32}"):
        for action in ("PutObject", "DeleteObject", "DeleteObjectVersion"):
            assert not allows(WORKER, f"s3:{action}", f"{BUCKET}/{path}")
    assert not allows(WORKER, "s3:GetObjectVersion", f"{BUCKET}/payments/{'0' * 32}")
    for action in ("CreateTable", "DeleteTable", "UpdateTable", "Scan", "GetItem", "DeleteItem"):
        assert not allows(WORKER, f"dynamodb:{action}", f"{TABLES}/{INTO}")


@pytest.mark.parametrize(
    ("statements", "sid", "action", "resource"),
    [
        (WORKER, "SeeBucket", "s3:GetBucketVersioning", BUCKET),
        (WORKER, "FillTables", "dynamodb:BatchWriteItem", f"{TABLES}/{INTO}"),
        (WORKER, "FillTables", "dynamodb:BatchWriteItem", f"{TABLES}/{NAME}"),
        (WORKER, "RecordProgress", "dynamodb:TagResource", f"{TABLES}/{INTO}"),
        (WORKER, "RecordProgress", "dynamodb:UntagResource", f"{TABLES}/{INTO}"),
        (WORKER, "RestoreSettings", "dynamodb:DescribeTimeToLive", f"{TABLES}/{INTO}"),
        (WORKER, "RestoreSettings", "dynamodb:UpdateTimeToLive", f"{TABLES}/{INTO}"),
        (WORKER, "RestoreSettings", "dynamodb:UpdateContinuousBackups", f"{TABLES}/{INTO}"),
        (MACHINE, "CallWorkers", "lambda:InvokeFunction", FUNCTION),
        (MACHINE, "ReadLists", "s3:GetObject", f"{WORK}/jobs/1/lists/0.json"),
        (
            MACHINE,
            "StartChildren",
            "states:StartExecution",
            f"{STATES}:stateMachine:stream-backup-restore",
        ),
        *(
            (
                MACHINE,
                "SeeChildren",
                f"states:{each}",
                f"{STATES}:execution:stream-backup-restore:1",
            )
            for each in ("DescribeExecution", "StopExecution")
        ),
        *(
            (
                DISTRIBUTOR,
                "StartRuns",
                f"states:{each}",
                f"{STATES}:stateMachine:stream-backup-restore",
            )
            for each in ("StartExecution", "ListExecutions")
        ),
        *(
            (
                DISTRIBUTOR,
                "FollowRuns",
                f"states:{each}",
                f"{STATES}:execution:stream-backup-restore:1",
            )
            for each in ("DescribeExecution", "ListMapRuns", "StopExecution")
        ),
        (
            DISTRIBUTOR,
            "CountSlices",
            "states:DescribeMapRun",
            f"{STATES}:mapRun:stream-backup-restore/a:1",
        ),
    ],
)
def test_one_statement_allows_it(
    statements: list[Statement], sid: str, action: str, resource: str
) -> None:
    """Each action is allowed by one statement, for resources of this stack or table patterns
    alone."""
    assert allows(statements, action, resource)
    assert not allows(without(statements, sid), action, resource)
    other = resource.replace("stream-backup-restore", "payments").replace(WORK, "arn:aws:s3:::o")
    other = other.replace(f"/{NAME}", "/payments").replace("-restored-", "-")
    other = other.replace(BUCKET, "arn:aws:s3:::o")
    assert not allows(statements, action, other)


def test_no_statement_is_unknown() -> None:
    """Every statement of the policy is one that a test here takes away, or one of the exceptions
    that are named."""
    assert {each["Sid"] for each in WORKER} - set(NEEDED) == {
        *("SeeBucket", "RestoreSettings", "WriteLog", "OnlyThisArchive", "OnlyThisWork")
    }
    log = f"arn:aws:logs:{PLACE}:{ACCOUNT}:log-group:/aws/lambda/stream-backup-restore:log-stream:1"
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
