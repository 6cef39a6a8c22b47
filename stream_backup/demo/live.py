"""The live tables of the demo, in wire form, and the records of what was written to them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item
from stream_backup.demo.rows import KEY
from stream_backup.demo.truth import Truth, Write

_BATCH = 25
"""Requests in a BatchWriteItem, at most (Amazon DynamoDB API Reference)."""

_TRANSACTION = 100
"""Requests in a TransactWriteItems, at most (Amazon DynamoDB API Reference)."""


@dataclass(slots=True)
class DemoTable:
    """A table with its only writer, which writes one request at a time, also from two threads.

    `truth` is the record of the good writes: what the table must contain. `written` has all states
    that each row was given, good and bad, in order, and None for a deletion: what the archive must
    contain. `second` is the server's clock at its last answer.
    """

    dynamodb: DynamoDB
    name: str
    truth: Truth
    written: dict[str, list[Item | None]] = field(default_factory=dict)
    second: int = 0
    _lock: Lock = field(default_factory=Lock)

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
        self.written = {name: [item] for name, item in rows.items()}

    def look(self) -> int:
        """Returns the server's clock, in seconds since 1970."""
        with self._lock:
            self._call("describe_table", {})
            return self.second

    def put(self, item: Item) -> None:
        """Writes an item."""
        with self._lock:
            self._write("put_item", {"Item": item}, item[KEY]["S"], item)

    def update(self, name: str, change: Item) -> None:
        """Sets these attributes of the item with the key `name`, and leaves the others."""
        request = _setting(name, change) | {"ReturnValues": "ALL_NEW"}
        with self._lock:
            self._write("update_item", request, name, self.truth.rows[name] | change)

    def delete(self, name: str) -> None:
        """Deletes the item with the key `name`."""
        with self._lock:
            self._write("delete_item", {"Key": {KEY: {"S": name}}}, name, None)

    def damage(self, names: Sequence[str], change: Item) -> None:
        """Sets these attributes of these items, in transactions. The truth does not contain it."""
        for start in range(0, len(names), _TRANSACTION):
            part = names[start : start + _TRANSACTION]
            updates = [{"Update": {"TableName": self.name} | _setting(n, change)} for n in part]
            with self._lock:
                answer = self.dynamodb.call("transact_write_items", {"TransactItems": updates})
                self.second = max(self.second, answer.moment)
                for name in part:
                    self.written[name].append((self.written[name][-1] or {}) | change)

    def wait_for(self, moment: int) -> None:
        """Returns when second `moment` has begun."""
        while self.look() < moment:
            time.sleep(0.05)

    def _write(self, operation: str, request: dict[str, Any], name: str, item: Item | None) -> None:
        asked = self.second  # the clock of an answer that came before this request
        answer = self._call(operation, request)
        self.truth.wrote(Write(name, item, asked, self.second))
        self.written.setdefault(name, []).append(answer.get("Attributes", item))

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        answer = self.dynamodb.call(operation, {"TableName": self.name} | request)
        self.second = max(self.second, answer.moment)
        return answer.data


def scan(dynamodb: DynamoDB, name: str) -> Iterator[Item]:
    """Yields every row of a table."""
    request: dict[str, Any] = {"TableName": name, "ConsistentRead": True}
    while True:
        page = dynamodb.call("scan", request).data
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _setting(name: str, change: Item) -> dict[str, Any]:
    """The members of an update of the item with the key `name` that sets attributes."""
    attributes = {f"#{index}": each for index, each in enumerate(change)}
    values = {f":{index}": value for index, value in enumerate(change.values())}
    expression = ", ".join(f"#{index} = :{index}" for index in range(len(change)))
    return {
        "Key": {KEY: {"S": name}},
        "UpdateExpression": f"SET {expression}",
        "ExpressionAttributeNames": attributes,
        "ExpressionAttributeValues": values,
    }
