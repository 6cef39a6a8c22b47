"""The values of attributes as DynamoDB compares them: numbers numerically, sets without order
(Amazon DynamoDB Developer Guide, "Comparison operator and function reference").

The canonical encoding of `item` keeps the text of a number. It therefore tells `1.0` from `1`,
which are the same number to DynamoDB.
"""

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact
from typing import Any

from stream_backup.core.item import Value, base64_text
from stream_backup.core.key import normal_number

SETS = frozenset({"SS", "NS", "BS"})

DIGITS = 38
"""Significant digits of a DynamoDB number (Amazon DynamoDB Developer Guide, "Supported data types
and naming rules")."""

_POWERS = range(-130, 126)
"""The powers of ten that the first digit of a number may have, from the same page."""

_EXACT = Context(prec=1000, traps=[Inexact])


def same(one: Value | None, other: Value | None) -> bool:
    """Returns whether two typed values are equal to DynamoDB. None is a value that does not exist,
    and equals only itself. Raises ValueError when a number or a binary value is not valid."""
    if one == other:
        return True
    return one is not None and other is not None and _canonical(one) == _canonical(other)


def is_map(value: Value | None) -> bool:
    """Returns whether a value exists and is a map."""
    return value is not None and "M" in value


def set_type(*values: Value | None) -> str | None:
    """Returns the type that all existing values share, if that is a set type; otherwise None. A
    value that does not exist has no type."""
    kinds = {next(iter(value)) for value in values if value is not None}
    return next(iter(kinds)) if len(kinds) == 1 and kinds <= SETS else None


def members(value: Value | None) -> dict[str, str]:
    """Returns the members of a set: their text by the text under which equal members meet. A set
    that does not exist is empty."""
    if value is None:
        return {}
    ((kind, content),) = value.items()
    return {_member(kind, member): member for member in content}


def without_difference(now: Value, before: Value, damaged: Value) -> Value | None:
    """Returns now - (damaged - before), three numbers, exactly. Returns None when DynamoDB cannot
    store the result: it has more than 38 significant digits, or is too large or too small."""
    first, second, third = (Decimal(normal_number(each["N"])) for each in (now, damaged, before))
    found = _EXACT.subtract(first, _EXACT.subtract(second, third)).normalize(_EXACT)
    if found and (len(found.as_tuple().digits) > DIGITS or found.adjusted() not in _POWERS):
        return None
    return {"N": normal_number(format(found, "f"))}


def _canonical(value: Value) -> Any:
    ((kind, content),) = value.items()
    if kind == "M":
        return kind, _canonical_map(content)
    if kind == "L":
        return kind, [_canonical(inner) for inner in content]
    if kind in SETS:
        return kind, {_member(kind, member) for member in content}
    return kind, _member(kind, content) if kind in ("N", "B") else content


def _canonical_map(content: Mapping[str, Value]) -> Any:
    return {name: _canonical(inner) for name, inner in content.items()}


def _member(kind: str, text: str) -> str:
    if kind in ("N", "NS"):
        return normal_number(text)
    return base64_text(text) if kind in ("B", "BS") else text
