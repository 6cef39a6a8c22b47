"""The KMS key that encrypts a table.

DescribeTable names the key in one field, whether AWS manages it (alias `aws/dynamodb`) or the
account does. CreateTable takes only a key of the second kind (Amazon DynamoDB API Reference,
"SSESpecification": `KMSMasterKeyId` is given only if the key differs from the default one). Only
KMS knows which kind a key is, so KMS is asked, and its answer is kept with the description.
"""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import is_denied
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError

AWS, CUSTOMER = "AWS", "CUSTOMER"
"""Who manages a key, as KMS reports it (`KeyManager`)."""

_ON = ("ENABLED", "ENABLING", "UPDATING")
_ALTERNATIVE = "create an empty table with the key that you want, and restore into it: --into NAME"


def manager_of(dynamodb: DynamoDB, found: dict[str, Any]) -> str:
    """Returns who manages the key of the table that DescribeTable describes as `found`: `AWS` or
    `CUSTOMER`, or an empty string if it has no key in KMS or if KMS does not tell."""
    arn = found.get("SSEDescription", {}).get("KMSMasterKeyArn")
    if not arn:
        return ""
    try:
        return str(_describe_key(dynamodb, arn).get("KeyManager", ""))
    except (ClientError, BotoCoreError):
        return ""


def specification(dynamodb: DynamoDB, description: TableDescription) -> dict[str, Any]:
    """Returns the SSESpecification with which CreateTable encrypts a table like the one described.
    It is empty for a table that has no key in KMS, which is the default.

    Raises UsageError when the key cannot be used, or when nobody knows who manages it: a table that
    was encrypted with a key of the account is never created with another key.
    """
    found = description.table.get("SSEDescription", {})
    if found.get("Status") not in _ON:
        return {}
    request = {"Enabled": True, "SSEType": found.get("SSEType", "KMS")}
    arn = found.get("KMSMasterKeyArn")
    if arn and _manager(dynamodb, arn, description.key_manager) == CUSTOMER:
        request["KMSMasterKeyId"] = arn
    return request


def _manager(dynamodb: DynamoDB, arn: str, recorded: str) -> str:
    try:
        key = _describe_key(dynamodb, arn)
    except BotoCoreError:
        if recorded:
            return recorded  # A network without an endpoint for KMS cannot reach it.
        raise
    except ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException" and recorded != AWS:
            raise UsageError(
                f"Key {arn}, which encrypted this table, does not exist any more.",
                f"To use another key, {_ALTERNATIVE}",
            ) from error
        if recorded:
            return recorded
        if is_denied(error):
            raise UsageError(
                f"No permission to look up key {arn}, so it is unknown whether AWS manages the key"
                " that encrypted this table.",
                f"The role needs kms:DescribeKey on this key. Otherwise, {_ALTERNATIVE}",
            ) from error
        raise
    manager, state = str(key["KeyManager"]), key.get("KeyState", "Enabled")
    if manager == CUSTOMER and state != "Enabled":
        raise UsageError(
            f"Key {arn}, which encrypted this table, is not enabled ({state}).",
            f"Enable the key. To use another key, {_ALTERNATIVE}",
        )
    return manager


def _describe_key(dynamodb: DynamoDB, arn: str) -> dict[str, Any]:
    if ":alias/aws/" in arn:  # Nobody else may give a key such an alias.
        return {"KeyManager": AWS}
    found: dict[str, Any] = dynamodb.call("describe_key", {"KeyId": arn}).data["KeyMetadata"]
    return found
