"""The key of an item: its key attributes, their canonical JSON, and the MD5 that names the item's
object in the archive.

This is the only module that hashes a key. The stream, the backfill and the command line all use it,
so an item always has the same object name, whatever the order of its key attributes and the format
of their values.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from stream_backup.core.item import Item, Value, base64_text, canonical_json, digest

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def key_json(key: Item) -> str:
    """Returns the canonical JSON of key attributes: names sorted, no spaces, numbers as DynamoDB
    normalizes them.

    Raises ValueError when a value does not have a key type (S, N or B) or is not valid for its
    type.
    """
    tidy = {name: _key_value(value) for name, value in key.items()}
    return canonical_json(tidy).decode()


def key_hash(key: Item) -> str:
    """Returns the 32 lowercase hex characters that name the item's object: the MD5 of the canonical
    JSON of its key. Raises ValueError like `key_json`."""
    return digest(key_json(key).encode())


def normal_number(text: str) -> str:
    """Returns a number as DynamoDB normalizes it: plain digits, no exponent, no leading or trailing
    zeros, no negative zero. Raises ValueError when `text` is not a number."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("a value of type N is not a valid number")
    plain = format(Decimal(text), "f")
    sign, plain = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    whole, _, fraction = plain.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    plain = f"{whole}.{fraction}" if fraction else whole
    return plain if plain == "0" else sign + plain


def _key_value(value: Value) -> Value:
    if type(value) is dict and len(value) == 1 and type(value.get("S")) is str:
        return value
    match value:
        case {"S": str(text)} if len(value) == 1:
            return {"S": text}
        case {"N": str(text)} if len(value) == 1:
            return {"N": normal_number(text)}
        case {"B": (str() | bytes()) as data} if len(value) == 1:
            return {"B": base64_text(data)}
    raise ValueError("a key value must have type S, N or B")


@dataclass(frozen=True, slots=True)
class KeySchema:
    """The key attributes of a table with their types, partition key first: `(("pk", "S"), ("sk",
    "N"))`."""

    attributes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, description: dict[str, Any]) -> Self:
        """Returns the key schema in the `Table` of a DescribeTable response, or in any object with
        the same KeySchema and AttributeDefinitions. Raises KeyError when one is missing."""
        types = {
            each["AttributeName"]: each["AttributeType"]
            for each in description["AttributeDefinitions"]
        }
        # The key types are HASH and RANGE, so this order puts the partition key first.
        names = sorted(description["KeySchema"], key=lambda each: str(each["KeyType"]))
        return cls(tuple((each["AttributeName"], types[each["AttributeName"]]) for each in names))

    def key_of(self, item: Item) -> Item:
        """Returns the key attributes of `item`. Raises KeyError when one is missing."""
        return {name: item[name] for name, _ in self.attributes}

    def example(self) -> str:
        """Returns an example of a key of this table as a user types it in a shell: plain JSON in
        single quotes."""
        samples = {"S": "text", "N": 42, "B": "aGVsbG8="}
        return "'" + json.dumps({name: samples[kind] for name, kind in self.attributes}) + "'"
