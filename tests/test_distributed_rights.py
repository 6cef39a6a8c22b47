"""What a distributed backfill asks AWS for, evaluated with the policies of its worker, of its state
machine, and of whoever starts it: they allow all of it, and without a statement it does not end
well.

The engine and the state machine are the real ones, in the world of test_worker.py. Every request is
evaluated by IAM's rules before it is answered.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest

from stream_backup.aws.dynamodb import DynamoDB
from tests import sam
from tests.distributed_world import ARN, RENDERED, DistributedWorld
from tests.fake_dynamodb import refusal
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Statement, allows, without
from tests.test_drill_rights import BUCKET, Guarded

WORKER = RENDERED.policy("BackfillWorkerPolicy")
MACHINE = RENDERED.policy("BackfillMachinePolicy")
DISTRIBUTOR = RENDERED.policy("DistributorPolicy")
WORK = "arn:aws:s3:::work"
TABLE = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/{NAME}"
STATES = f"arn:aws:states:{PLACE}:{ACCOUNT}"

NEEDED = (
    *("ReadTables", "ListVersions", "ReadProgress", "ReadItems", "WriteVersions"),
    *("ReadWork", "ListWork", "WriteWork"),
)
"""Statements of the worker that a backfill uses here. SeeBucket, WriteLog and the keys are checked
by themselves."""


def guard(world: DistributedWorld, statements: list[Statement]) -> set[str]:
    """Lets workers do only what these statements allow. Returns the actions that they ask for."""
    asked: set[str] = set()

    def ask(action: str, resource: str, **context: str) -> None:
        asked.add(action)
        if not allows(statements, action, resource, **context):
            raise refusal("AccessDeniedException")

    store, dynamodb = world.store, world.connection.__dict__["dynamodb"]
    guarded: dict[str, Any] = {
        "versions": lambda prefix, **_: ask("s3:ListBucketVersions", BUCKET, s3_prefix=prefix),
        "stat": lambda path, _: ask("s3:GetObjectVersion", f"{BUCKET}/{path}"),
        "get": lambda path, _: ask("s3:GetObjectVersion", f"{BUCKET}/{path}"),
        "current": lambda path: ask("s3:GetObject", f"{BUCKET}/{path}"),
        **{
            name: lambda path, *_: ask("s3:PutObject", f"{BUCKET}/{path}")
            for name in ("put", "create", "replace")
        },
    }

    def on(event: dict[str, Any]) -> None:
        """Guards while a function runs."""
        world.connection.__dict__["dynamodb"] = Guarded(dynamodb, ask)
        world.shelf.ask = ask
        for name, check in guarded.items():
            store.__dict__[name] = _checked(plain[name], check)

    plain = {name: getattr(store, name) for name in guarded}
    world.on_call = on
    world.after_call = lambda: _open(world, dynamodb, plain)
    return asked


def _checked(work: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    def checked(*words: Any, **more: Any) -> Any:
        check(*words, **more)
        return work(*words, **more)

    return checked


def _open(world: DistributedWorld, dynamodb: DynamoDB, plain: dict[str, Any]) -> None:
    world.connection.__dict__["dynamodb"] = dynamodb
    world.shelf.ask = lambda *_: None
    world.store.__dict__.update(plain)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> DistributedWorld:
    """A table whose rows are partly in the archive, from a life before this one: those are read
    before they are replaced. Its workers run out of time once."""
    found = DistributedWorld(monkeypatch)
    with_old_rows(found)
    ticks = [0]

    def tick() -> None:
        ticks[0] += 1
        if ticks[0] == 60:
            found.time.over.set()

    found.on_request = tick
    return found


def with_old_rows(world: DistributedWorld) -> None:
    (stream,) = world.catalog.streams()
    record = type(stream).of({**stream.record(), "empty": False})
    world.catalog.write_stream(record)


def test_the_worker_may_do_its_work(world: DistributedWorld) -> None:
    """With its policy alone, workers scan every segment, end every round, and record the run."""
    asked = guard(world, WORKER)
    status, end = world.distribute()
    assert status == "SUCCEEDED"
    assert end
    assert len(world.run.rounds) > 1
    assert "s3:GetObject" in asked
    (run,) = world.catalog.runs()
    assert run.complete


@pytest.mark.parametrize("sid", NEEDED)
def test_no_backfill_ends_well_without_a_statement(world: DistributedWorld, sid: str) -> None:
    """Without one of these statements the execution fails, and no record says that it is
    complete."""
    if sid == "ReadItems":
        with_items(world)
    guard(world, without(WORKER, sid))
    assert world.distribute()[0] == "FAILED"
    world.after_call()
    assert not [run for run in world.catalog.runs() if run.complete]


def with_items(world: DistributedWorld) -> None:
    """Every item is in the archive."""
    world.locally()
    for path in [path for path in world.store.objects if "/runs/" in path or "/segments/" in path]:
        del world.store.objects[path]


def test_a_worker_writes_only_its_records() -> None:
    """A worker puts items, its run, its segments, and that a page is late: no other record, and
    nothing of another table, and it deletes nothing."""
    archive = sam.ROOT / "stream_backup/archive"
    source = "".join((archive / name).read_text() for name in ("catalog.py", "checkpoints.py"))
    kinds = set(re.findall(r'meta\.write\(f?"([a-z-]+)/', source)) | {"late", "mappings"}
    assert len(kinds) > 18
    for kind in kinds:
        # With "meta/" as long as the name of an item, and longer.
        for name in (kind.ljust(27, "/"), f"{kind}/2026-11-22T00:00:00Z-abcdef.json"):
            may = kind in ("runs", "segments", "late")
            assert allows(WORKER, "s3:PutObject", f"{BUCKET}/{NAME}/meta/{name}") is may, name
    assert not allows(WORKER, "s3:PutObject", f"{BUCKET}/payments/{'0' * 32}")
    for action in ("DeleteObject", "DeleteObjectVersion"):
        assert not allows(WORKER, f"s3:{action}", f"{BUCKET}/{NAME}/{'0' * 32}")
        assert not allows(WORKER, f"s3:{action}", f"{WORK}/jobs/1/job.json")
    for action in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "UpdateTable"):
        assert not allows(WORKER, f"dynamodb:{action}", TABLE)
    assert not allows(WORKER, "dynamodb:Scan", TABLE.replace(NAME, "payments"))


def test_the_archive_is_not_the_work_bucket() -> None:
    """Neither the state machine nor whoever starts it gets any access to the archive by its
    policy."""
    for statements in (MACHINE, DISTRIBUTOR):
        for action in ("GetObject", "GetObjectVersion", "PutObject", "DeleteObject"):
            assert not allows(statements, f"s3:{action}", f"{BUCKET}/{NAME}/{'0' * 32}")


@pytest.mark.parametrize(
    ("statements", "sid", "action", "resource"),
    [
        (MACHINE, "CallWorkers", "lambda:InvokeFunction", ARN),
        (MACHINE, "ReadLists", "s3:GetObject", f"{WORK}/jobs/1/lists/0.json"),
        (
            MACHINE,
            "StartChildren",
            "states:StartExecution",
            f"{STATES}:stateMachine:stream-backup-backfill",
        ),
        (
            MACHINE,
            "SeeChildren",
            "states:DescribeExecution",
            f"{STATES}:execution:stream-backup-backfill:1",
        ),
        (
            MACHINE,
            "SeeChildren",
            "states:StopExecution",
            f"{STATES}:execution:stream-backup-backfill:1",
        ),
        (DISTRIBUTOR, "ReadWork", "s3:GetObject", f"{WORK}/jobs/1/end.json"),
        (DISTRIBUTOR, "ListWork", "s3:ListBucket", WORK),
        (DISTRIBUTOR, "WriteWork", "s3:PutObject", f"{WORK}/jobs/1/stop"),
        (
            DISTRIBUTOR,
            "StartRuns",
            "states:StartExecution",
            f"{STATES}:stateMachine:stream-backup-backfill",
        ),
        (
            DISTRIBUTOR,
            "StartRuns",
            "states:ListExecutions",
            f"{STATES}:stateMachine:stream-backup-backfill",
        ),
        (
            DISTRIBUTOR,
            "FollowRuns",
            "states:DescribeExecution",
            f"{STATES}:execution:stream-backup-backfill:1",
        ),
        (
            DISTRIBUTOR,
            "FollowRuns",
            "states:ListMapRuns",
            f"{STATES}:execution:stream-backup-backfill:1",
        ),
        (
            DISTRIBUTOR,
            "FollowRuns",
            "states:StopExecution",
            f"{STATES}:execution:stream-backup-backfill:1",
        ),
        (
            DISTRIBUTOR,
            "CountSlices",
            "states:DescribeMapRun",
            f"{STATES}:mapRun:stream-backup-backfill/a:1",
        ),
    ],
)
def test_one_statement_allows_it(
    statements: list[Statement], sid: str, action: str, resource: str
) -> None:
    """Each action is allowed by one statement, for resources of this stack alone."""
    assert allows(statements, action, resource)
    assert not allows(without(statements, sid), action, resource)
    other = resource.replace("stream-backup-backfill", "payments").replace(
        WORK, "arn:aws:s3:::other"
    )
    assert not allows(statements, action, other)


@pytest.mark.parametrize("statements", [MACHINE, DISTRIBUTOR, WORKER])
def test_the_work_bucket_of_another_account_is_refused(statements: list[Statement]) -> None:
    """If the work bucket is deleted, anybody can create one with its name."""
    where = f"{WORK}/jobs/1/lists/0.json"
    assert allows(statements, "s3:GetObject", where)
    assert not allows(statements, "s3:GetObject", where, owner="999999999999")
    rest = without(statements, "OnlyThisWork")
    assert allows(rest, "s3:GetObject", where, owner="999999999999")


def test_no_statement_is_unknown() -> None:
    """Every statement of the policies is one that a test here takes away, or one of the exceptions
    that are named."""
    assert {each["Sid"] for each in WORKER} - set(NEEDED) == {
        *("SeeBucket", "NoOtherRecords", "WriteLog", "OnlyThisArchive", "OnlyThisWork")
    }
    log = (
        f"arn:aws:logs:{PLACE}:{ACCOUNT}:log-group:/aws/lambda/stream-backup-backfill:log-stream:1"
    )
    for sid, action, where in (
        ("SeeBucket", "s3:GetBucketVersioning", BUCKET),
        ("SeeBucket", "s3:ListBucket", BUCKET),
        ("WriteLog", "logs:PutLogEvents", log),
        ("WriteLog", "logs:CreateLogStream", log),
    ):
        assert allows(WORKER, action, where)
        assert not allows(without(WORKER, sid), action, where)
