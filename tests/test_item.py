"""Law 1: the canonical spelling of an item loses nothing and depends on nothing but the item."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_backup.item import Item, decode, digest, encode
from tests import strategies


def tidy(value: Any) -> Any:
    """The value with its sets in order, for a set has none."""
    ((kind, content),) = value.items()
    if kind in ("SS", "NS", "BS"):
        return {kind: sorted(content)}
    if kind == "M":
        return {"M": {name: tidy(inner) for name, inner in content.items()}}
    return {"L": [tidy(inner) for inner in content]} if kind == "L" else value


@given(strategies.items)
@example({"id": {"S": ""}, "m": {"M": {"": {"S": ""}, "b": {"L": [{"B": "AP8="}, {"BS": ["AQ==", "AA=="]}]}}}})
@example({"n": {"N": "0." + "0" * 124 + "12345678901234567890123456789012345678"}})
def test_round_trip(item: Item) -> None:
    """Law 1: decode(encode(item)) is the item, whatever types it nests."""
    assert decode(encode(item)) == {name: tidy(value) for name, value in item.items()}


@given(strategies.items)
@example({"b": {"B": "aGVsbG8="}, "a": {"M": {"z": {"BS": ["AQ==", "AA=="]}, "y": {"NS": ["2", "10"]}}}})
def test_one_spelling(item: Item) -> None:
    """Law 1: encode ignores attribute order at every level, set order, and whether binary is bytes or base64 text."""
    assert encode(strategies.respelled_item(item)) == encode(item)


@given(strategies.items)
@example(
    {"".join(map(chr, range(256))): {"S": "".join(map(chr, range(256)))}, "\uffff": {"S": "\u2028"}, "\U0001f600": {"S": ""}}
)
def test_the_spelling_is_that_of_the_standard_library(item: Item) -> None:
    """Format 1 is what `json` writes with names sorted, no spaces and nothing escaped that need not be."""
    tidied = {name: tidy(value) for name, value in item.items()}
    assert encode(item) == json.dumps(tidied, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_half_a_character_is_refused() -> None:
    """UTF-8 has no lone surrogate, so no service sends one, and nothing could read it back."""
    with pytest.raises(ValueError, match="str"):
        encode({"id": {"S": "\ud800"}})


@given(strategies.items)
def test_stable(item: Item) -> None:
    """Encoding what was decoded gives the same bytes again, so the MD5 of a stored body is that of its item."""
    body = encode(item)
    assert encode(decode(body)) == body
    assert digest(encode(decode(body))) == digest(body)


@given(strategies.items, strategies.items)
def test_different_items_differ(one: Item, other: Item) -> None:
    """Equal bytes mean equal items."""
    same = {name: tidy(value) for name, value in one.items()} == {name: tidy(value) for name, value in other.items()}
    assert (encode(one) == encode(other)) == same


@given(strategies.items)
def test_input_left_alone(item: Item) -> None:
    """Encoding changes nothing of the item it was given."""
    before = json.dumps(item)
    encode(item)
    assert json.dumps(item) == before


@pytest.mark.parametrize(
    ("item", "body"),
    [
        ({}, b"{}"),
        ({"n": {"N": "1.10"}, "id": {"S": "é\u2028"}}, '{"id":{"S":"é\u2028"},"n":{"N":"1.10"}}'.encode()),
        ({"B": {"B": b"\x00\xff"}}, b'{"B":{"B":"AP8="}}'),
        ({"s": {"SS": ["b", "a", "B"]}}, b'{"s":{"SS":["B","a","b"]}}'),
        ({"n": {"NULL": True}, "f": {"BOOL": False}}, b'{"f":{"BOOL":false},"n":{"NULL":true}}'),
        ({"\U0001f600": {"L": []}, "\ufb01": {"M": {}}}, '{"\ufb01":{"M":{}},"\U0001f600":{"L":[]}}'.encode()),
    ],
)
def test_canonical_bytes(item: Item, body: bytes) -> None:
    """Canonical JSON has sorted names (by code point), no spaces, UTF-8 unescaped, and numbers as they came."""
    assert encode(item) == body


def test_numbers_stay_text() -> None:
    """A number of 38 digits, or one that ends in zero, is never rounded, shortened or made a float on its way."""
    digits = "99999999999999999999999999999999999999"
    assert decode(encode({"n": {"NS": [digits, "1.10", "-0." + digits]}}))["n"]["NS"] == ["-0." + digits, "1.10", digits]


def test_multi_byte_characters_survive() -> None:
    """Text of many multi-byte characters comes back whole, wherever a transport cuts the bytes."""
    text = "€😀" * 20_000
    assert decode(encode({"t": {"S": text}})) == {"t": {"S": text}}


def test_deep_nesting() -> None:
    """DynamoDB nests 32 levels deep, and every level is put in order."""
    deep: Any = {"M": {"b": {"B": b"\x01"}, "a": {"SS": ["z", "y"]}}}
    for _ in range(32):
        deep = {"M": {"x": {"L": [deep]}}}
    assert encode({"d": deep}).count(b'"a":{"SS":["y","z"]},"b":{"B":"AQ=="}') == 1


BROKEN: list[Any] = [
    "text",
    {"a": "text"},
    {"a": {}},
    {"a": {"S": "x", "N": "1"}},
    {"a": {"S": 1}},
    {"a": {"N": 1}},
    {"a": {"N": 1.5}},
    {"a": {"BOOL": "true"}},
    {"a": {"NULL": None}},
    {"a": {"B": "not base64!"}},
    {"a": {"B": "abc"}},
    {"a": {"BS": ["AA==", 1]}},
    {"a": {"SS": "text"}},
    {"a": {"NS": [1]}},
    {"a": {"L": {}}},
    {"a": {"M": {"b": 1}}},
    {"a": {"X": "y"}},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_item_is_refused(broken: Any) -> None:
    """Whatever is not an item in wire form is refused on the way in and on the way out."""
    with pytest.raises((ValueError, TypeError)):
        encode(broken)
    with pytest.raises(ValueError, match=r"not an item|base64"):
        decode(json.dumps(broken).encode())


@given(st.binary(max_size=30))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    """Foreign bytes raise ValueError and nothing else."""
    try:
        decode(body)
    except ValueError:
        return


def test_digest_is_md5() -> None:
    """A body's digest is its MD5, as S3's ETag is."""
    assert digest(b"") == "d41d8cd98f00b204e9800998ecf8427e"
