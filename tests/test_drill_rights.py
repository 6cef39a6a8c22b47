"""What a drill asks AWS for, evaluated with the policy of the driller: it is allowed all of it, and
with a statement taken away it does not pass.

The engine is the real one, in the world of test_drill.py. Every request is evaluated by IAM's rules
before it is answered. What that world has no stand-in for (the mapping, the metrics, the failures
bucket, and KMS) is in test_security.py.
"""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup import driller
from stream_backup.aws.dynamodb import Answer, DynamoDB
from tests.drill_world import DrillWorld
from tests.fake_dynamodb import refusal
from tests.model import NAME
from tests.policies import ACCOUNT, PLACE, Rendered, Statement, allows, without

RENDERED = Rendered(ExistingBucket="backups", TablePattern=NAME, DrillSchedule="rate(7 days)")
BUCKET = "arn:aws:s3:::backups"

NEEDED = ("ListVersions", "ReadVersions", "WriteRecords", "DescribeTables", "ScratchTables")

Ask = Callable[..., None]


class Guarded(DynamoDB):
    """DynamoDB for whoever may do what `ask` does not refuse."""

    def __init__(self, dynamodb: Any, ask: Ask) -> None:
        self._inner, self._ask = dynamodb, ask

    def call(self, operation: str, request: Any) -> Answer:
        asked = json.loads(request) if isinstance(request, bytes) else request
        name = asked.get("ResourceArn", "").partition("/")[2] or asked.get("TableName", "")
        for table in asked.get("RequestItems", [name]):
            self._require(operation, table)
        if operation == "create_table" and asked.get("Tags"):
            self._require("tag_resource", name)
        found: Answer = self._inner.call(operation, request)
        return found

    def _require(self, operation: str, table: str) -> None:
        where = f"arn:aws:dynamodb:{PLACE}:{ACCOUNT}:table/{table}" if table else "*"
        action = "".join(word.title() for word in operation.split("_"))
        self._ask(f"dynamodb:{action}", where)


def guarded(statements: list[Statement]) -> tuple[DrillWorld, set[str]]:
    """Returns a world in which a drill has only these permissions, and the actions that it asked
    for."""
    world, asked = DrillWorld(), set[str]()

    def ask(action: str, resource: str, **context: str) -> None:
        asked.add(action)
        if not allows(statements, action, resource, **context):
            raise refusal("AccessDeniedException")

    store = world.store
    versions, get, stat, put = store.versions, store.get, store.stat, store.put

    def guarded_versions(prefix: str, **how: Any) -> Any:
        ask("s3:ListBucketVersions", BUCKET, s3_prefix=prefix)
        return versions(prefix, **how)

    def guarded_get(path: str, version: str) -> Any:
        ask("s3:GetObjectVersion", f"{BUCKET}/{path}")
        return get(path, version)

    def guarded_stat(path: str, version: str) -> Any:
        ask("s3:GetObjectVersion", f"{BUCKET}/{path}")
        return stat(path, version)

    def guarded_put(path: str, *words: Any, **more: Any) -> Any:
        ask("s3:PutObject", f"{BUCKET}/{path}")
        return put(path, *words, **more)

    world.connection.__dict__["dynamodb"] = Guarded(world.dynamodb, ask)
    store.__dict__.update(
        versions=guarded_versions, get=guarded_get, stat=guarded_stat, put=guarded_put
    )
    return world, asked


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[DrillWorld], dict[str, Any]]:
    """Lets the driller drill the table of a world."""
    monkeypatch.setenv("STREAM_BACKUP_ARCHIVE", "s3://backups")
    monkeypatch.setenv("STREAM_BACKUP_DRILL_TABLES", NAME)
    monkeypatch.setattr("stream_backup.drill.run.secrets.randbelow", lambda _: 5)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)

    def drill(world: DrillWorld) -> dict[str, Any]:
        monkeypatch.setattr(driller, "Connection", lambda *_: world.connection)
        return driller.handler(None, context)

    return drill


def test_the_driller_may_drill(run: Callable[[DrillWorld], dict[str, Any]]) -> None:
    """With its policy alone, the driller drills a table with the real engine: it passes, its record
    is in the archive, and its scratch table is removed. It needs every action on scratch tables."""
    statements = RENDERED.policy("DrillerPolicy")
    (scratch,) = (each for each in statements if each["Sid"] == "ScratchTables")
    world, asked = guarded(statements)
    assert run(world) == {"passed": 1, "failed": [], "left": []}
    (found,) = world.catalog.drills()
    assert found.passed
    assert found.rows
    assert world.scratch_tables == []
    # A rewind of this world goes back to before its rows were made, so it puts none.
    assert set(scratch["Action"]) <= asked | {"dynamodb:PutItem"}


@pytest.mark.parametrize("sid", NEEDED)
def test_no_drill_passes_without_a_statement(
    run: Callable[[DrillWorld], dict[str, Any]], sid: str
) -> None:
    """Without one of these statements the drill does not pass, and no scratch table is left."""
    world, _ = guarded(without(RENDERED.policy("DrillerPolicy"), sid))
    assert run(world) == {"passed": 0, "failed": [NAME], "left": []}
    assert world.scratch_tables == []
