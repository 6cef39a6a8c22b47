"""A table created again from its description."""

from typing import Any

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.table import wait_until_active
from stream_backup.core.records import TableDescription

_INDEX_FIELDS = ("IndexName", "KeySchema", "Projection")
_THROUGHPUT_FIELDS = ("ReadCapacityUnits", "WriteCapacityUnits")
_ON = ("ENABLED", "ENABLING")


def create(
    dynamodb: DynamoDB,
    name: str,
    description: TableDescription,
    tags: dict[str, str],
    *,
    stream: bool,
) -> None:
    """Creates table `name` from `description` with `tags` added, its stream off unless `stream`;
    returns when the table is active."""
    dynamodb.call("create_table", creation(name, description, tags, stream=stream))
    wait_until_active(dynamodb, name)


def creation(
    name: str, description: TableDescription, tags: dict[str, str], *, stream: bool
) -> dict[str, Any]:
    """Returns the request of CreateTable for `description`."""
    found = description.table
    mode = found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
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
    if sse := _encryption(found.get("SSEDescription", {})):
        request["SSESpecification"] = sse
    if table_class := found.get("TableClassSummary", {}).get("TableClass"):
        request["TableClass"] = table_class
    if found.get("DeletionProtectionEnabled"):
        request["DeletionProtectionEnabled"] = True
    if stream:
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        request["StreamSpecification"] = specification
    every = {tag["Key"]: tag["Value"] for tag in description.tags} | tags
    if every:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(every.items())]
    return request


def restore_settings(dynamodb: DynamoDB, name: str, description: TableDescription) -> None:
    """Sets what CreateTable cannot set: time to live, unless it is on, and point-in-time
    recovery."""
    ttl = description.time_to_live
    answer = dynamodb.call("describe_time_to_live", {"TableName": name}).data
    status = answer["TimeToLiveDescription"].get("TimeToLiveStatus")
    if ttl.get("TimeToLiveStatus") in _ON and status not in _ON:
        setting = {"Enabled": True, "AttributeName": ttl["AttributeName"]}
        request: dict[str, Any] = {"TableName": name, "TimeToLiveSpecification": setting}
        dynamodb.call("update_time_to_live", request)
    if description.point_in_time_recovery:
        recovery = {"PointInTimeRecoveryEnabled": True}
        request = {"TableName": name, "PointInTimeRecoverySpecification": recovery}
        dynamodb.call("update_continuous_backups", request)


def _index(index: dict[str, Any]) -> dict[str, Any]:
    return {field: index[field] for field in _INDEX_FIELDS}


def _throughput(found: dict[str, Any], mode: str) -> dict[str, Any]:
    if mode == "PROVISIONED":
        given = found["ProvisionedThroughput"]
        return {"ProvisionedThroughput": {field: given[field] for field in _THROUGHPUT_FIELDS}}
    limits = found.get("OnDemandThroughput")
    return {"OnDemandThroughput": limits} if limits else {}


def _encryption(sse: dict[str, Any]) -> dict[str, Any]:
    if sse.get("Status") not in (*_ON, "UPDATING"):
        return {}
    key = {"KMSMasterKeyId": sse["KMSMasterKeyArn"]} if "KMSMasterKeyArn" in sse else {}
    return {"Enabled": True, "SSEType": sse.get("SSEType", "KMS")} | key
