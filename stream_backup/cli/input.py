"""What people type, parsed: a moment, a key, a file of keys."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytimeparse2

from stream_backup.core.item import Item, Value, base64_text
from stream_backup.core.key import KeySchema, key_hash, normal_number
from stream_backup.core.moment import from_iso, iso
from stream_backup.errors import UsageError

_UNITS = {
    *("s", "sec", "secs", "second", "seconds"),
    *("m", "min", "mins", "minute", "minutes"),
    *("h", "hr", "hrs", "hour", "hours"),
    *("d", "day", "days"),
    *("w", "wk", "wks", "week", "weeks"),
}
_AGO = re.compile(r"([0-9][A-Za-z0-9., ]*?[A-Za-z])(\s+ago)?", re.IGNORECASE)
_HINT = (
    "Write it like 2026-11-21T03:20:00Z, 5m (five minutes ago), '2h ago', or seconds since 1970."
)
_LENGTHS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_when(text: str, now: int) -> tuple[int, str]:
    """Returns the moment that was typed as WHEN, in epoch seconds, and a note when something was
    assumed, else "".

    It is ISO-8601, epoch seconds, or a time before `now` such as `5m` or `2h ago`. Raises
    UsageError for anything else, and above all for what could mean two moments.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return _before(text, ago[1], now)
    if re.fullmatch(r"[0-9]{9,11}(\.[0-9]+)?", text):
        return int(text.partition(".")[0]), ""
    try:
        if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        moment = from_iso(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a moment.", _why_not(text)) from error
    zoned = datetime.fromisoformat(text).tzinfo is not None
    return moment, "" if zoned else f"{text!r} has no offset and is read as UTC: {iso(moment)}"


def _before(text: str, duration: str, now: int) -> tuple[int, str]:
    """The moment that a duration before `now` begins. Its units are checked first, because the
    library also knows months of 30 days, and reads `5M` as minutes."""
    units = re.findall("[A-Za-z]+", duration)
    unknown = [unit for unit in units if unit == "M" or unit.lower() not in _UNITS]
    if unknown:
        raise UsageError(
            f"{text!r} is not a moment: {unknown[0]!r} is not a unit of time with one length.",
            "The units are s, m (minutes), h, d, and w, as in 5m or '2h ago'. For anything"
            " longer, write the date: 2026-11-21T03:20:00Z.",
        )
    seconds = pytimeparse2.parse(duration)
    if not isinstance(seconds, int | float):
        raise UsageError(f"{text!r} is not a moment.", _HINT)
    moment = int(now - seconds)
    if moment < 0:
        raise UsageError(f"{text!r} is before 1970.", _HINT)
    return moment, f"{text!r} is {iso(moment)}, {_spoken(now - moment)} before now."


def _spoken(seconds: int) -> str:
    """A duration in its largest whole units: `1 h 30 min`."""
    parts, left = [], seconds
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        parts += [f"{count:,} {unit}"] if count else []
    return " ".join(parts) or "0 s"


def _why_not(text: str) -> str:
    """A hint for what is mistaken most often."""
    if re.fullmatch(r"[0-9]{12,}", text):
        return "These may be milliseconds. Write seconds since 1970: leave out the last 3 digits."
    if re.fullmatch(r"[0-9]{1,4}", text):
        return f"Write the unit: {text}m is {text} minutes ago. {_HINT}"
    if re.fullmatch(r"[+-].*", text):
        return f"A time before now has no sign: 5m is five minutes ago. {_HINT}"
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?Z?", text):
        return f"Write the day too. {_HINT}"
    return _HINT


def parse_every(text: str) -> int:
    """Returns the length of an interval in seconds, like `parse_duration`."""
    return parse_duration(text, "an interval")


def parse_duration(text: str, what: str = "a duration") -> int:
    """Returns the number of seconds that was typed as `30s`, `10m`, `2h` or `1d`. Raises
    UsageError."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})\s*([smhdw])", text.strip())
    if found is None:
        raise UsageError(f"{text!r} is not {what}.", "Write it like 30s, 5m, 1h or 1d.")
    return int(found[1]) * _LENGTHS[found[2]]


def parse_share(text: str) -> float:
    """Returns a share that was typed as `5%` or `0.05`, above 0 and up to 1. Raises UsageError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < share <= 1:
        raise UsageError(f"{text!r} is not a share.", "Write it like 5% or 0.05.")
    return share


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
