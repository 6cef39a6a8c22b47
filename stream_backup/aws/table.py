"""A live table: looked up, waited for, and described for the archive."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.encryption import manager_of
from stream_backup.core.nearest import did_you_mean
from stream_backup.core.records import Live, TableDescription
from stream_backup.errors import UsageError

RESTORING = "stream-backup:restoring"
"""The tag of a table while a restore fills it: which restore that is."""

RESTORED = "stream-backup:restored"
"""The tag of a table that a restore filled: the moment and the table that it was restored from."""

_COMPARED = 2500
"""Names of tables that a mistyped one is compared with: as many as an account has by default
(Amazon DynamoDB Developer Guide, "Service, account, and table quotas in Amazon DynamoDB")."""


def look_up(dynamodb: DynamoDB, table: str) -> tuple[Live | None, int]:
    """Returns the table as it is now, None when it does not exist, and AWS's clock in epoch
    seconds."""
    try:
        answer = dynamodb.call("describe_table", {"TableName": table})
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return None, dynamodb.call("list_tables", {"Limit": 1}).moment
    found = answer.data["Table"]
    on = found.get("StreamSpecification", {}).get("StreamEnabled", False)
    return Live(found, found.get("LatestStreamLabel") if on else None), answer.moment


def require(dynamodb: DynamoDB, table: str) -> tuple[Live, int]:
    """Returns what `look_up` returns; raises UsageError when the table does not exist."""
    live, now = look_up(dynamodb, table)
    if live is None:
        raise UsageError(
            f"There is no table {table!r} in this account and Region.",
            f"{_suggestion(dynamodb, table)}Check its name, --region and --profile.",
        )
    return live, now


def names(dynamodb: DynamoDB) -> Iterator[str]:
    """Yields the names of the tables in this account and Region. Raises ClientError."""
    request: dict[str, Any] = {}
    while True:
        page = dynamodb.call("list_tables", request).data
        yield from page["TableNames"]
        if "LastEvaluatedTableName" not in page:
            return
        request = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}


def _suggestion(dynamodb: DynamoDB, table: str) -> str:
    """The nearest name of a table, where tables may be listed."""
    try:
        return did_you_mean(table, islice(names(dynamodb), _COMPARED))
    except ClientError:
        return ""


def wait_until_active(dynamodb: DynamoDB, name: str) -> None:
    """Returns when the table accepts writes: a table that is being created or changed does not
    yet."""
    while not (live := look_up(dynamodb, name)[0]) or live.description["TableStatus"] != "ACTIVE":
        time.sleep(0.5)


def describe(dynamodb: DynamoDB, found: dict[str, Any]) -> TableDescription:
    """Returns the description to keep of the table whose DescribeTable answer has `found` as its
    `Table`."""
    name, arn = found["TableName"], found["TableArn"]
    ttl = dynamodb.call("describe_time_to_live", {"TableName": name}).data
    backups = dynamodb.call("describe_continuous_backups", {"TableName": name}).data
    recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    return TableDescription(
        table=found,
        time_to_live=ttl["TimeToLiveDescription"],
        tags=tuple(tags_of(dynamodb, arn)),
        point_in_time_recovery=recovery.get("PointInTimeRecoveryStatus") == "ENABLED",
        key_manager=manager_of(dynamodb, found),
        recovery_days=recovery.get("RecoveryPeriodInDays"),
    )


def tags_of(dynamodb: DynamoDB, arn: str) -> list[dict[str, str]]:
    """Returns a table's tags without those that AWS sets itself, which nobody else may set."""
    found: list[dict[str, str]] = []
    request = {"ResourceArn": arn}
    while True:
        page = dynamodb.call("list_tags_of_resource", request).data
        found += page.get("Tags", [])
        if not page.get("NextToken"):
            return [tag for tag in found if not tag["Key"].startswith("aws:")]
        request = {"ResourceArn": arn, "NextToken": page["NextToken"]}
