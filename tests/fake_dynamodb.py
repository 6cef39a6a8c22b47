"""DynamoDB and its streams on top of the model, behind the one method of
`stream_backup.aws.dynamodb.DynamoDB`.

It supports only the operations and condition expressions that this project sends. Tables other than
the model's are plain dictionaries, which restores fill.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.core.item import Item, encode
from stream_backup.core.key import key_hash
from stream_backup.core.time_rule import QUIET, QUIET_READS
from tests.expressions import Expressions
from tests.model import ARN, NAME, SCHEMA, Model, Rows, StreamLife

PAGE = 2

_KEYS = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
_TYPES = [
    {"AttributeName": "pk", "AttributeType": "S"},
    {"AttributeName": "sk", "AttributeType": "N"},
]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "fake")


class FakeDynamoDB(DynamoDB):
    """`pause` is called wherever other processes may act. With `moody`, batch writes are refused or
    only partly processed."""

    def __init__(self, model: Model, date: Callable[[], int], pause: Callable[[], None]) -> None:
        self.model = model
        self.date = date
        self.pause = pause
        self.moody: Random | None = None
        self.others: dict[str, Rows] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.created: dict[str, int] = {}
        self.batches = 0

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        self.pause()
        asked = json.loads(request) if isinstance(request, bytes) else request
        data = getattr(self, f"_{operation}")(asked)
        moment = self.date()
        self.pause()
        return Answer(json.loads(json.dumps(data)), moment)

    def _rows(self, table: str) -> Rows:
        rows = self.model.rows if table == NAME else self.others.get(table)
        if rows is None:
            raise refusal("ResourceNotFoundException")
        return rows

    def _describe_table(self, request: dict[str, Any]) -> Any:
        name = request["TableName"]
        self._rows(name)
        found: dict[str, Any] = {
            "TableName": name,
            "TableArn": ARN.replace(NAME, name),
            "TableId": str(self.model.table_id),
            "TableStatus": "ACTIVE",
            "KeySchema": _KEYS,
            "AttributeDefinitions": _TYPES,
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        }
        if name != NAME:
            found["CreationDateTime"] = self.created.get(name, 0)
        streams = [each for each in self.model.streams if each.table_id == self.model.table_id]
        if name == NAME and streams:
            latest = {"LatestStreamArn": streams[-1].arn, "LatestStreamLabel": streams[-1].label}
            found |= latest  # on AWS these remain when the stream is off
        if name == NAME and self.model.stream:
            view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
            found["StreamSpecification"] = view
        return {"Table": found}

    def _list_tables(self, _: Any) -> Any:
        return {"TableNames": sorted(self.others)}

    def _describe_time_to_live(self, _: Any) -> Any:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}

    def _describe_continuous_backups(self, _: Any) -> Any:
        return {"ContinuousBackupsDescription": {}}

    def _list_tags_of_resource(self, request: dict[str, Any]) -> Any:
        found = self.tags.get(request["ResourceArn"], {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in found.items()]}

    def _tag_resource(self, request: dict[str, Any]) -> Any:
        self.tags.setdefault(request["ResourceArn"], {}).update(
            {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        )
        return {}

    def _untag_resource(self, request: dict[str, Any]) -> Any:
        for key in request["TagKeys"]:
            self.tags[request["ResourceArn"]].pop(key, None)
        return {}

    def _create_table(self, request: dict[str, Any]) -> Any:
        if request["TableName"] in self.others:
            raise refusal("ResourceInUseException")
        self.others[request["TableName"]] = {}
        self.created[request["TableName"]] = self.date()
        arn = ARN.replace(NAME, request["TableName"])
        self.tags[arn] = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        return {}

    def _update_table(self, request: dict[str, Any]) -> Any:
        self._rows(request["TableName"])
        on = request["StreamSpecification"]["StreamEnabled"]
        if on == bool(self.model.stream):
            raise refusal("ValidationException")
        if on:
            self.model.switch_on()
        else:
            self.model.switch_off()
        return {}

    def _scan(self, request: dict[str, Any]) -> Any:
        """Reads each row as it is when it is reached: a page is not a snapshot. Without
        ConsistentRead, rows are stale."""
        wanted = set(request.get("ExpressionAttributeNames", {}).values())
        segment, total = request.get("Segment", 0), request.get("TotalSegments", 1)
        cursor = key_hash(request["ExclusiveStartKey"]) if "ExclusiveStartKey" in request else ""
        items: list[Item] = []
        page = min(request.get("Limit", PAGE), PAGE)  # 1 MB ends a page, too
        while len(items) < page:
            rows = self._rows(request["TableName"])
            names = [
                name for name in rows if name > cursor and int(name[-4:], 16) % total == segment
            ]
            if not names:
                return {"Items": items}
            cursor = min(names)
            item = rows[cursor]
            if request["TableName"] == NAME and not request.get("ConsistentRead"):
                stale = (self.model.at(int(self.model.now) - 30) or {}).get(cursor)
                item = json.loads(stale) if stale else item
            items.append({name: item[name] for name in wanted} if wanted else item)
            last = SCHEMA.key_of(item)
            self.pause()
        return {"Items": items, "LastEvaluatedKey": last}

    def _get_item(self, request: dict[str, Any]) -> Any:
        found = self._rows(request["TableName"]).get(key_hash(request["Key"]))
        return {"Item": found} if found else {}

    def _put_item(self, request: dict[str, Any]) -> Any:
        return self._write(request, SCHEMA.key_of(request["Item"]), request["Item"])

    def _delete_item(self, request: dict[str, Any]) -> Any:
        return self._write(request, request["Key"], None)

    def _update_item(self, request: dict[str, Any]) -> Any:
        """Executes what an undo sends, as strictly as DynamoDB does."""
        key = request["Key"]
        before = self._rows(request["TableName"]).get(key_hash(key))
        expressions = Expressions(request)
        if not expressions.holds(request["ConditionExpression"], before):
            raise refusal("ConditionalCheckFailedException")
        assert before is not None, "a row must not come back as a stump"
        item = expressions.updated(request["UpdateExpression"], before, {*key})
        expressions.finish()
        self._store(request["TableName"], key, item)
        return {"Attributes": before} if "ReturnValues" in request else {}

    def _write(self, request: dict[str, Any], key: Item, item: Item | None) -> Any:
        before = self._rows(request["TableName"]).get(key_hash(key))
        if "ConditionExpression" in request and not _holds(request, before):
            raise refusal("ConditionalCheckFailedException")
        self._store(request["TableName"], key, item)
        return {"Attributes": before} if before else {}

    def _batch_write_item(self, request: dict[str, Any]) -> Any:
        self.batches += 1
        ((table, requests),) = request["RequestItems"].items()
        rows = self._rows(table)
        assert 0 < len(requests) <= 25
        mood = self.moody.random() if self.moody else 1.0
        if mood < 0.2:
            raise refusal("ProvisionedThroughputExceededException")
        done = (
            requests
            if mood > 0.5 or not self.moody
            else self.moody.sample(requests, len(requests) // 2)
        )
        seen = set()
        for each in done:
            item = each["PutRequest"]["Item"] if "PutRequest" in each else None
            key = SCHEMA.key_of(item) if item else each["DeleteRequest"]["Key"]
            assert key_hash(key) not in seen, "DynamoDB refuses a batch that names a key twice"
            seen.add(key_hash(key))
            self._store(table, key, item)
        left = [each for each in requests if each not in done]
        assert rows is not None
        return {"UnprocessedItems": {table: left} if left else {}}

    def _store(self, table: str, key: Item, item: Item | None) -> None:
        if table == NAME:
            self.model.write(key, item)
        elif item is None:
            self.others[table].pop(key_hash(key), None)
        else:
            self.others[table][key_hash(key)] = item

    def _stream(self, arn: str) -> StreamLife:
        return next(stream for stream in self.model.streams if stream.arn == arn)

    def _describe_stream(self, request: dict[str, Any]) -> Any:
        stream = self._stream(request["StreamArn"])
        numbers = {"StartingSequenceNumber": "0"} | (
            {} if stream.on else {"EndingSequenceNumber": "9" * 40}
        )
        shards = [
            {"ShardId": str(number), "SequenceNumberRange": numbers}
            for number in range(len(stream.shards))
        ]
        status = "ENABLED" if stream.on else "DISABLED"
        return {"StreamDescription": {"StreamStatus": status, "Shards": shards}}

    def _get_shard_iterator(self, request: dict[str, Any]) -> Any:
        stream, shard = self._stream(request["StreamArn"]), int(request["ShardId"])
        start = stream.trimmed[shard]
        if request["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            sequences = [
                record.event["dynamodb"]["SequenceNumber"] for record in stream.shards[shard]
            ]
            start = sequences.index(request["SequenceNumber"]) + 1
            if start < stream.trimmed[shard]:
                raise refusal("TrimmedDataAccessException")
        return {"ShardIterator": json.dumps([stream.arn, shard, start, None, 0])}

    def _get_records(self, request: dict[str, Any]) -> Any:
        """Answers may be empty although there are records, or the end, for one read less than
        `time_rule.quiet` relies on, and for longer of a shard that is closed. An iterator knows
        since when, and how often."""
        arn, shard, start, since, reads = json.loads(request["ShardIterator"])
        stream = self._stream(arn)
        if start < stream.trimmed[shard]:
            raise refusal("TrimmedDataAccessException")
        since = self.model.now if since is None else since
        allowed = reads < QUIET_READS - 1 or self.model.now - since < QUIET - 1
        if not stream.on:
            allowed = reads < 3 * QUIET_READS
        left = stream.shards[shard][start:]
        chance = 0.98 if reads else 0.1
        if (left or not stream.on) and allowed and self.model.random.random() < chance:
            following = json.dumps([arn, shard, start, since, reads + 1])
            return {"Records": [], "NextShardIterator": following}
        found = [record.event for record in left[: self.model.random.choice([1, 2, 5])]]
        ended = not stream.on and len(found) == len(left)
        following = json.dumps([arn, shard, start + len(found), None, 0])
        return {"Records": found} | ({} if ended else {"NextShardIterator": following})


def _holds(request: dict[str, Any], row: Item | None) -> bool:
    names, values = (
        request["ExpressionAttributeNames"],
        request.get("ExpressionAttributeValues", {}),
    )
    for term in request["ConditionExpression"].split(" AND "):
        if term.startswith("attribute_not_exists("):
            if row and names[term[len("attribute_not_exists(") : -1]] in row:
                return False
            continue
        name, value = (side.strip() for side in term.split("="))
        if (
            row is None
            or names[name] not in row
            or encode({"": row[names[name]]}) != encode({"": values[value]})
        ):
            return False
    return True
