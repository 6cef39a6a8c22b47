"""A table's settings: read into one description that is kept in the archive, and made into a table again.

The description is DescribeTable's `Table` in wire form, with `TimeToLive`, `Tags` and `PointInTimeRecovery` beside it.
"""

import time
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import UsageError
from stream_backup.survey import Live

_INDEX_FIELDS = ("IndexName", "KeySchema", "Projection")
_THROUGHPUT_FIELDS = ("ReadCapacityUnits", "WriteCapacityUnits")


def look_up(dynamodb: DynamoDB, table: str) -> tuple[Live | None, int]:
    """(the table as it is, or None when there is none; AWS's clock)."""
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
    """As `look_up`; raises UsageError when there is no such table."""
    live, now = look_up(dynamodb, table)
    if live is None:
        raise UsageError(f"There is no table {table!r} here.", "Check its name, and --region and --profile.")
    return live, now


def describe(dynamodb: DynamoDB, found: dict[str, Any]) -> dict[str, Any]:
    """The description to keep of the table whose DescribeTable answer is `found`."""
    name, arn = found["TableName"], found["TableArn"]
    ttl = dynamodb.call("describe_time_to_live", {"TableName": name}).data["TimeToLiveDescription"]
    backups = dynamodb.call("describe_continuous_backups", {"TableName": name}).data["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    return {
        "Table": found,
        "TimeToLive": ttl,
        "Tags": tags_of(dynamodb, arn),
        "PointInTimeRecovery": recovery == "ENABLED",
    }


def create(dynamodb: DynamoDB, name: str, description: dict[str, Any], tags: dict[str, str], *, stream: bool) -> None:
    """Makes table `name` by `description`, with `tags` added, its stream off unless `stream`; returns when it is active."""
    dynamodb.call("create_table", creation(name, description, tags, stream=stream))
    wait_until_active(dynamodb, name)


def wait_until_active(dynamodb: DynamoDB, name: str) -> None:
    """Returns when the table takes writes: one that is being made, or changed, does not yet."""
    while not (live := look_up(dynamodb, name)[0]) or live.description["TableStatus"] != "ACTIVE":
        time.sleep(0.5)


def creation(name: str, description: dict[str, Any], tags: dict[str, str], *, stream: bool) -> dict[str, Any]:
    """CreateTable's request for `description`."""
    found = description["Table"]
    provisioned = found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED") == "PROVISIONED"
    request: dict[str, Any] = {
        "TableName": name,
        "AttributeDefinitions": found["AttributeDefinitions"],
        "KeySchema": found["KeySchema"],
        "BillingMode": "PROVISIONED" if provisioned else "PAY_PER_REQUEST",
    }
    request |= _throughput(found, provisioned=provisioned)
    if local := found.get("LocalSecondaryIndexes"):
        request["LocalSecondaryIndexes"] = [{field: index[field] for field in _INDEX_FIELDS} for index in local]
    if indexes := found.get("GlobalSecondaryIndexes"):
        request["GlobalSecondaryIndexes"] = [
            {field: index[field] for field in _INDEX_FIELDS} | _throughput(index, provisioned=provisioned)
            for index in indexes
        ]
    if found.get("SSEDescription", {}).get("Status") in ("ENABLED", "ENABLING", "UPDATING"):
        sse = found["SSEDescription"]
        request["SSESpecification"] = {"Enabled": True, "SSEType": sse.get("SSEType", "KMS")}
        if "KMSMasterKeyArn" in sse:
            request["SSESpecification"]["KMSMasterKeyId"] = sse["KMSMasterKeyArn"]
    if table_class := found.get("TableClassSummary", {}).get("TableClass"):
        request["TableClass"] = table_class
    if found.get("DeletionProtectionEnabled"):
        request["DeletionProtectionEnabled"] = True
    if stream:
        request["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    every = {tag["Key"]: tag["Value"] for tag in description["Tags"]} | tags
    if every:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(every.items())]
    return request


def put_back_settings(dynamodb: DynamoDB, name: str, description: dict[str, Any]) -> None:
    """What CreateTable cannot set: time to live, where it is not on already, and point-in-time recovery."""
    ttl = description["TimeToLive"]
    on = ("ENABLED", "ENABLING")
    found = dynamodb.call("describe_time_to_live", {"TableName": name}).data["TimeToLiveDescription"]
    if ttl.get("TimeToLiveStatus") in on and found.get("TimeToLiveStatus") not in on:
        setting = {"Enabled": True, "AttributeName": ttl["AttributeName"]}
        dynamodb.call("update_time_to_live", {"TableName": name, "TimeToLiveSpecification": setting})
    if description["PointInTimeRecovery"]:
        recovery = {"PointInTimeRecoveryEnabled": True}
        request = {"TableName": name, "PointInTimeRecoverySpecification": recovery}
        dynamodb.call("update_continuous_backups", request)


def _throughput(found: dict[str, Any], *, provisioned: bool) -> dict[str, Any]:
    if provisioned:
        given = found["ProvisionedThroughput"]
        return {"ProvisionedThroughput": {field: given[field] for field in _THROUGHPUT_FIELDS}}
    limits = found.get("OnDemandThroughput")
    return {"OnDemandThroughput": limits} if limits else {}


def tags_of(dynamodb: DynamoDB, arn: str) -> list[dict[str, str]]:
    """A table's tags without those AWS sets itself, which nobody else may."""
    found: list[dict[str, str]] = []
    request = {"ResourceArn": arn}
    while True:
        page = dynamodb.call("list_tags_of_resource", request).data
        found += page.get("Tags", [])
        if not page.get("NextToken"):
            return [tag for tag in found if not tag["Key"].startswith("aws:")]
        request = {"ResourceArn": arn, "NextToken": page["NextToken"]}
