"""An account whose tables hold money, with transactions over several of them. Every change passes
through a stream and the function at once, so that the archive has it. `at` knows what was in a
table at the end of any second."""

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup.capture.batch import Handler, make_handler
from stream_backup.core.item import Item, encode
from stream_backup.core.key import key_hash
from tests.account import ARN, SCHEMA, Account, LiveTable
from tests.expressions import Expressions
from tests.fake_dynamodb import refusal

Rows = dict[str, bytes]


def account_of(name: str, amount: int) -> Item:
    return {"id": {"S": name}, "amount": {"N": str(amount)}}


class Shop(Account):
    """`at_of` says in which second of the stream's clock the record of a change is stamped; AWS
    documents no more than that it is approximate. `random` cuts and orders the batches."""

    def __init__(self, *tables: str) -> None:
        self.random = Random(1)
        self.entries: dict[str, list[tuple[int, str, Item | None]]] = defaultdict(list)
        self.at_of: Callable[[str, float], int] = lambda _table, second: int(second)
        self.sequence = 10**21
        self.handlers: dict[str, Handler] = {}
        super().__init__(*tables)

    def create(self, name: str, rows: int = 5, **more: Any) -> LiveTable:
        made = super().create(name, 0, **more)
        for number in range(rows):
            item = account_of(f"{name}-{number}", 100)
            made.rows[key_hash(SCHEMA.key_of(item))] = item
            self.entries[name].append((int(self.second), item["id"]["S"], item))
        return made

    # What is true

    def at(self, table: str, moment: int) -> Rows:
        found: Rows = {}
        for second, name, item in sorted(self.entries[table], key=lambda each: each[0]):
            if second <= moment:
                found.pop(name, None)
                if item is not None:
                    found[name] = encode(item)
        return found

    def rows(self, table: str) -> Rows:
        return {item["id"]["S"]: encode(item) for item in self.live[table].rows.values()}

    def money(self, *tables: str) -> int:
        every = (item for table in tables for item in self.live[table].rows.values())
        return sum(int(item["amount"]["N"]) for item in every)

    # What happens

    def write(self, table: str, item: Item) -> None:
        self.call("put_item", {"TableName": table, "Item": item})

    def remove(self, table: str, name: str) -> None:
        self.call("delete_item", {"TableName": table, "Key": {"id": {"S": name}}})

    def transfer(self, *parts: tuple[str, str, int]) -> int:
        """Adds amounts to accounts of several tables in one transaction; returns its second."""
        actions = []
        for table, name, amount in parts:
            found = self.live[table].rows[key_hash({"id": {"S": name}})]
            item = account_of(name, int(found["amount"]["N"]) + amount)
            actions.append({"Put": {"TableName": table, "Item": item}})
        self.call("transact_write_items", {"TransactItems": actions})
        return int(self.second)

    def pass_time(self, seconds: float) -> None:
        self.second += seconds

    # DynamoDB

    def _transact_write_items(self, request: dict[str, Any]) -> Any:
        """All or nothing: every item once, of at most a hundred."""
        actions = [next(iter(action.items())) for action in request["TransactItems"]]
        places = [(each["TableName"], json.dumps(_key(each))) for _, each in actions]
        assert len(places) == len(set(places)) <= 100
        for _, each in actions:
            self._require(each)
        records = defaultdict[str, list[dict[str, Any]]](list)
        for _, each in actions:
            found = self._store(each["TableName"], _key(each), each.get("Item"))
            records[each["TableName"]] += found
        order = [*records]
        self.random.shuffle(order)  # the streams are read independently
        for table in order:
            self._deliver(table, records[table])
        return {}

    def _put_item(self, request: dict[str, Any]) -> Any:
        return self._write(request, request["Item"])

    def _delete_item(self, request: dict[str, Any]) -> Any:
        return self._write(request, None)

    def _update_item(self, request: dict[str, Any]) -> Any:
        row = self._table(request["TableName"]).rows.get(key_hash(request["Key"]))
        assert row is not None
        new = Expressions(request).updated(request["UpdateExpression"], row, {"id"})
        return self._write(request, new)

    def _write(self, request: dict[str, Any], item: Item | None) -> Any:
        key = _key(request)
        self._require(request)
        before = self._table(request["TableName"]).rows.get(key_hash(key))
        self._deliver(request["TableName"], self._store(request["TableName"], key, item))
        return {"Attributes": before} if before and "ReturnValues" in request else {}

    def _batch_write_item(self, request: dict[str, Any]) -> Any:
        for table, requests in request["RequestItems"].items():
            assert 0 < len(requests) <= 25
            for each in requests:
                (one,) = each.values()
                self._deliver(table, self._store(table, _key(one), one.get("Item")))
        return {"UnprocessedItems": {}}

    def _require(self, request: dict[str, Any]) -> None:
        row = self._table(request["TableName"]).rows.get(key_hash(_key(request)))
        text = request.get("ConditionExpression")
        if text and not Expressions(request).holds(text, row):
            raise refusal("ConditionalCheckFailedException")

    def _store(self, table: str, key: Item, item: Item | None) -> list[dict[str, Any]]:
        """Stores a row, and returns the record of its stream, if that is on."""
        live = self._table(table)
        before = live.rows.pop(key_hash(key), None)
        if item is not None:
            live.rows[key_hash(key)] = copy.deepcopy(item)
        if before == item:
            return []
        second = self.at_of(table, self.second)
        self.entries[table].append((second, key["id"]["S"], copy.deepcopy(item)))
        if not live.label:
            return []
        self.sequence += self.random.randrange(1, 9)
        data = {
            "ApproximateCreationDateTime": second,
            "Keys": key,
            "SequenceNumber": str(self.sequence),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        data |= {"OldImage": before} if before else {}
        data |= {"NewImage": item} if item else {}
        kind = "REMOVE" if item is None else "MODIFY" if before else "INSERT"
        arn = f"{ARN}{table}/stream/{live.label}"
        return [{"eventName": kind, "eventSourceARN": arn, "dynamodb": data}]

    def _deliver(self, table: str, records: list[dict[str, Any]]) -> None:
        handle = self.handlers.setdefault(table, make_handler(self.archive))
        while records:
            size = self.random.randrange(1, 4)
            assert handle({"Records": records[:size]}, None) == {"batchItemFailures": []}
            records = records[size:]

    def _create_table(self, request: dict[str, Any]) -> Any:
        if request["TableName"] in self.live:
            raise refusal("ResourceInUseException")
        tags = {each["Key"]: each["Value"] for each in request.get("Tags", [])}
        super().create(request["TableName"], 0, tags=tags)
        return {}

    def _tag_resource(self, request: dict[str, Any]) -> Any:
        tags = self._table(request["ResourceArn"].rpartition("/")[2]).tags
        tags |= {each["Key"]: each["Value"] for each in request["Tags"]}
        return {}

    def _untag_resource(self, request: dict[str, Any]) -> Any:
        tags = self._table(request["ResourceArn"].rpartition("/")[2]).tags
        for name in request["TagKeys"]:
            tags.pop(name, None)
        return {}

    def _scan(self, request: dict[str, Any]) -> Any:
        found = super()._scan({"Segment": 0, "TotalSegments": 1} | request)
        if "LastEvaluatedKey" in found:
            found["LastEvaluatedKey"] = SCHEMA.key_of(found["LastEvaluatedKey"])
        return found

    def _describe_kinesis_streaming_destination(self, _: Any) -> Any:
        return {}

    # Lambda and S3

    def get_paginator(self, name: str) -> Any:
        if name == "list_event_source_mappings":
            return SimpleNamespace(paginate=lambda **_: [{"EventSourceMappings": []}])
        return super().get_paginator(name)


def _key(request: dict[str, Any]) -> Item:
    return request.get("Key") or SCHEMA.key_of(request["Item"])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """As in `tests/account.py`."""
    found = Shop()
    monkeypatch.setattr("time.sleep", found.sleep)
    monkeypatch.setattr("stream_backup.cli.options.Connection", lambda *_: found)
    monkeypatch.setattr("stream_backup.cli.options._end_when_interrupted", lambda _: None)
    return found
