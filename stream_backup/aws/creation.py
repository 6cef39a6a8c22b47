"""A table created again from its description."""

from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.capacity import NEW_READ
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.encryption import specification
from stream_backup.aws.errors import may_have_been_written
from stream_backup.aws.table import wait_until_active
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError

MOST_TAGS = 50
"""Tags of a table at most (Amazon DynamoDB Developer Guide, "Tagging restrictions")."""

_INDEX_FIELDS = ("IndexName", "KeySchema", "Projection")
_THROUGHPUT_FIELDS = ("ReadCapacityUnits", "WriteCapacityUnits")
_ON = ("ENABLED", "ENABLING")


def create(
    dynamodb: DynamoDB,
    name: str,
    description: TableDescription,
    tags: dict[str, str],
    warm_throughput: int | None = None,
    *,
    stream: bool,
) -> None:
    """Creates table `name` from `description` with `tags` added, its stream off unless `stream`;
    returns when the table is active. With `warm_throughput` it and its indexes take so many write
    units a second at once. Raises UsageError when this table cannot, or when its key cannot be
    used."""
    request = creation(name, description, tags, stream=stream)
    if encryption := specification(dynamodb, description):
        request["SSESpecification"] = encryption
    if warm_throughput:
        _require_warmable(description, warm_throughput)
        warm = {"ReadUnitsPerSecond": NEW_READ, "WriteUnitsPerSecond": warm_throughput}
        # An index that takes less than its table slows down the writes to the table.
        for each in (request, *request.get("GlobalSecondaryIndexes", ())):
            each["WarmThroughput"] = warm
    dynamodb.call("create_table", request)
    wait_until_active(dynamodb, name)


def _require_warmable(description: TableDescription, units: int) -> None:
    found = description.table
    if billing_mode(found) != "PAY_PER_REQUEST":
        raise UsageError(
            "--warm-throughput is for on-demand tables, and this one has provisioned capacity.",
            "Leave it out. To write faster, restore --like a table with more write capacity.",
        )
    most = found.get("OnDemandThroughput", {}).get("MaxWriteRequestUnits", -1)
    if 0 < most < units:
        raise UsageError(
            f"The table takes {most:,} write units a second at most (MaxWriteRequestUnits), which"
            f" is less than {units:,}.",
            "Leave out --warm-throughput, or pass at most this number.",
        )


def billing_mode(found: dict[str, Any]) -> str:
    """Returns `PAY_PER_REQUEST` or `PROVISIONED`, for `Table` of a DescribeTable answer."""
    return str(found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"))


def tags_later(description: TableDescription, room: int) -> list[dict[str, str]]:
    """Returns the tags of the table that do not fit while `room` other tags are on it."""
    return sorted(description.tags, key=lambda tag: tag["Key"])[MOST_TAGS - room :]


def creation(
    name: str, description: TableDescription, tags: dict[str, str], *, stream: bool
) -> dict[str, Any]:
    """Returns the request of CreateTable for `description`, without its encryption and
    `tags_later`."""
    found = description.table
    mode = billing_mode(found)
    request: dict[str, Any] = {
        "TableName": name,
        "AttributeDefinitions": found["AttributeDefinitions"],
        "KeySchema": found["KeySchema"],
        "BillingMode": mode,
    }
    request |= _throughput(found, mode)
    if local := found.get("LocalSecondaryIndexes"):
        request["LocalSecondaryIndexes"] = [_index(index) for index in local]
    if indexes := found.get("GlobalSecondaryIndexes"):
        request["GlobalSecondaryIndexes"] = [
            _index(index) | _throughput(index, mode) for index in indexes
        ]
    if table_class := found.get("TableClassSummary", {}).get("TableClass"):
        request["TableClass"] = table_class
    if found.get("DeletionProtectionEnabled"):
        request["DeletionProtectionEnabled"] = True
    if stream:
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        request["StreamSpecification"] = specification
    later = tags_later(description, len(tags))
    kept = {tag["Key"]: tag["Value"] for tag in description.tags if tag not in later}
    if every := kept | tags:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(every.items())]
    return request


def restore_settings(dynamodb: DynamoDB, name: str, description: TableDescription) -> None:
    """Sets what CreateTable cannot set: time to live, unless it is on, and point-in-time recovery.
    AWS refuses the latter for a while after a table was created
    (ContinuousBackupsUnavailableException), which counts as busy."""
    ttl = description.time_to_live
    if ttl.get("TimeToLiveStatus") in _ON and not _expires(dynamodb, name):
        setting = {"Enabled": True, "AttributeName": ttl["AttributeName"]}
        request: dict[str, Any] = {"TableName": name, "TimeToLiveSpecification": setting}
        try:
            dynamodb.call("update_time_to_live", request)
        except ClientError as error:
            # AWS refuses to do it twice, and the first answer may have been lost.
            if not may_have_been_written(error) or not _expires(dynamodb, name):
                raise
    if description.point_in_time_recovery:
        recovery: dict[str, Any] = {"PointInTimeRecoveryEnabled": True}
        if description.recovery_days:
            recovery["RecoveryPeriodInDays"] = description.recovery_days
        request = {"TableName": name, "PointInTimeRecoverySpecification": recovery}
        dynamodb.call("update_continuous_backups", request)


def _expires(dynamodb: DynamoDB, name: str) -> bool:
    """Whether the table's time to live is on."""
    answer = dynamodb.call("describe_time_to_live", {"TableName": name}).data
    return answer["TimeToLiveDescription"].get("TimeToLiveStatus") in _ON


def _index(index: dict[str, Any]) -> dict[str, Any]:
    return {field: index[field] for field in _INDEX_FIELDS}


def _throughput(found: dict[str, Any], mode: str) -> dict[str, Any]:
    if mode == "PROVISIONED":
        given = found["ProvisionedThroughput"]
        return {"ProvisionedThroughput": {field: given[field] for field in _THROUGHPUT_FIELDS}}
    limits = found.get("OnDemandThroughput")
    return {"OnDemandThroughput": limits} if limits else {}
