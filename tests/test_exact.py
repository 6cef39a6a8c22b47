"""Items are restored byte for byte, and tables with their settings: stream → archive → new
table."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from stream_backup.aws.table import RESTORED
from stream_backup.core.item import Item, decode, encode
from tests.cli import SIMPLE, Shell, Table, lines, next_second
from tests.servers import Aws

pytestmark = pytest.mark.server

DIGITS = "12345678901234567890123456789012345678"
LONG = 2048
DEEP: Any = {"S": "the end"}
for _ in range(14):
    DEEP = {"M": {"deeper": {"L": [DEEP]}}}

VALUES: dict[str, Any] = {
    "empty text": {"S": ""},
    "empty map and list": {
        "M": {"map": {"M": {}}, "list": {"L": []}, "text": {"S": ""}, "binary": {"B": b""}}
    },
    "38 digits": {"N": DIGITS},
    "38 digits after the point": {"N": "-0." + DIGITS},
    "the largest": {"N": "9" * 38 + "0" * 87},
    "as large as it gets": {"N": "1E+125"},
    "the smallest": {"N": "1E-130"},
    "zeros at the end": {"N": "1.500"},
    "negative zero": {"N": "-0"},
    "numbers": {"NS": ["-1", "0.1", DIGITS, "1E+100"]},
    "texts": {"SS": ["ß", "Z", "a", "\U0001f600"]},
    "binaries": {"BS": [b"\x00", b"\xff\xfe", bytes(range(256))]},
    "nested binary": {
        "L": [{"M": {"bytes": {"B": bytes(range(256))}, "set": {"BS": [b"\x80", b"a"]}}}]
    },
    "not characters": {"S": "\x00\x01\x1f\x7f\u2028\u2029\ufeff\ufffd\U0010ffff"},
    "quotes": {"S": "\"'\\\n\r\t</Item>{}"},
    "combined": {"S": "e\u0301 is not \u00e9"},
    "flags": {"L": [{"BOOL": True}, {"BOOL": False}, {"NULL": True}]},
    "deep": DEEP,
    "multi-byte": {"S": "€😀" * 5000},
    'an attribute named Ä\n"': {"M": {'Ä\n"': {"S": "x"}, " ": {"S": "y"}}},
}

KEYS: list[tuple[str, tuple[tuple[str, str], ...], list[Item]]] = [
    (
        "text",
        SIMPLE,
        [
            {"id": {"S": text}}
            for text in ("ü" * (LONG // 2), "a/b?c#d%20&e", " ", "\u2028", "..", "meta", "0" * 32)
        ],
    ),
    (
        "number",
        (("id", "N"),),
        [{"id": {"N": text}} for text in (DIGITS, "-" + DIGITS, "1E-130", "0", "-0.5", "1E+125")],
    ),
    (
        "binary",
        (("id", "B"),),
        [{"id": {"B": data}} for data in (b"\x00", bytes(range(256)) * 8, b"\xff" * LONG, b"{}")],
    ),
    (
        "two",
        (("größe", "B"), ("sk", "S")),
        [{"größe": {"B": bytes([n])}, "sk": {"S": "s" * 1000 + "é" * n}} for n in range(1, 13)],
    ),
    (
        "reversed",
        (("z", "S"), ("a", "N")),
        [{"z": {"S": "z"}, "a": {"N": str(n)}} for n in (-1, 0, 1, 10, 9)],
    ),
]


@dataclass(frozen=True)
class Backed:
    """One table's rows before the restore, in the restored table, and in the restored file."""

    truth: list[bytes]
    restored: list[bytes]
    file: list[bytes]


@pytest.fixture(scope="module")
def shell(ministack_url: str) -> Shell:
    aws = Aws(ministack_url)
    return Shell(aws, f"s3://{aws.bucket()}/exact Ä+")


