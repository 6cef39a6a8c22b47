"""The scratch table of a drill: its name, its tag, and the guards that keep a drill from any other
table.

A scratch table has a name that begins with PREFIX, and a tag that says which archive and table it
was made for and until when its drill may run. Both are checked before it is changed or deleted.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from botocore.exceptions import ClientError

from restore.usable import TAGS_SEEN
from stream_backup.aws.creation import billing_mode
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.aws.table import look_up, names, tags_of
from stream_backup.core.item import digest
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import TableDescription
from stream_backup.errors import StreamBackupError

PREFIX = "stream-backup-drill-"
MARK = "stream-backup:drill"
"""The tag of a scratch table."""

LONGEST_NAME = 255
"""Characters of the name of a table at most (Amazon DynamoDB Developer Guide, "Naming rules")."""

PAUSE = 0.5
"""Seconds between two looks at a table that is not ready yet."""

READS = frozenset(
    {
        "describe_continuous_backups",
        "describe_key",
        "describe_table",
        "describe_time_to_live",
        "get_item",
        "list_tables",
        "list_tags_of_resource",
        "scan",
    }
)
"""Operations that change nothing. A drill may send them to any table."""


class Scratch(NamedTuple):
    """The scratch table `name` of a drill of `table` in `archive`, which may run until the second
    `until`."""

    name: str
    archive: str
    table: str
    until: int

    @property
    def mark(self) -> str:
        """The value of its tag, of at most 256 characters."""
        return f"{_owner(self.archive, self.table)} {iso(self.until)}"


def scratch_of(archive: str, table: str, drill: str, until: int) -> Scratch:
    """Returns the scratch table of the drill with this name. The name of `table` is shortened where
    both are too long for a name."""
    tail = "-" + drill.replace(":", "").replace("_", "-")
    return Scratch(f"{PREFIX}{table}"[: LONGEST_NAME - len(tail)] + tail, archive, table, until)


def description_of(description: TableDescription, scratch: Scratch) -> TableDescription:
    """Returns what the scratch table is made from: the same keys, indexes, and encryption, on
    demand, and without what costs, alarms, or protects it: time to live, point-in-time recovery,
    deletion protection, its tags, its table class."""
    found = dict(description.table)
    for name in ("DeletionProtectionEnabled", "TableClassSummary", "ProvisionedThroughput"):
        found.pop(name, None)
    if billing_mode(found) != "PAY_PER_REQUEST":
        found["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
    return replace(
        description,
        table=found,
        time_to_live={},
        tags=({"Key": MARK, "Value": scratch.mark},),
        point_in_time_recovery=False,
    )


class OnlyScratch(DynamoDB):
    """DynamoDB for one drill: it reads any table, and writes to no other than the scratch table
    `name`."""

    def __init__(self, dynamodb: DynamoDB, name: str) -> None:
        self._dynamodb = dynamodb
        self.name = name

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation like DynamoDB.call. Raises StreamBackupError for a write to another
        table; it is not sent."""
        if operation not in READS:
            self._require(operation, request)
        return self._dynamodb.call(operation, request)

    def _require(self, operation: str, request: dict[str, Any] | bytes) -> None:
        asked = orjson.loads(request) if isinstance(request, bytes) else request
        arn = asked.get("ResourceArn", "")
        found = {*asked.get("RequestItems", ()), asked.get("TableName"), arn.partition("/")[2]}
        if found - {None, ""} != {self.name} or not self.name.startswith(PREFIX):
            raise StreamBackupError(
                f"A drill tried to call {operation} on a table that is not its scratch table"
                f" {self.name}. Nothing was sent.",
                "Report this: it is a defect of stream-backup.",
            )


def require_scratch(dynamodb: DynamoDB, scratch: Scratch) -> None:
    """Raises StreamBackupError unless the table has the name and the tag of this scratch table.
    Tags are seen some seconds after a table was created."""
    give_up = time.monotonic() + TAGS_SEEN
    while not _is_marked(dynamodb, scratch):
        if time.monotonic() > give_up:
            raise StreamBackupError(
                f"Table {scratch.name} does not have the tag of this drill, so it was neither"
                " changed nor deleted.",
                f"Find out who made it. A scratch table has the tag {MARK}.",
            )
        time.sleep(PAUSE)


def remove(dynamodb: DynamoDB, scratch: Scratch) -> bool:
    """Deletes a scratch table once it can be deleted; returns whether there was one. Raises
    StreamBackupError when the table is another one, and ClientError."""
    while live := look_up(dynamodb, scratch.name)[0]:
        status = live.description["TableStatus"]
        if status == "DELETING":
            return True
        if status in ("CREATING", "UPDATING"):
            time.sleep(PAUSE)
            continue
        require_scratch(dynamodb, scratch)
        try:
            OnlyScratch(dynamodb, scratch.name).call("delete_table", {"TableName": scratch.name})
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
            time.sleep(PAUSE)  # it, or one of its indexes, is being changed
            continue
        return True
    return False


def others(dynamodb: DynamoDB, archive: str, table: str) -> Iterator[Scratch]:
    """Yields the scratch tables of this archive and table that exist."""
    for name in list(names(dynamodb)):
        if not name.startswith(PREFIX):
            continue
        live = look_up(dynamodb, name)[0]
        if live is None or live.description["TableStatus"] == "DELETING":
            continue
        owner, _, until = _mark_of(dynamodb, live.description["TableArn"]).partition(" ")
        if owner == _owner(archive, table):
            yield Scratch(name, archive, table, from_iso(until))


def _is_marked(dynamodb: DynamoDB, scratch: Scratch) -> bool:
    live = look_up(dynamodb, scratch.name)[0]
    if not live or not scratch.name.startswith(PREFIX):
        return False
    return _mark_of(dynamodb, live.description["TableArn"]) == scratch.mark


def _mark_of(dynamodb: DynamoDB, arn: str) -> str:
    found = {tag["Key"]: tag["Value"] for tag in tags_of(dynamodb, arn)}
    return found.get(MARK, "")


def _owner(archive: str, table: str) -> str:
    return digest(f"{archive}/{table}".encode())
