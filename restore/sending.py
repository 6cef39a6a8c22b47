"""Sends one request that writes a row, between two lines of the receipt."""

from typing import Any

from botocore.exceptions import ClientError

from restore.receipt import Line, Receipt
from stream_backup.aws.dynamodb import Caller
from stream_backup.aws.errors import may_have_been_written
from stream_backup.core.edits import as_value
from stream_backup.core.item import Item
from stream_backup.core.values import same


def send(
    dynamodb: Caller, receipt: Receipt | None, operation: str, request: dict[str, Any], line: Line
) -> Item | None:
    """Sends a request and returns the row that it replaced, where it asks for it. Raises what the
    call raises.

    The receipt says that the request was not written only where that is certain. Where the row that
    was replaced is not what `line` says, the receipt has both.
    """
    if receipt is None:
        return replaced(dynamodb, operation, request)
    with receipt.request(line) as number:
        try:
            old = replaced(dynamodb, operation, request)
        except ClientError as error:
            if not may_have_been_written(error):
                receipt.end(number, "not written")
            raise
        other = "ReturnValues" in request and not same(as_value(old), as_value(line.before))
        receipt.end(number, "done", *([old] if other and old else []))
    return old


def replaced(dynamodb: Caller, operation: str, request: dict[str, Any]) -> Item | None:
    """Sends a request and returns the row in its answer."""
    found: Item | None = dynamodb.call(operation, request).data.get("Attributes")
    return found