def back(shell: Shell, name: str, key: tuple[tuple[str, str], ...], items: list[Item]) -> Backed:
    """Half of the items are archived by the backfill and half by the stream, and all are restored:
    into a new table, to a file, and in place."""
    table = Table.create(shell.aws, name, key)
    table.put(*items[::2])
    shell.done("enable", name, "--stream-only")
    shell.done("backfill", name)
    table.put(*items[1::2])
    moment = next_second()
    truth = table.rows()
    assert len(truth) == len(items)
    table.delete(*({attribute: item[attribute] for attribute, _ in key} for item in items))
    shell.done("follow", name, "--once")
    shell.done("restore", name, "--at", moment, "--into", f"{name}-back")
    file = lines(shell.done("restore", name, "--at", moment, "--to", "-").out)
    shell.done("restore", name, "--at", moment, "--in-place", "--yes")
    restored = Table(shell.aws, f"{name}-back").rows()
    assert table.rows() == restored
    return Backed(truth, restored, file)


def test_values(shell: Shell) -> None:
    """Every type of value, and an item of 400 KB, is restored byte for byte, whether it came from a
    scan or from the stream."""
    items = [
        {"id": {"S": name}, "value": value, name: {"N": "1"}} for name, value in VALUES.items()
    ]
    items += [{"id": {"S": f"scanned {name}"}, "value": value} for name, value in VALUES.items()]
    big = {"id": {"S": "big"}, "text": {"S": "x" * (400 * 1024 - len("bigidtext"))}}
    backed = back(shell, "values", SIMPLE, [big, *items, {**big, "id": {"S": "gib"}}])
    assert backed.restored == backed.truth
    assert backed.file == backed.truth
    found = {
        decode(line)["id"]["S"]: decode(line)["value"]
        for line in backed.restored
        if b'"value"' in line
    }
    for name in (
        "38 digits",
        "38 digits after the point",
        "nested binary",
        "multi-byte",
        "deep",
        "combined",
        "not characters",
    ):
        assert encode({"v": found[name]}) == encode({"v": VALUES[name]})


def test_keys(shell: Shell) -> None:
    """Keys of every type and length identify one item each, when archived and when restored,
    including removals."""

    def there_and_back(name: str, schema: tuple[tuple[str, str], ...], keys: list[Item]) -> None:
        items = [key | {"place": {"N": str(place)}} for place, key in enumerate(keys)]
        backed = back(shell, f"keys-{name}", schema, items)
        assert backed.restored == backed.truth, name
        assert backed.file == backed.truth, name
        for line in backed.truth[:2]:
            one = json.dumps({attribute: decode(line)[attribute] for attribute, _ in schema})
            versions = shell.done("history", f"keys-{name}", one, "--json").json["versions"]
            assert "remove" in [version["kind"] for version in versions], name

    with ThreadPoolExecutor(len(KEYS)) as together:
        list(together.map(there_and_back, *zip(*KEYS, strict=True)))


