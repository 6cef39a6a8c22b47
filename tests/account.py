"""An account with several tables, its archive and the deployed function, in this process.

It answers as AWS's documentation allows: a stream and an event source mapping are switched on only
after a while, names come in pages, a table that is being created cannot be changed, and a stream
that is on cannot be switched on again. Its clock goes on with every request and every sleep.
"""

import io
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.dynamodb import Answer
from stream_backup.aws.stack import Stack
from stream_backup.capture.batch import ANNOUNCES
from stream_backup.capture.watch import RecordsConnection
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Stream
from tests.fake_dynamodb import refusal

BEGIN = from_iso("2026-11-21T12:00:00Z")
FUNCTION = "stream-backup"
PAGE = 2
SCHEMA = KeySchema((("id", "S"),))
CALLER = "arn:aws:sts::123456789012:assumed-role/enroller/stream-backup"
ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/"


@dataclass
class LiveTable:
    """A table of the account: `label` is that of its stream, None while that is off, and `latest`
    the last one that it had."""

    name: str
    identity: str
    created: int
    rows: dict[str, Item] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    label: str | None = None
    latest: str | None = None
    enabling: int = 0
    view: str = "NEW_AND_OLD_IMAGES"
    status: str = "ACTIVE"
    units: int | None = None


class _Bucket(MemoryStore):
    bucket = "backups"


