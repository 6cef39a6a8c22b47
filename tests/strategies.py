"""Hypothesis strategies that generate everything DynamoDB can store, including dangerous values."""

from base64 import b64decode, b64encode
from typing import Any

from hypothesis import strategies as st

from stream_backup.core.item import Item, Value
from stream_backup.core.key import KeySchema

KEY_BYTES = 2048
"""The maximum number of bytes of a partition key (Amazon DynamoDB Developer Guide, "Quotas")."""

_SPECIAL = [
    "",
    " ",
    "  a  ",
    "\x00",
    "\x7f",
    "\u2028",
    "é",
    "e\u0301",
    "\U0001f600",
    '"',
    "\\",
    "\n",
    "a.b",
    "<&>",
    "N",
    "S",
]

texts: st.SearchStrategy[str] = st.one_of(st.sampled_from(_SPECIAL), st.text(max_size=12))
"""Any text that UTF-8 can encode: empty, non-ASCII, astral, control characters; no lone
surrogates."""

names: st.SearchStrategy[str] = texts.filter(bool)

blobs: st.SearchStrategy[bytes] = st.one_of(
    st.sampled_from([b"", b"\x00", b"\xff\xfe", b"?>?", b"hello"]), st.binary(max_size=12)
)


def base64(data: bytes) -> str:
    return b64encode(data).decode()


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Draws a number as DynamoDB returns it: plain digits, at most 38 significant ones, magnitude
    1e-130 to 9.9e125."""
    digits = str(draw(st.one_of(st.integers(1, 999), st.integers(10**37, 10**38 - 1)))).rstrip("0")
    if draw(st.integers(0, 9)) == 0:
        return "0"
    power = draw(
        st.one_of(st.sampled_from([-125, 125, 0, 1, -1, 15, 16]), st.integers(-125, 125))
    )  # of the first digit
    sign = draw(st.sampled_from(["", "-"]))
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    digits = digits.ljust(power + 1, "0")
    return sign + digits[: power + 1] + ("." + digits[power + 1 :] if digits[power + 1 :] else "")


def _members(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(values, min_size=1, max_size=4, unique=True)


scalars: st.SearchStrategy[Value] = st.one_of(
    texts.map(lambda text: {"S": text}),
    numbers().map(lambda number: {"N": number}),
    blobs.map(lambda data: {"B": base64(data)}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    _members(texts).map(lambda members: {"SS": members}),
    _members(numbers()).map(lambda members: {"NS": members}),
    _members(blobs.map(base64)).map(lambda members: {"BS": members}),
)


def _nested(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    maps = st.dictionaries(texts, inner, max_size=3).map(lambda content: {"M": content})
    return st.one_of(maps, st.lists(inner, max_size=3).map(lambda content: {"L": content}))


values: st.SearchStrategy[Value] = st.recursive(scalars, _nested, max_leaves=6)

items: st.SearchStrategy[Item] = st.dictionaries(names, values, min_size=1, max_size=5)

_LONG = [
    "k" * KEY_BYTES,
    " " * (KEY_BYTES - 1) + "x",
    "é" * (KEY_BYTES // 2),
    "\U0001f600" * (KEY_BYTES // 4),
]

key_values: dict[str, st.SearchStrategy[Value]] = {
    "S": st.one_of(names, st.sampled_from(_LONG)).map(lambda text: {"S": text}),
    "N": numbers().map(lambda number: {"N": number}),
    "B": st.one_of(blobs.filter(bool), st.just(b"\xff" * KEY_BYTES)).map(
        lambda data: {"B": base64(data)}
    ),
}

schemas: st.SearchStrategy[KeySchema] = st.lists(
    st.tuples(names, st.sampled_from(["S", "N", "B"])),
    min_size=1,
    max_size=2,
    unique_by=lambda each: each[0],
).map(lambda attributes: KeySchema(tuple(attributes)))


def keys_of(schema: KeySchema) -> st.SearchStrategy[Item]:
    return st.fixed_dictionaries({name: key_values[kind] for name, kind in schema.attributes})


keys: st.SearchStrategy[Item] = schemas.flatmap(keys_of)

schemas_with_keys: st.SearchStrategy[tuple[KeySchema, Item]] = schemas.flatmap(
    lambda schema: st.tuples(st.just(schema), keys_of(schema))
)


def respelled(value: Any) -> Any:
    """Returns the same value in another spelling: names and members of sets in reverse order, and
    binary as bytes."""
    ((kind, content),) = value.items()
    match kind:
        case "B":
            return {"B": b64decode(content)}
        case "BS":
            return {"BS": [b64decode(member) for member in reversed(content)]}
        case "SS" | "NS":
            return {kind: content[::-1]}
        case "L":
            return {"L": [respelled(inner) for inner in content]}
        case "M":
            return {"M": respelled_item(content)}
    return value


def respelled_item(item: Item) -> Item:
    return {name: respelled(value) for name, value in reversed(item.items())}
