"""One row of a live table: read as it is, and written only if it still is what was read."""

from typing import Any

from stream_backup.aws.dynamodb import Caller
from stream_backup.core.item import Item

CONDITIONS = 120
"""Attributes compared in a condition expression, which takes 300 operators and 4 KB (Amazon
DynamoDB Developer Guide, "Service, account, and table quotas"). Each attribute needs two
operators."""


def read_row(dynamodb: Caller, table: str, key: Item) -> Item | None:
    """Returns the row with this key as it is now, None when there is none."""
    request = {"TableName": table, "Key": key, "ConsistentRead": True}
    found: Item | None = dynamodb.call("get_item", request).data.get("Item")
    return found


def replacement(table: str, key: Item, live: Item | None, wanted: Item | None) -> dict[str, Any]:
    """Returns the request of a PutItem of `wanted`, or of a DeleteItem where that is None, which
    is executed if the row still is `live`, and returns the row that it replaced."""
    request = {"TableName": table, "ReturnValues": "ALL_OLD"} | _condition(key, live)
    return request | ({"Key": key} if wanted is None else {"Item": wanted})


def _condition(key: Item, live: Item | None) -> dict[str, Any]:
    """Returns the condition that the row exists with these attributes, or does not exist. A
    condition cannot say that there are no other attributes: the replaced row shows that."""
    if live is None:
        return {
            "ConditionExpression": "attribute_not_exists(#0)",
            "ExpressionAttributeNames": {"#0": next(iter(key))},
        }
    compared = list(live.items())[:CONDITIONS]
    return {
        "ConditionExpression": " AND ".join(
            f"#{index} = :{index}" for index in range(len(compared))
        ),
        "ExpressionAttributeNames": {f"#{index}": name for index, (name, _) in enumerate(compared)},
        "ExpressionAttributeValues": {
            f":{index}": value for index, (_, value) in enumerate(compared)
        },
    }
