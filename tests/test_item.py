"""Law 1: the canonical encoding of an item loses nothing and depends only on the item."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_backup.core.item import Item, decode, digest, encode
from tests import strategies


def tidy(value: Any) -> Any:
    """Returns the value with its sets sorted, because sets have no order."""
    ((kind, content),) = value.items()
    if kind in ("SS", "NS", "BS"):
        return {kind: sorted(content)}
    if kind == "M":
        return {"M": {name: tidy(inner) for name, inner in content.items()}}
    return {"L": [tidy(inner) for inner in content]} if kind == "L" else value


@given(strategies.items)
@example(
    {
        "id": {"S": ""},
        "m": {"M": {"": {"S": ""}, "b": {"L": [{"B": "AP8="}, {"BS": ["AQ==", "AA=="]}]}}},
    }
)
@example({"n": {"N": "0." + "0" * 124 + "12345678901234567890123456789012345678"}})
def test_round_trip(item: Item) -> None:
    """Law 1: decode(encode(item)) is the item, whatever types it nests."""
    assert decode(encode(item)) == {name: tidy(value) for name, value in item.items()}


@given(strategies.items)
@example(
    {"b": {"B": "aGVsbG8="}, "a": {"M": {"z": {"BS": ["AQ==", "AA=="]}, "y": {"NS": ["2", "10"]}}}}
)
def test_one_spelling(item: Item) -> None:
    """Law 1: encode does not depend on the order of attributes at any level, the order of sets, or
    whether binary is bytes or base64 text."""
    assert encode(strategies.respelled_item(item)) == encode(item)


@given(strategies.items)
@example(
    {
        "".join(map(chr, range(256))): {"S": "".join(map(chr, range(256)))},
        "\uffff": {"S": "\u2028"},
        "\U0001f600": {"S": ""},
    }
)
def test_the_spelling_is_that_of_the_standard_library(item: Item) -> None:
    """Format 1 is what `json` writes with sorted names, no spaces, and no unnecessary escapes."""
    tidied = {name: tidy(value) for name, value in item.items()}
    assert (
        encode(item)
        == json.dumps(tidied, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


def test_half_a_character_is_refused() -> None:
    """A lone surrogate is refused: UTF-8 cannot encode it, so no service sends one, and nothing
    could read it."""
    with pytest.raises(ValueError, match="str"):
        encode({"id": {"S": "\ud800"}})


@given(strategies.items)
def test_stable(item: Item) -> None:
    """Encoding a decoded item gives the same bytes, so the MD5 of a stored body is the MD5 of its
    item."""
    body = encode(item)
    assert encode(decode(body)) == body
    assert digest(encode(decode(body))) == digest(body)


@given(strategies.items, strategies.items)
def test_different_items_differ(one: Item, other: Item) -> None:
    """Equal bytes mean equal items."""
    same = {name: tidy(value) for name, value in one.items()} == {
        name: tidy(value) for name, value in other.items()
    }
    assert (encode(one) == encode(other)) == same


@given(strategies.items)
def test_input_left_alone(item: Item) -> None:
    """Encoding does not change its input."""
    before = json.dumps(item)
    encode(item)
    assert json.dumps(item) == before


@pytest.mark.parametrize(
    ("item", "body"),
    [
        ({}, b"{}"),
        (
            {"n": {"N": "1.10"}, "id": {"S": "é\u2028"}},
            '{"id":{"S":"é\u2028"},"n":{"N":"1.10"}}'.encode(),
        ),
        ({"B": {"B": b"\x00\xff"}}, b'{"B":{"B":"AP8="}}'),
        ({"s": {"SS": ["b", "a", "B"]}}, b'{"s":{"SS":["B","a","b"]}}'),
        ({"n": {"NULL": True}, "f": {"BOOL": False}}, b'{"f":{"BOOL":false},"n":{"NULL":true}}'),
        (
            {"\U0001f600": {"L": []}, "\ufb01": {"M": {}}},
            '{"\ufb01":{"M":{}},"\U0001f600":{"L":[]}}'.encode(),
        ),
    ],
)
def test_canonical_bytes(item: Item, body: bytes) -> None:
    """Canonical JSON has sorted names (by code point), no spaces, unescaped UTF-8, and numbers as
    they were received."""
    assert encode(item) == body


def test_numbers_stay_text() -> None:
    """A number with 38 digits, or with trailing zeros, is never rounded, shortened, or converted to
    a float."""
    digits = "99999999999999999999999999999999999999"
    assert decode(encode({"n": {"NS": [digits, "1.10", "-0." + digits]}}))["n"]["NS"] == [
        "-0." + digits,
        "1.10",
        digits,
    ]


def test_multi_byte_characters_survive() -> None:
    """Text with many multi-byte characters is decoded unchanged."""
    text = "€😀" * 20_000
    assert decode(encode({"t": {"S": text}})) == {"t": {"S": text}}


def test_deep_nesting() -> None:
    """Every level of an item is sorted, to DynamoDB's maximum of 32 levels."""
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
    {"a": {"NS": [1, 2]}},
    {"a": {"L": {}}},
    {"a": {"L": ["S"]}},
    {"a": {"L": [{"S": "x"}, {"N": 1}]}},
    {"a": {"M": {"b": 1}}},
    {"a": {"M": []}},
    {"a": {"X": "y"}},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_item_is_refused(broken: Any) -> None:
    """Anything that is not an item in wire form is refused, both when encoding and when
    decoding."""
    with pytest.raises((ValueError, TypeError)):
        encode(broken)
    with pytest.raises(ValueError, match=r"not an item|base64"):
        decode(json.dumps(broken).encode())


@given(st.binary(max_size=30))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    """Invalid bytes raise only ValueError."""
    try:
        decode(body)
    except ValueError:
        return


def test_digest_is_md5() -> None:
    """The digest of a body is its MD5, like S3's ETag."""
    assert digest(b"") == "d41d8cd98f00b204e9800998ecf8427e"