ON_DEMAND: dict[str, Any] = {
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-other",
            "KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["note"]},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
    "TableClass": "STANDARD_INFREQUENT_ACCESS",
    "DeletionProtectionEnabled": True,
}
PROVISIONED: dict[str, Any] = {
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-other",
            "KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            "ProvisionedThroughput": {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-other-too",
            "KeySchema": [
                {"AttributeName": "id", "KeyType": "HASH"},
                {"AttributeName": "other", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "BillingMode": "PROVISIONED",
    "ProvisionedThroughput": {"ReadCapacityUnits": 50, "WriteCapacityUnits": 60},
    "SSESpecification": {"Enabled": True, "SSEType": "KMS"},
}


@pytest.mark.parametrize("settings", [ON_DEMAND, PROVISIONED], ids=["on-demand", "provisioned"])
def test_settings(shell: Shell, settings: dict[str, Any]) -> None:
    """A restored table has the key, indexes, billing, class, encryption, protection, TTL, tags, and
    recovery of the original. Its stream is off unless requested. --overwrite does not change the
    settings."""
    name = f"set-{settings['BillingMode'].lower().replace('_', '-')}"
    client = shell.aws.client("dynamodb")
    attributes = [
        {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("id", "sk", "other")
    ]
    schema = [
        {"AttributeName": "id", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    tags = [{"Key": f"tag-{number}", "Value": "wert"} for number in range(12)]
    client.create_table(
        TableName=name, AttributeDefinitions=attributes, KeySchema=schema, Tags=tags, **settings
    )
    client.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    recovery = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
    table = Table(shell.aws, name)
    table.put({"id": {"S": "a"}, "sk": {"S": "b"}, "other": {"S": "c"}, "note": {"S": "d"}})
    shell.done("enable", name, "--stream-only")
    shell.done("backfill", name)
    moment = next_second()
    shell.done("follow", name, "--once")
    told = ("restore", name, "--at", moment, "--into", f"{name}-back")
    shell.done(*told)
    assert settings_of(client, f"{name}-back") == settings_of(client, name)
    assert "LatestStreamArn" not in client.describe_table(TableName=f"{name}-back")["Table"]
    found = client.query(
        TableName=f"{name}-back",
        IndexName="by-other",
        KeyConditionExpression="#other = :other",
        ExpressionAttributeNames={"#other": "other"},
        ExpressionAttributeValues={":other": {"S": "c"}},
    )
    assert found["Count"] == 1
    shell.done(*told, "--overwrite")
    assert settings_of(client, f"{name}-back") == settings_of(client, name)
    shell.done("restore", name, "--at", moment, "--into", f"{name}-on", "--with-stream")
    stream = client.describe_table(TableName=f"{name}-on")["Table"]["StreamSpecification"]
    assert stream == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_like_another_table(shell: Shell) -> None:
    """With --like, the new table has the settings of an existing table."""
    table = Table.create(shell.aws, "plain")
    table.put({"id": {"S": "a"}})
    Table.create(shell.aws, "model", TableClass="STANDARD_INFREQUENT_ACCESS")
    shell.done("enable", "plain", "--stream-only")
    shell.done("backfill", "plain")
    moment = next_second()
    shell.done("follow", "plain", "--once")
    shell.done("restore", "plain", "--at", moment, "--like", "model", "--into", "like-model")
    found = shell.aws.client("dynamodb").describe_table(TableName="like-model")["Table"]
    assert found["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert Table(shell.aws, "like-model").rows() == table.rows()


def settings_of(client: Any, name: str) -> dict[str, Any]:
    """Returns everything that must be equal in two tables, except their streams."""
    found = client.describe_table(TableName=name)["Table"]
    fields = ("IndexName", "KeySchema", "Projection")
    throughput = ("ReadCapacityUnits", "WriteCapacityUnits")

    def capacity(of: dict[str, Any]) -> list[Any]:
        return [of.get("ProvisionedThroughput", {}).get(field) for field in throughput]

    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    tags = client.list_tags_of_resource(ResourceArn=found["TableArn"])["Tags"]
    return {
        "key": found["KeySchema"],
        "attributes": sorted(found["AttributeDefinitions"], key=str),
        "global": [
            [index[field] for field in fields] + capacity(index)
            for index in found.get("GlobalSecondaryIndexes", [])
        ],
        "local": [
            [index[field] for field in fields] for index in found.get("LocalSecondaryIndexes", [])
        ],
        "billing": found.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
        "capacity": capacity(found),
        "class": found.get("TableClassSummary", {}).get("TableClass"),
        "encryption": found.get("SSEDescription", {}).get("SSEType"),
        "protected": found.get("DeletionProtectionEnabled", False),
        "ttl": client.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
        "recovery": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"],
        "tags": sorted((tag["Key"], tag["Value"]) for tag in tags if tag["Key"] != RESTORED),
    }
