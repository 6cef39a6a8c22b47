"""Law 2: a key has one name, whatever its source."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_backup.cli.input import parse_key
from stream_backup.core.change import Change
from stream_backup.core.item import Item, decode, encode
from stream_backup.core.key import KeySchema, key_hash, key_json, normal_number
from stream_backup.errors import UsageError
from tests import strategies

VECTORS = [
    ({"id": {"S": "record-1"}}, "ee2bdf43ab8f10ad6c66546714da218b"),
    ({"pk": {"S": "user#1"}, "sk": {"N": "42"}}, "09d9b3b9d53e826494b471d6eaeb58a7"),
    ({"sk": {"N": "42"}, "pk": {"S": "user#1"}}, "09d9b3b9d53e826494b471d6eaeb58a7"),
    ({"id": {"B": "aGVsbG8="}}, "6d63f0dd12cba27275e84ee29a338b31"),
    ({"id": {"B": b"hello"}}, "6d63f0dd12cba27275e84ee29a338b31"),
    ({"id": {"S": 'é\n"x\u2028'}}, "69828a3098b1faba00a855bd18437682"),
]


@pytest.mark.parametrize(("key", "name"), VECTORS)
def test_known_names(key: Item, name: str) -> None:
    """A name is the MD5 that older archives of this family use for keys in sorted order."""
    assert key_hash(key) == name


def stream_record(key: Item) -> dict[str, Any]:
    data = {"ApproximateCreationDateTime": 1, "SequenceNumber": "1", "Keys": key, "NewImage": key}
    return {"eventName": "INSERT", "dynamodb": data}


@given(strategies.schemas_with_keys, st.data())
def test_hashes_alike_everywhere(drawn: tuple[KeySchema, Item], data: st.DataObject) -> None:
    """Law 2: a key has the same hash from a stream record, a scan, an archived body, and user
    input."""
    schema, key = drawn
    name = key_hash(key)
    row = data.draw(strategies.items) | strategies.respelled_item(key)
    assert Change.streamed(stream_record(dict(reversed(key.items())))).name == name
    assert Change.scanned(row, schema, 1, 1, 0).name == name
    assert key_hash(schema.key_of(decode(encode(row)))) == name
    assert key_hash(parse_key(json.dumps(key), schema)) == name
    plain = ", ".join(
        f"{json.dumps(attribute)}:"
        f" {key[attribute]['N'] if kind == 'N' else json.dumps(key[attribute][kind])}"
        for attribute, kind in reversed(schema.attributes)
    )
    assert key_hash(parse_key("{" + plain + "}", schema)) == name


@given(strategies.keys, strategies.keys)
def test_different_keys_differ(one: Item, other: Item) -> None:
    """Two keys have the same name only if they are the same key."""
    assert (key_hash(one) == key_hash(other)) == (one == other)


def test_type_is_part_of_the_name() -> None:
    """The number 1, the text 1, and the binary 1 are three items."""
    assert (
        len(
            {
                key_hash({"id": {"N": "1"}}),
                key_hash({"id": {"S": "1"}}),
                key_hash({"id": {"B": b"1"}}),
            }
        )
        == 3
    )


@given(strategies.numbers())
@example("0." + "0" * 124 + "1")
@example("1" + "0" * 125)
def test_dynamodb_numbers_are_normal(number: str) -> None:
    """A number as DynamoDB returns it stays unchanged, with up to 38 digits."""
    assert normal_number(number) == number


@given(strategies.numbers(), st.sampled_from(["{}", "+{}", "00{}", "{}E0"]), st.integers(-3, 3))
def test_spelling_of_a_number(number: str, shape: str, shift: int) -> None:
    """All spellings of a number have one name: signs, leading and trailing zeros, and exponents
    make no difference."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    padded = digits + ("00" if "." in digits else ".00")
    spelled = sign + shape.removeprefix("+" if sign else "").format(padded)
    assert normal_number(spelled) == number
    moved = f"{number}E{shift}"
    assert Decimal(normal_number(moved)) == Decimal(moved)
    assert "E" not in normal_number(moved)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("-0", "0"),
        ("-0.00", "0"),
        ("1.50", "1.5"),
        ("1E+3", "1000"),
        ("1.0e-3", "0.001"),
        (".5", "0.5"),
        ("5.", "5"),
    ],
)
def test_normal_numbers(text: str, normal: str) -> None:
    """Numbers are normalized as DynamoDB normalizes them."""
    assert normal_number(text) == normal


@pytest.mark.parametrize(
    "text", ["", "-", ".", "1e", "NaN", "Infinity", "1_0", "0x1", " 1", "1 ", "١", "1e99999", "1\n"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    """Text that Python accepts as a number and DynamoDB does not is refused, and the error does not
    repeat it."""
    with pytest.raises(ValueError, match="number") as raised:
        normal_number(text)
    assert not text.strip() or repr(text) not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [{}, {"S": "a", "N": "1"}, {"BOOL": True}, {"N": 1}, {"S": b"a"}, {"B": "!"}, {"SS": ["a"]}],
)
def test_what_is_no_key_is_refused(value: Any) -> None:
    """Only values of type S, N, and B identify an item."""
    with pytest.raises(ValueError, match=r"key value|base64"):
        key_json({"id": value})


def test_schema_of_a_table() -> None:
    """A schema lists the partition key first, whatever the order of DescribeTable, and omits
    attributes of indexes."""
    definitions = [("other", "B"), ("sk", "N"), ("pk", "S")]
    description = {
        "KeySchema": [
            {"AttributeName": "sk", "KeyType": "RANGE"},
            {"AttributeName": "pk", "KeyType": "HASH"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in definitions
        ],
    }
    assert KeySchema.of(description) == KeySchema((("pk", "S"), ("sk", "N")))


SCHEMA = KeySchema((("pk", "S"), ("sk", "N"), ("b", "B")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pk",
        "[]",
        '{"pk": "a", "sk": 1}',
        '{"pk": "a", "sk": 1, "b": "AA==", "x": 1}',
        '{"pk": 1, "sk": 1, "b": "AA=="}',
        '{"pk": "a", "sk": "1", "b": "AA=="}',
        '{"pk": "a", "sk": NaN, "b": "AA=="}',
        '{"pk": "a", "sk": true, "b": "AA=="}',
        '{"pk": null, "sk": 1, "b": "AA=="}',
        '{"pk": "a", "sk": 1, "b": "A"}',
        '{"pk": {"N": "1"}, "sk": 1, "b": "AA=="}',
        '{"pk": "a", "sk": {"N": "x"}, "b": "AA=="}',
        '{"pk": "a", "sk": {"N": null}, "b": {"B": null}}',
        '{"pk": "\\ud800", "sk": 1, "b": "AA=="}',
    ],
)
def test_what_a_person_mistypes(text: str) -> None:
    """A mistyped key is a usage error, and its hint is a valid key of this table."""
    with pytest.raises(UsageError) as raised:
        parse_key(text, SCHEMA)
    assert SCHEMA.example() in raised.value.hint
    assert set(parse_key(SCHEMA.example().strip("'"), SCHEMA)) == {"pk", "sk", "b"}


def test_typed_digits_are_kept() -> None:
    """A number of 38 digits in user input keeps all its digits and is not rounded to a float."""
    digits = "12345678901234567890123456789012345678"
    assert parse_key(f'{{"id": {digits}}}', KeySchema((("id", "N"),))) == {"id": {"N": digits}}
