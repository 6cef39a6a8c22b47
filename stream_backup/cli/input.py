"""What people type, parsed: a moment, a key, a file of keys."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from stream_backup.core.item import Item, Value, base64_text
from stream_backup.core.key import KeySchema, key_hash, normal_number
from stream_backup.core.moment import from_iso, iso
from stream_backup.errors import UsageError

_AGO = re.compile(
    r"(\d+)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s+ago",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_HINT = "Write it like 2026-11-21T03:20:00Z, '2h ago', or seconds since 1970."


def parse_when(text: str, now: int) -> tuple[int, str]:
    """Returns the moment that was typed as WHEN, in epoch seconds, and a note when something was
    assumed, else "".

    Raises UsageError when it is none of ISO-8601, `2h ago` and epoch seconds.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        moment = now - int(ago[1]) * _SECONDS[ago[2][0].lower()]
        if moment < 0:
            raise UsageError(f"{text!r} is before 1970.", _HINT)
        return moment, f"{text!r} is {iso(moment)}"
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return int(text.partition(".")[0]), ""
    try:
        if not re.match(r"\d{4}-\d\d-\d\d", text):
            raise ValueError
        moment = from_iso(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a moment.", _HINT) from error
    zoned = datetime.fromisoformat(text).tzinfo is not None
    return moment, "" if zoned else f"{text!r} has no offset and is read as UTC: {iso(moment)}"


def parse_key(text: str, schema: KeySchema) -> Item:
    """Returns the key that was typed: DynamoDB JSON, or plain JSON that the table's key schema
    types. Raises UsageError."""
    try:
        given = json.loads(text, parse_int=_Number, parse_float=_Number)
        if not isinstance(given, dict):
            raise ValueError("it is not a JSON object")
        if unknown := set(given) - {name for name, _ in schema.attributes}:
            raise ValueError(f"{sorted(unknown)[0]!r} is not a key attribute")
        key = {name: _typed(name, kind, given) for name, kind in schema.attributes}
        key_hash(key)
    except ValueError as error:  # a JSON error is one too
        raise UsageError(
            f"{text!r} is not a key of this table: {error}.", f"Write it like {schema.example()}."
        ) from error
    return key


def parse_key_of_any(text: str, schemas: Sequence[KeySchema]) -> tuple[Item, KeySchema]:
    """Returns the key that was typed and the first of `schemas` that it fits. Raises the UsageError
    of the first schema when it fits none."""
    for schema in schemas:
        try:
            return parse_key(text, schema), schema
        except UsageError:
            continue
    return parse_key(text, schemas[0]), schemas[0]


def key_lines(path: Path) -> list[str]:
    """Returns the keys in a file, one a line. Raises UsageError when it is not text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", "Write one key a line, as JSON.") from error
    return [line for line in lines if line.strip()]


def _typed(name: str, kind: str, given: dict[str, Any]) -> Value:
    if name not in given:
        raise ValueError(f"key attribute {name!r} is missing")
    value = given[name]
    if isinstance(value, dict):
        value = {
            inner: str(text) if isinstance(text, _Number) else text for inner, text in value.items()
        }
        if list(value) != [kind]:
            raise ValueError(f"key attribute {name!r} has type {kind}")
        return {kind: base64_text(value[kind])} if kind == "B" else {kind: value[kind]}
    if isinstance(value, _Number) and kind == "N":
        return {"N": normal_number(str(value))}
    if isinstance(value, str) and not isinstance(value, _Number) and kind != "N":
        return {kind: base64_text(value) if kind == "B" else value}
    raise ValueError(f"key attribute {name!r} has type {kind}")


class _Number(str):
    """A JSON number kept as its digits, so that it differs from a string."""

    __slots__ = ()
