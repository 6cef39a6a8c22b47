"""The function as Lambda runs it: packaged, in its own process, called by an event source
mapping."""

import io
import time
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

from stream_backup.archive.layout import Archive
from stream_backup.core.item import encode
from stream_backup.core.key import KeySchema
from tests.cli import Shell
from tests.servers import Aws, environment

ROOT = Path(__file__).parent.parent
PATIENCE = 60


def package() -> bytes:
    """Returns a package of the function's own code. Its dependencies are installed in the
    emulator's interpreter."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((ROOT / "stream_backup").glob("*.py")):
            archive.write(path, path.relative_to(ROOT))
    return packed.getvalue()


@pytest.mark.server
def test_changes_arrive_through_a_deployed_function(aws: Aws) -> None:
    """Every change to an enabled table arrives in the archive through a function in its own
    process."""
    bucket, table, function = aws.bucket(), f"orders-{uuid4().hex[:6]}", f"backup-{uuid4().hex[:6]}"
    shell = Shell(aws, f"s3://{bucket}/production")
    schema = KeySchema((("id", "S"),))
    dynamodb = aws.client("dynamodb")
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.client("lambda").create_function(
        FunctionName=function,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/writer",
        Handler="stream_backup.handler.handler",
        Code={"ZipFile": package()},
        Timeout=30,
        Environment={
            "Variables": {"STREAM_BACKUP_ARCHIVE": shell.archive or "", **environment(aws.url)}
        },
    )
    said = shell.done("enable", table, "--function", function, "--json").json
    assert said["mapping"]
    assert (
        shell.done("enable", table, "--function", function, "--json").json["mapping"]
        == said["mapping"]
    )

    key = {"id": {"S": "order-1"}}
    paid = key | {"total": {"N": "12.5"}, "state": {"S": "paid"}}
    dynamodb.put_item(TableName=table, Item=key)
    dynamodb.put_item(TableName=table, Item=paid)
    dynamodb.delete_item(TableName=table, Key=key)

    archive = Archive(aws.store(bucket), "production/", table, schema)
    deadline = time.monotonic() + PATIENCE
    while len(archive.history(key).versions) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    found = sorted(
        map(archive.read, archive.history(key).versions), key=lambda change: change.stamp.rank
    )
    assert [change.stamp.kind for change in found] == ["insert", "modify", "remove"]
    assert [change.body for change in found] == [encode(key), encode(paid), None]
