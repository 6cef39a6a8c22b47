"""What identifies an item: its key attributes, their canonical JSON, and the MD5 that names its object in the archive.

This is the only place that hashes a key. The stream, the backfill and the command line all come here, so that one item
never lies under two names whichever order or spelling its key came in.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from stream_backup.errors import UsageError
from stream_backup.item import Item, Value, base64_text, canonical_json, digest

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def key_json(key: Item) -> str:
    """Canonical JSON of key attributes: names sorted, no spaces, numbers as DynamoDB normalises them.

    Raises ValueError when a value is not of a key type (S, N, B).
    """
    tidy = {name: _key_value(value) for name, value in key.items()}
    return canonical_json(tidy).decode()


def key_hash(key: Item) -> str:
    """The 32 hex characters that name the item's object: MD5 of its key's canonical JSON."""
    return digest(key_json(key).encode())


def normal_number(text: str) -> str:
    """DynamoDB's spelling of a number: plain digits, no exponent, no leading or trailing zeros, no negative zero."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is not written as one")
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
    raise ValueError("a key value has type S, N or B")


@dataclass(frozen=True, slots=True)
class KeySchema:
    """A table's key attributes, partition key first, each with its type: `(("pk", "S"), ("sk", "N"))`."""

    attributes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, description: dict[str, Any]) -> Self:
        """From the `Table` of DescribeTable's answer, or any object with its KeySchema and AttributeDefinitions."""
        types = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
        names = sorted(description["KeySchema"], key=lambda each: str(each["KeyType"]))  # HASH before RANGE
        return cls(tuple((each["AttributeName"], types[each["AttributeName"]]) for each in names))

    def key_of(self, item: Item) -> Item:
        """The key attributes of `item`. Raises KeyError when it lacks one."""
        return {name: item[name] for name, _ in self.attributes}

    def parse(self, text: str) -> Item:
        """A key as a person types it: DynamoDB JSON, or plain JSON that this schema types."""
        try:
            given = json.loads(text, parse_int=_Number, parse_float=_Number)
            if not isinstance(given, dict):
                raise ValueError("it is not a JSON object")
            if unknown := set(given) - {name for name, _ in self.attributes}:
                raise ValueError(f"{sorted(unknown)[0]!r} is not a key attribute")
            key = {name: self._typed(name, kind, given) for name, kind in self.attributes}
            key_hash(key)
            return key
        except ValueError as error:  # a JSON error is one too
            raise UsageError(f"{text!r} is not a key of this table: {error}.", f"Write it like {self.example()}.") from error

    def example(self) -> str:
        """A key of this table as one would type it."""
        samples = {"S": "text", "N": 42, "B": "aGVsbG8="}
        return "'" + json.dumps({name: samples[kind] for name, kind in self.attributes}) + "'"

    @staticmethod
    def _typed(name: str, kind: str, given: dict[str, Any]) -> Value:
        if name not in given:
            raise ValueError(f"key attribute {name!r} is missing")
        value = given[name]
        if isinstance(value, dict):
            value = {inner: str(text) if isinstance(text, _Number) else text for inner, text in value.items()}
            if list(value) != [kind]:
                raise ValueError(f"key attribute {name!r} has type {kind}")
            return {kind: base64_text(value[kind])} if kind == "B" else {kind: value[kind]}
        if isinstance(value, _Number) and kind == "N":
            return {"N": normal_number(str(value))}
        if isinstance(value, str) and not isinstance(value, _Number) and kind != "N":
            return {kind: base64_text(value) if kind == "B" else value}
        raise ValueError(f"key attribute {name!r} has type {kind}")


class _Number(str):
    """A JSON number kept as its digits, told apart from a string."""

    __slots__ = ()
