"""The requests of an undo, executed by another implementation of expressions than the strict one of
the other tests, and the limits of one request."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from stream_backup.core.edits import Edit, applied, differing
from stream_backup.core.item import Item, encode
from stream_backup.undo.expressions import LONGEST, OPERATORS, updates
from tests import strategies
from tests.expressions import Expressions
from tests.profiles import histories
from tests.servers import ACCESS_KEY, REGION, SECRET_KEY

KEY: Item = {"id": {"S": "1"}}
NAMES = ["a.b", "a[0]", " ", "size", "SET", "#0", ":0", "é\n", "'\"", "\x00", "-1"]


@pytest.fixture
def table() -> Iterator[Any]:
    """A client of moto, with a table."""
    with mock_aws():
        client = boto3.client(
            "dynamodb",
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
        client.create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


def sent(client: Any, row: Item, edits: list[Edit]) -> Item:
    """Returns a row after the requests that make these edits."""
    client.put_item(TableName="orders", Item=row)
    for request, _ in updates("orders", KEY, edits):
        client.update_item(**request)
    found: Item = client.get_item(TableName="orders", Key=KEY, ConsistentRead=True)["Item"]
    return found


def test_moto_understands_the_requests(table: Any) -> None:
    """Hostile names, at the first level and in maps: set, created, and removed; sets as a whole."""
    inner = {name: {"N": "1"} for name in NAMES}
    row = KEY | inner | {"m": {"M": inner}, "tags": {"SS": ["a", "b"]}}
    edits = [Edit((name,), {"N": "1"}, {"S": name}) for name in NAMES[::2]]
    edits += [Edit((name,), {"N": "1"}, None) for name in NAMES[1::2]]
    edits += [Edit(("m", name), {"N": "1"}, {"M": {}}) for name in NAMES[1::2]]
    edits += [Edit(("m", f"new {name}"), None, {"L": []}) for name in NAMES]
    edits += [Edit(("m", name), {"N": "1"}, None) for name in NAMES[::2]]
    edits += [Edit(("tags",), {"SS": ["b", "a"]}, {"SS": ["c"]})]
    assert encode(sent(table, row, edits)) == encode(applied(row, edits) or {})


@pytest.mark.parametrize(
    ("edit", "meanwhile"),
    [
        (Edit(("a",), {"N": "1"}, {"N": "2"}), {"a": {"N": "3"}}),
        (Edit(("a",), {"N": "1"}, None), {}),
        (Edit(("a",), None, {"N": "2"}), {"a": {"N": "3"}}),
        (Edit(("m", "a"), None, {"N": "2"}), {}),
        (Edit(("m", "a"), None, {"N": "2"}), {"m": {"S": "x"}}),
        (Edit(("m", "a"), None, {"N": "2"}), {"m": {"M": {"a": {"N": "2"}}}}),
        (Edit(("m", "a"), {"N": "1"}, None), {"m": {"L": []}}),
        (Edit(("s",), {"SS": ["a"]}, None), {"s": {"SS": ["a", "b"]}}),
    ],
)
def test_moto_refuses_what_changed(table: Any, edit: Edit, meanwhile: Item) -> None:
    """A request is refused as a failed condition when its path, or the map around it, is not what
    was read, and when the row is gone."""
    (update,) = updates("orders", KEY, [edit])
    for row in (KEY | meanwhile, None):
        if row:
            table.put_item(TableName="orders", Item=row)
        else:
            table.delete_item(TableName="orders", Key=KEY)
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            table.update_item(**update.request)
        assert table.get_item(TableName="orders", Key=KEY).get("Item") == row


rows = st.dictionaries(strategies.names, strategies.values, max_size=4)


@histories(60)
@given(rows, rows, st.integers(1, 60))
def test_requests_stay_within_the_limits(now: Item, wanted: Item, times: int) -> None:
    """Requests of any row make its edits, each exactly once, within the limits of DynamoDB, and are
    what DynamoDB accepts."""
    now, wanted = (
        {f"{name} {at}": value for name, value in row.items() for at in range(times)}
        for row in (now, wanted)
    )
    row, edits = KEY | now, differing(KEY | now, KEY | wanted)
    for request, part in updates("orders", KEY, edits):
        expressions = Expressions(request)
        assert expressions.holds(request["ConditionExpression"], row)
        row = expressions.updated(request["UpdateExpression"], row, {"id"})
        expressions.finish()
        assert len(request["ConditionExpression"]) <= LONGEST
        assert expressions.operators <= OPERATORS
        assert part
    assert encode(row) == encode(KEY | wanted)


def test_a_mark_and_its_counters_are_one_request() -> None:
    """Counters are in the request that writes the mark, however many other changes there are."""
    edits = [Edit((f"n{at}",), {"N": "1"}, {"N": "2"}, counter=at % 40 == 0) for at in range(400)]
    mark = Edit(("mark",), None, {"S": "undo"})
    found = updates("orders", KEY, edits, mark)
    marked = [part for _, part in found if mark in part]
    assert len(found) > 3
    assert len(marked) == 1
    assert [edit for edit in edits if edit.counter] == [each for each in marked[0] if each.counter]
