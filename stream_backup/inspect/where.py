"""Chooses items by what happened to them, with a JMESPath expression, as `aws --query` does.

The expression sees `{key, before, after, first, last, kinds, by}`: `key`, `before` and `after` are
plain JSON (`core/plain.py`), `before` or `after` is null where the item did not exist, `first` and
`last` are the times of its first and last change in ISO-8601, and `kinds` and `by` are lists.
Numbers are compared exactly: those of an item keep all their digits, and those of the expression
are decimal.
"""

from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Any

import jmespath  # type: ignore[import-untyped]  # it ships no types
from jmespath import exceptions, functions

from stream_backup.core.item import decode
from stream_backup.core.key import key_json
from stream_backup.core.moment import iso
from stream_backup.core.plain import plain_item
from stream_backup.errors import UsageError
from stream_backup.inspect.window import Changed

_EXAMPLE = "Write it like: --where \"after.state == 'undefined' && before.state != after.state\""
LONGEST = 200
"""Characters of an expression that an error repeats."""

_EXACT = Context(prec=300)
"""Digits that suffice for sums of DynamoDB's numbers, which have 38 from 1e-130 to 1e125."""

_NOBODY: dict[str, Any] = {
    "key": {},
    "before": None,
    "after": None,
    "first": "",
    "last": "",
    "kinds": [],
    "by": [],
}
_TYPES = frozenset(("S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"))


class _Functions(functions.Functions):  # type: ignore[misc]  # it ships no types
    """The functions of JMESPath, for numbers that are decimal."""

    def _get_allowed_pytypes(self, types: Any) -> Any:
        allowed, inner = super()._get_allowed_pytypes(types)
        return _with_decimal(allowed), [_with_decimal(each) for each in inner]

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_number(self, value: Any) -> Any:
        if not isinstance(value, str):
            return (
                value if isinstance(value, int | Decimal) and value not in (True, False) else None
            )
        try:
            return Decimal(value)
        except InvalidOperation:
            return None

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_type(self, value: Any) -> Any:
        return "number" if isinstance(value, Decimal) else super()._func_type(value)


def _with_decimal(names: Any) -> Any:
    return (*names, "Decimal") if "float" in names else names


class Where:
    """An expression that chooses items. Raises UsageError when it is not JMESPath."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._options = jmespath.Options(custom_functions=_Functions())
        try:
            self._parsed = jmespath.compile(text)
            _exact(self._parsed.parsed)
            self._check(self._parsed.parsed)
            self._search(_NOBODY)
        except exceptions.JMESPathTypeError:
            pass  # an item may have what this one has not
        except (exceptions.JMESPathError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
            raise UsageError(
                f"{shown!r} is not a JMESPath expression that can choose items:"
                f" {reason or 'it is nested too deeply'}.",
                _EXAMPLE,
            ) from error

    def _check(self, tree: Any) -> None:
        """Raises ValueError for names that can only be mistakes: they would be null for every item,
        and JMESPath does not report that."""
        for name in sorted(_roots(tree) - {*_NOBODY}):
            raise ValueError(
                f"{name!r} is none of {', '.join(_NOBODY)}. Text is written in single quotes"
            )
        if _negates_first(tree):
            raise ValueError("write !(a.b), because !a.b means (!a).b, which is always null")
        for name in sorted(_named(tree, "function_expression") - {*_Functions.FUNCTION_TABLE}):
            raise ValueError(f"unknown function {name}()")

    @property
    def hint(self) -> str:
        """What to say when it chooses nothing, and its paths seem to be those of DynamoDB JSON."""
        typed = sorted(_typed(self._parsed.parsed))
        if not typed:
            return ""
        return (
            f"--where sees plain values: write after.state, not after.state.S. Is {typed[0]!r} in"
            f" {self._text!r} the name of an attribute?"
        )

    def matches(self, changed: Changed) -> bool:
        """Returns whether the expression is true of an item, as JMESPath understands truth. Raises
        UsageError when it cannot be evaluated."""
        try:
            found = self._search(seen(changed))
        except (exceptions.JMESPathError, ArithmeticError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{self._text!r} cannot be evaluated for {key_json(changed.key)}: {reason}.",
                "Check first that the attribute exists: after.name && contains(after.name, 'x')",
            ) from error
        return not (found is None or found is False or found in ("", [], {}))

    def _search(self, record: dict[str, Any]) -> Any:
        with localcontext(_EXACT):
            return self._parsed.search(record, self._options)


def seen(changed: Changed) -> dict[str, Any]:
    """Returns what an expression sees of an item."""
    before, after = (
        None if body is None else plain_item(decode(body))
        for body in (changed.before, changed.after)
    )
    return {
        "key": plain_item(changed.key),
        "before": before,
        "after": after,
        "first": iso(changed.first),
        "last": iso(changed.last),
        "kinds": list(changed.kinds),
        "by": list(changed.by),
    }


def _exact(node: Any) -> None:
    """Makes the numbers of an expression decimal, so that 1.1 equals an attribute's 1.1."""
    if node["type"] == "literal":
        node["value"] = _decimal(node["value"])
    for child in _children(node):
        _exact(child)


def _decimal(value: Any) -> Any:
    match value:
        case float():
            return Decimal(repr(value))
        case list():
            return [_decimal(each) for each in value]
        case dict():
            return {name: _decimal(each) for name, each in value.items()}
    return value


def _roots(node: Any) -> set[str]:
    """The names that are looked up in what the whole expression sees."""
    match node["type"]:
        case "field":
            return {node["value"]}
        case "literal" | "current" | "expref" | "identity":
            return set()
        case "comparator" | "function_expression" | "multi_select_dict" | "multi_select_list":
            inner = _children(node)
        case "or_expression" | "and_expression" | "not_expression" | "key_val_pair":
            inner = _children(node)
        case _:  # what follows is looked up in what comes first
            inner = _children(node)[:1]
    return set[str]().union(*map(_roots, inner))


def _named(node: Any, kind: str) -> set[str]:
    found = {node["value"]} if node["type"] == kind else set()
    return found.union(*(_named(child, kind) for child in _children(node)))


def _negates_first(node: Any) -> bool:
    first = _children(node)[:1]
    paths = ("subexpression", "index_expression", "projection", "filter_projection")
    negated = node["type"] in paths and any(each["type"] == "not_expression" for each in first)
    return negated or any(map(_negates_first, _children(node)))


def _typed(node: Any) -> set[str]:
    """The names of DynamoDB's types that follow another name."""
    found = set()
    if node["type"] == "subexpression":
        found = {each["value"] for each in node["children"][1:] if each["type"] == "field"}
    return (found & _TYPES).union(*map(_typed, _children(node)))


def _children(node: Any) -> list[Any]:
    return [child for child in node["children"] if isinstance(child, dict)]
