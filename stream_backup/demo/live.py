"""The live tables of the demo, in wire form. Every write is added to the record of the truth."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item
from stream_backup.demo.rows import KEY
from stream_backup.demo.truth import Truth, Write

_BATCH = 25
"""Requests in a BatchWriteItem, at most (Amazon DynamoDB API Reference)."""


@dataclass(slots=True)
class DemoTable:
    """A table with its only writer. `second` is the server's clock at its last answer."""

    dynamodb: DynamoDB
    name: str
    truth: Truth
    second: int = 0

    def create(self) -> None:
        """Creates the table, on-demand, with the key `rows.KEY` and without a stream."""
        self._call(
            "create_table",
            {
                "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": KEY, "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        )

    def fill(self, rows: dict[str, Item]) -> None:
        """Writes the rows that exist before the backup begins."""
        requests = [{"PutRequest": {"Item": item}} for item in rows.values()]
        for start in range(0, len(requests), _BATCH):
            left = {self.name: requests[start : start + _BATCH]}
            while left:
                answer = self.dynamodb.call("batch_write_item", {"RequestItems": left})
                left = answer.data.get("UnprocessedItems")
        self.truth.begin(rows)

    def look(self) -> int:
        """Returns the server's clock, in seconds since 1970."""
        self._call("describe_table", {})
        return self.second

    def put(self, item: Item) -> None:
        """Writes an item."""
        self._write("put_item", {"Item": item}, item[KEY]["S"], item)

    def delete(self, name: str) -> None:
        """Deletes the item with the key `name`."""
        self._write("delete_item", {"Key": {KEY: {"S": name}}}, name, None)

    def wait_for(self, moment: int) -> None:
        """Returns when second `moment` has begun."""
        while self.look() < moment:
            time.sleep(0.05)

    def _write(self, operation: str, request: dict[str, Any], name: str, item: Item | None) -> None:
        asked = self.second  # the clock of an answer that came before this request
        self._call(operation, request)
        self.truth.wrote(Write(name, item, asked, self.second))

    def _call(self, operation: str, request: dict[str, Any]) -> None:
        answer = self.dynamodb.call(operation, {"TableName": self.name} | request)
        self.second = max(self.second, answer.moment)


def scan(dynamodb: DynamoDB, name: str) -> Iterator[Item]:
    """Yields every row of a table."""
    request: dict[str, Any] = {"TableName": name, "ConsistentRead": True}
    while True:
        page = dynamodb.call("scan", request).data
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
