"""Golden events, as Lambda receives them from DynamoDB Streams, and the changes that they
become."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import MARGIN
from stream_backup.errors import RecordError
from tests import strategies

EVENTS = Path(__file__).parent / "events"
SECRET = "hunter2"


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    return found


def streamed(name: str) -> Change:
    return Change.streamed(records(name)[0])


def test_insert() -> None:
    """An INSERT becomes the new image, stamped with its second and sequence number. It has no
    previous version."""
    change = streamed("insert")
    assert change.stamp == Stamp(1795231959, 4421584500000000017450439102, 1795231959, "insert")
    assert change.key == {"id": {"S": "record-1"}}
    assert change.name == "ee2bdf43ab8f10ad6c66546714da218b"
    assert change.body == encode(records("insert")[0]["dynamodb"]["NewImage"])


def test_chain() -> None:
    """A change contains the MD5 of the version before it, so that a lost change can be detected."""
    insert, modify, remove = map(streamed, ("insert", "modify", "remove"))
    assert insert.body is not None
    assert modify.body is not None
    assert modify.stamp.before == digest(insert.body)
    assert remove.stamp.before == digest(modify.body)
    assert [change.stamp.kind for change in (insert, modify, remove)] == [
        "insert",
        "modify",
        "remove",
    ]


def test_remove() -> None:
    """A REMOVE becomes a tombstone without a body, with its time, sequence number, and key."""
    change = streamed("remove")
    assert change.body is None
    assert change.payload == b""
    assert change.metadata["at"] == "1795231961"
    assert change.metadata["key"] == '{"id":{"S":"record-1"}}'
    assert change.stamp.by is None


def test_expiry_by_ttl() -> None:
    """A removal by the TTL service is marked as such. A removal by any other identity is not."""
    assert streamed("ttl_expiry").stamp.by == "ttl"
    (record,) = records("ttl_expiry")
    service = "dynamodb.amazonaws.com"
    replication = {"type": "Service", "principalId": "replication." + service}
    for identity in (
        None,
        {},
        replication,
        {"type": "Service"},
        {"type": "User", "principalId": service},
    ):
        assert Change.streamed(record | {"userIdentity": identity}).stamp.by is None


def test_expiry_by_ttl_as_get_records_spells_it() -> None:
    """A Lambda event has `type` and `principalId`, GetRecords has `Type` and `PrincipalId`: `by`
    is found in both."""
    (record,) = records("ttl_expiry")
    service = "dynamodb.amazonaws.com"
    for kind, principal, by in (("Service", service, "ttl"), ("User", service, None)):
        identity = {"Type": kind, "PrincipalId": principal}
        assert Change.streamed(record | {"userIdentity": identity}).stamp.by == by


def test_fractional_time() -> None:
    """A fractional time becomes the second that contains it."""
    assert streamed("fractional_time").stamp.at == 1795231959


def test_binary_key() -> None:
    """A binary key is hashed as base64, and nested binary stays unchanged."""
    change = streamed("binary_key")
    assert change.name == "6d63f0dd12cba27275e84ee29a338b31"
    assert change.body == b'{"id":{"B":"aGVsbG8="},"parts":{"BS":["/+8=","AQI="]}}'


def test_composite_key() -> None:
    """A key with two attributes has one name, whatever their order in the event."""
    (record,) = records("composite_key")
    turned = copy.deepcopy(record)
    turned["dynamodb"]["Keys"] = dict(reversed(record["dynamodb"]["Keys"].items()))
    assert (
        Change.streamed(record).name
        == Change.streamed(turned).name
        == "09d9b3b9d53e826494b471d6eaeb58a7"
    )


def test_numbers_of_38_digits() -> None:
    """Numbers keep all their digits."""
    body = streamed("numbers").body
    assert body is not None
    assert json.loads(body) == records("numbers")[0]["dynamodb"]["NewImage"] | {
        "set": {"NS": ["-1.5", "10", "9"]}
    }


def test_new_image_view() -> None:
    """A stream with only new images is sufficient. Its changes do not contain the MD5 of the
    version before."""
    modify, remove = map(Change.streamed, records("new_image"))
    assert modify.body is not None
    assert modify.stamp.before is None
    assert remove.payload == b""


def test_same_second_is_ordered() -> None:
    """Changes of one item within one second rank in the order in which they were made."""
    ranks = [Change.streamed(record).stamp.rank for record in records("batch")]
    assert len(set(ranks)) == 4
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", ["keys_only", "old_image"])
def test_views_without_new_image_are_refused(name: str) -> None:
    """A stream without new images is refused, with a hint at the required view type."""
    with pytest.raises(RecordError, match="view type") as raised:
        streamed(name)
    assert "NEW_AND_OLD_IMAGES" in raised.value.hint


WRONG: list[Any] = [
    None,
    "",
    SECRET,
    [],
    {},
    True,
    float("nan"),
    float("inf"),
    {"id": {"S": SECRET, "N": "1"}},
    {"id": {"N": SECRET}},
    {"id": {"B": SECRET + "!"}},
    {"id": {"S": [SECRET]}},
    {"id": SECRET},
]

LENIENT: list[Any] = [("SequenceNumber", True), ("NewImage", {"id": {"N": SECRET}})]
"""Python treats True as 1, and numbers outside a key are not validated."""


@pytest.mark.parametrize(
    "part", ["ApproximateCreationDateTime", "SequenceNumber", "Keys", "NewImage"]
)
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_poison_record(part: str, wrong: Any) -> None:
    """A record that cannot be parsed raises RecordError, which fails its batch item. The error
    contains nothing of the item."""
    (record,) = records("insert")
    record["dynamodb"][part] = wrong
    if part in ("Keys", "NewImage") and wrong == {}:
        del record["dynamodb"][part]
    if (part, wrong) in LENIENT:
        return
    with pytest.raises(RecordError) as raised:
        Change.streamed(record)
    assert part == "SequenceNumber" or SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "broken", [None, [], "x", {}, {"eventName": []}, {"eventName": "TRUNCATE", "dynamodb": {}}]
)
def test_what_is_no_record(broken: Any) -> None:
    """Anything that is not a stream record raises only RecordError."""
    with pytest.raises(RecordError):
        Change.streamed(broken)


@given(
    strategies.schemas_with_keys, st.integers(0, 2**33), st.integers(0, 60), st.integers(0, 2**33)
)
def test_scanned(drawn: tuple[KeySchema, Item], asked: int, took: int, floor: int) -> None:
    """The stamp of a scan covers the whole time in which the row may have been read, ranks below
    any change of its first second, and does not begin before the floor."""
    schema, key = drawn
    change = Change.scanned(
        key | {"other attribute": {"N": "1"}}, schema, asked, asked + took, floor
    )
    stamp = change.stamp
    assert stamp.at == max(asked - MARGIN, floor)
    assert stamp.seen >= max(stamp.at, asked + took + 1)
    assert (stamp.at, 0) == stamp.rank < (stamp.at, 10**20)
    assert change.name == key_hash(key)


@given(strategies.schemas_with_keys, strategies.items)
def test_stored_round_trip(drawn: tuple[KeySchema, Item], rest: Item) -> None:
    """A stored version is read back unchanged, if the schema says which attributes are the key."""
    schema, key = drawn
    change = Change.scanned(rest | key, schema, 100, 101, 0)
    assert Change.stored(change.payload, change.metadata, schema) == change
    assert Change.stored(change.payload, change.metadata).key == {}


def test_empty_item_is_refused() -> None:
    """Zero bytes without the metadata of a tombstone are refused."""
    with pytest.raises(ValueError, match="not a tombstone"):
        Change.stored(b"", streamed("insert").metadata)