class Account(RecordsConnection):
    """`on_call` is called before each request to DynamoDB with its operation and the request, and
    may raise what AWS answers. `failed` are the objects of the failures bucket."""

    def __init__(self, *tables: str) -> None:
        super().__init__(None, None, "s3://backups/")
        self.second = float(BEGIN)
        self.live: dict[str, LiveTable] = {}
        self.mappings: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.failed: dict[str, bytes] = {}
        self.on_call: Callable[[str, dict[str, Any]], None] = lambda *_: None
        self.identities = 0
        stack = Stack(
            "stream-backup",
            "s3://backups/",
            FUNCTION,
            f"arn:aws:lambda:::{FUNCTION}",
            "failures",
            "*",
            {"BatchSize": 100},
        )
        self.__dict__ |= {
            "store": _Bucket(lambda: self.second),
            "s3": self,
            "cloudwatch": self,
            "dynamodb": self,
            "stack": stack,
            "session": SimpleNamespace(client=lambda *_, **__: self),
            "now": lambda: self.second,
        }
        for table in tables:
            self.create(table)

    def create(self, name: str, rows: int = 5, **more: Any) -> LiveTable:
        self.identities += 1
        made = LiveTable(name, f"table-{self.identities}", int(self.second), **more)
        self.live[name] = made
        for number in range(rows):
            item: Item = {"id": {"S": f"{name}-{number}"}}
            made.rows[key_hash(item)] = item
        return made

    def archive(self, table: str, schema: KeySchema | None = None) -> Any:
        return super(RecordsConnection, self).archive(table, schema)

    def catalog(self, table: str) -> Catalog:
        return Catalog(self.archive(table))

    def tables(self) -> list[str]:
        return sorted({path.partition("/")[0] for path in self.store.objects})  # type: ignore[attr-defined]

    def clock(self) -> int:
        return int(self.second)

    def sleep(self, seconds: float) -> None:
        self.second += seconds

    def switch_off(self, table: str) -> None:
        """As somebody does in the console."""
        self.live[table].label = None

    # DynamoDB

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        asked = json.loads(request) if isinstance(request, bytes) else request
        name = asked.get("TableName") or asked.get("ResourceArn", "").rpartition("/")[2]
        self.calls[operation] += 1
        self.asked[operation, name] += 1
        self.second += 1
        self.on_call(operation, asked)
        data = getattr(self, f"_{operation}")(asked)
        return Answer(json.loads(json.dumps(data)), int(self.second))

    def _table(self, name: str) -> LiveTable:
        if name not in self.live:
            raise refusal("ResourceNotFoundException")
        return self.live[name]

    def _list_tables(self, request: dict[str, Any]) -> Any:
        after = request.get("ExclusiveStartTableName", "")
        names = sorted(name for name in self.live if name > after)
        page = {"TableNames": names[:PAGE]}
        return page | ({"LastEvaluatedTableName": names[PAGE - 1]} if len(names) > PAGE else {})

    def _describe_table(self, request: dict[str, Any]) -> Any:
        table = self._table(request["TableName"])
        found: dict[str, Any] = {
            "TableName": table.name,
            "TableArn": f"{ARN}{table.name}",
            "TableId": table.identity,
            "TableStatus": table.status,
            "CreationDateTime": table.created,
            "ItemCount": len(table.rows),
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        }
        if table.units is None:
            found["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
        else:
            found["ProvisionedThroughput"] = {"ReadCapacityUnits": table.units}
        if table.latest:
            arn = f"{ARN}{table.name}/stream/{table.latest}"
            found |= {"LatestStreamArn": arn, "LatestStreamLabel": table.latest}
        if table.label:
            view = {"StreamEnabled": True, "StreamViewType": table.view}
            found["StreamSpecification"] = view
        return {"Table": found}

    def _update_table(self, request: dict[str, Any]) -> Any:
        table = self._table(request["TableName"])
        if table.status != "ACTIVE":
            raise refusal("ResourceInUseException")
        on = request["StreamSpecification"]["StreamEnabled"]
        if on == bool(table.label):
            raise refusal("ValidationException")
        if on:
            table.label = table.latest = iso(int(self.second)).replace("Z", ".123")
            table.enabling = 2
        else:
            table.label = None
        return {}

    def _describe_stream(self, request: dict[str, Any]) -> Any:
        table = self._table(request["StreamArn"].split("/")[1])
        table.enabling -= 1
        on = table.label and request["StreamArn"].endswith(table.label)
        status = "DISABLED" if not on else "ENABLING" if table.enabling > 0 else "ENABLED"
        numbers = {"StartingSequenceNumber": "0"} | ({} if on else {"EndingSequenceNumber": "9"})
        shard = {"ShardId": "0", "SequenceNumberRange": numbers}
        return {"StreamDescription": {"StreamStatus": status, "Shards": [shard]}}

    def _describe_time_to_live(self, _: Any) -> Any:
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}

    def _describe_continuous_backups(self, _: Any) -> Any:
        return {"ContinuousBackupsDescription": {}}

    def _list_tags_of_resource(self, request: dict[str, Any]) -> Any:
        table = self._table(request["ResourceArn"].rpartition("/")[2])
        return {"Tags": [{"Key": key, "Value": value} for key, value in table.tags.items()]}

    def _get_item(self, request: dict[str, Any]) -> Any:
        found = self._table(request["TableName"]).rows.get(key_hash(request["Key"]))
        return {"Item": found} if found else {}

    def _scan(self, request: dict[str, Any]) -> Any:
        table = self._table(request["TableName"])
        segment, total = request["Segment"], request["TotalSegments"]
        after = key_hash(request["ExclusiveStartKey"]) if "ExclusiveStartKey" in request else ""
        names = sorted(
            name for name in table.rows if name > after and int(name[-4:], 16) % total == segment
        )
        items = [table.rows[name] for name in names[:PAGE]]
        found: dict[str, Any] = {"Items": items, "ConsumedCapacity": {"CapacityUnits": 1.0}}
        return found | ({"LastEvaluatedKey": items[-1]} if len(names) > PAGE else {})

    # Lambda

    def invoke(self, FunctionName: str, Payload: bytes) -> Any:  # noqa: N803 - boto3's names
        return {"Payload": io.BytesIO(json.dumps({ANNOUNCES: True}).encode())}

    def list_event_source_mappings(self, EventSourceArn: str, FunctionName: str) -> Any:  # noqa: N803
        found = [each for each in self.mappings.values() if each["arn"] == EventSourceArn]
        return {"EventSourceMappings": found}

    def create_event_source_mapping(self, EventSourceArn: str, **settings: Any) -> Any:  # noqa: N803
        if any(each["arn"] == EventSourceArn for each in self.mappings.values()):
            raise refusal("ResourceConflictException")
        made = {"UUID": f"mapping-{len(self.mappings)}", "State": "Creating"}
        self.mappings[made["UUID"]] = made | settings | {"arn": EventSourceArn, "left": 2}
        return self.mappings[made["UUID"]]

    def get_event_source_mapping(self, UUID: str) -> Any:  # noqa: N803
        self.second += 1
        found = self.mappings[UUID]
        found["left"] -= 1
        return found | {"State": "Creating" if found["left"] > 0 else "Enabled"}

    # S3, CloudWatch and STS

    def get_bucket_lifecycle_configuration(self, **_: Any) -> Any:
        return {"Rules": []}

    def get_bucket_encryption(self, **_: Any) -> Any:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}

    def get_paginator(self, _: str) -> Any:
        def paginate(Prefix: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803
            return [{"Contents": [{"Key": key} for key in self.failed if key.startswith(Prefix)]}]

        return SimpleNamespace(paginate=paginate)

    def get_object(self, Key: str, **_: Any) -> Any:  # noqa: N803
        return {"Body": io.BytesIO(self.failed[Key])}

    def get_metric_statistics(self, **_: Any) -> Any:
        return {"Datapoints": []}

    def get_caller_identity(self) -> Any:
        return {"Arn": CALLER}

    # What was done

    def stream(self, table: str) -> Stream | None:
        return next(reversed(self.catalog(table).streams()), None)

    def damage(self, table: str) -> None:
        """Puts a record into the archive of a table that nobody can read."""
        self.store.put(f"{table}/meta/streams/foreign.json", b"{}", {"format": "1"})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account in which the command line runs too: `said` runs it in this process."""
    found = Account()
    monkeypatch.setattr(time, "sleep", found.sleep)
    monkeypatch.setattr("stream_backup.cli.options.Connection", lambda *_: found)
    monkeypatch.setattr("stream_backup.cli.options._end_when_interrupted", lambda _: None)
    return found


@dataclass(frozen=True)
class Reply:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def tables(self, result: str) -> list[str]:
        """The names of the tables with this result."""
        return [each["table"] for each in self.json["tables"] if each["result"] == result]


@pytest.fixture
def said(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Reply]:
    """Runs a command as a user does, and returns what it printed."""
    from stream_backup.cli.main import main

    untouched = SimpleNamespace(SIGTERM=15, SIGHUP=1, SIG_IGN=None, getsignal=lambda _: None)
    monkeypatch.setattr("stream_backup.cli.main.signal", untouched)

    def run(*words: str) -> Reply:
        assert account is not None
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["stream-backup", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Reply(int(ended.value.code or 0), printed.out, printed.err)

    return run
