"""What a distributed verification asks AWS for, evaluated with the policies of its worker and of
its state machine: they allow all of it, and without a statement it does not end well. As in
test_distributed_rights.py, every request is evaluated by IAM's rules before it is answered."""

import pytest

from tests.distributed_world import RENDERED
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Statement, allows, without
from tests.test_distributed_rights import DISTRIBUTOR, STATES, WORK, guard
from tests.verify_world import WORKER as FUNCTION
from tests.verify_world import VerifyWorld

WORKER = RENDERED.policy("VerifyWorkerPolicy")
BUCKET = "arn:aws:s3:::backups"
MACHINE = RENDERED.policy("VerifyMachinePolicy")
TABLE = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/{NAME}"

NEEDED = ("ListVersions", "ReadVersions", "ScanTables", "ReadWork", "ListWork", "WriteWork")
"""Statements of the worker that a verification uses here. The others are checked by themselves."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> VerifyWorld:
    """Rows differ, so that versions are read, and lateness is on record."""
    found = VerifyWorld(monkeypatch, rows=12)
    found.catalog.announce(int(found.model.now) // 3600 * 3600, 500)
    found.damage()
    return found


def test_the_worker_may_do_its_work(world: VerifyWorld) -> None:
    """With its policy alone, workers scan and compare every slice, and ask for nothing else."""
    asked = guard(world, WORKER)
    status, end = world.distribute()
    world.after_call()
    assert status == "SUCCEEDED"
    assert end
    assert end.counts["rows"] == 13
    assert asked == {
        *("dynamodb:Scan", "s3:ListBucketVersions", "s3:GetObjectVersion"),
        *("s3:GetObject", "s3:PutObject", "s3:ListBucket"),
    }


@pytest.mark.parametrize("sid", NEEDED)
def test_no_verification_ends_well_without_a_statement(world: VerifyWorld, sid: str) -> None:
    """Without one of these statements the execution fails: a row that may not be read is not taken
    for equal."""
    guard(world, without(WORKER, sid))
    assert world.distribute()[0] == "FAILED"
    world.after_call()


def test_a_worker_only_reads() -> None:
    """A worker of a verification puts nothing into the archive and deletes nothing of it, reads no
    other table, and writes to none."""
    for path in (f"{NAME}/{'0' * 32}", f"{NAME}/meta/runs/1", f"payments/{'0' * 32}"):
        for action in ("PutObject", "DeleteObject", "DeleteObjectVersion"):
            assert not allows(WORKER, f"s3:{action}", f"{BUCKET}/{path}")
    assert not allows(WORKER, "s3:GetObjectVersion", f"{BUCKET}/payments/{'0' * 32}")
    assert not allows(WORKER, "dynamodb:Scan", TABLE.replace(NAME, "payments"))
    for action in ("PutItem", "BatchWriteItem", "DeleteItem", "UpdateItem", "DeleteTable"):
        assert not allows(WORKER, f"dynamodb:{action}", TABLE)


@pytest.mark.parametrize(
    ("statements", "sid", "action", "resource"),
    [
        (WORKER, "SeeBucket", "s3:GetBucketVersioning", BUCKET),
        (WORKER, "ScanTables", "dynamodb:Scan", TABLE),
        (MACHINE, "CallWorkers", "lambda:InvokeFunction", FUNCTION),
        (MACHINE, "ReadLists", "s3:GetObject", f"{WORK}/jobs/1/lists/0.json"),
        (
            MACHINE,
            "StartChildren",
            "states:StartExecution",
            f"{STATES}:stateMachine:stream-backup-verify",
        ),
        *(
            (MACHINE, "SeeChildren", f"states:{each}", f"{STATES}:execution:stream-backup-verify:1")
            for each in ("DescribeExecution", "StopExecution")
        ),
        *(
            (
                DISTRIBUTOR,
                "StartRuns",
                f"states:{each}",
                f"{STATES}:stateMachine:stream-backup-verify",
            )
            for each in ("StartExecution", "ListExecutions")
        ),
        *(
            (
                DISTRIBUTOR,
                "FollowRuns",
                f"states:{each}",
                f"{STATES}:execution:stream-backup-verify:1",
            )
            for each in ("DescribeExecution", "ListMapRuns", "StopExecution")
        ),
        (
            DISTRIBUTOR,
            "CountSlices",
            "states:DescribeMapRun",
            f"{STATES}:mapRun:stream-backup-verify/a:1",
        ),
    ],
)
def test_one_statement_allows_it(
    statements: list[Statement], sid: str, action: str, resource: str
) -> None:
    """Each action is allowed by one statement, for resources of this stack or the table pattern
    alone."""
    assert allows(statements, action, resource)
    assert not allows(without(statements, sid), action, resource)
    other = resource.replace("stream-backup-verify", "payments").replace(WORK, "arn:aws:s3:::o")
    other = other.replace(f"/{NAME}", "/payments").replace(BUCKET, "arn:aws:s3:::o")
    assert not allows(statements, action, other)


def test_the_rows_are_for_the_workers() -> None:
    """Whoever starts a verification reads what it has left open, not the key of every row."""
    rows, left = f"{WORK}/jobs/1/rows/0a", f"{WORK}/jobs/1/open/0a.json"
    assert allows(DISTRIBUTOR, "s3:GetObject", left)
    assert not allows(DISTRIBUTOR, "s3:GetObject", rows)
    assert allows(without(DISTRIBUTOR, "NoRows"), "s3:GetObject", rows)
    assert allows(WORKER, "s3:GetObject", rows)
    assert not allows(MACHINE, "s3:GetObject", rows)


def test_no_statement_is_unknown() -> None:
    """Every statement of the policy is one that a test here takes away, or one of the exceptions
    that are named."""
    assert {each["Sid"] for each in WORKER} - set(NEEDED) == {
        *("SeeBucket", "WriteLog", "OnlyThisArchive", "OnlyThisWork")
    }
    log = f"arn:aws:logs:{PLACE}:{ACCOUNT}:log-group:/aws/lambda/stream-backup-verify:log-stream:1"
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
