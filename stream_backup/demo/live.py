"""The live tables of the demo, in wire form: made, filled, written to and read, with everything told to the record of the
truth."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stream_backup.demo.rows import KEY
from stream_backup.demo.truth import Truth, Write
from stream_backup.dynamodb import DynamoDB
from stream_backup.item import Item

_BATCH = 25
"""BatchWriteItem takes no more."""


@dataclass(slots=True)
class Table:
    """One table and the one who writes to it. `second` is the server's clock at its last answer."""

    dynamodb: DynamoDB
    name: str
    truth: Truth
    second: int = 0

    def create(self) -> None:
        self._call(
            "create_table",
            {
                "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": KEY, "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        )

    def fill(self, rows: dict[str, Item]) -> None:
        """The rows that are there before anybody looks."""
        items = list(rows.values())
        for start in range(0, len(items), _BATCH):
            left = {self.name: [{"PutRequest": {"Item": item}} for item in items[start : start + _BATCH]]}
            while left:
                left = self.dynamodb.call("batch_write_item", {"RequestItems": left}).data.get("UnprocessedItems")
        self.truth.begin(rows)

    def look(self) -> int:
        """The server's clock."""
        self._call("describe_table", {})
        return self.second

    def put(self, item: Item) -> None:
        self._write("put_item", {"Item": item}, item[KEY]["S"], item)

    def delete(self, name: str) -> None:
        self._write("delete_item", {"Key": {KEY: {"S": name}}}, name, None)

    def wait_for(self, moment: int) -> None:
        """Returns when second `moment` has begun."""
        while self.look() < moment:
            time.sleep(0.05)

    def _write(self, operation: str, request: dict[str, Any], name: str, item: Item | None) -> None:
        asked = self.second  # the clock at an answer that came before we asked
        self._call(operation, request)
        self.truth.wrote(Write(name, item, asked, self.second))

    def _call(self, operation: str, request: dict[str, Any]) -> None:
        answer = self.dynamodb.call(operation, {"TableName": self.name} | request)
        self.second = max(self.second, answer.moment)


def scan(dynamodb: DynamoDB, name: str) -> Iterator[Item]:
    """Every row of a table."""
    request: dict[str, Any] = {"TableName": name, "ConsistentRead": True}
    while True:
        page = dynamodb.call("scan", request).data
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
