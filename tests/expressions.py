"""Expressions of DynamoDB, as strictly as its documentation describes them: what is not valid there
raises ValidationException here.

Only what this project sends is known: SET and REMOVE of paths, and conditions joined by AND.
"""

import json
import re
from fractions import Fraction
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.core.item import Item, Value
from tests.undo_model import sized

TOKEN = re.compile(r"\s*(#\w+|:\w+|\w+|<>|[(),=.])")
FUNCTIONS = {"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2}


def refusal(code: str, message: str = "") -> ClientError:
    answer = {"Error": {"Code": code, "Message": message or code}}
    return ClientError(
        answer | {"ResponseMetadata": {"HTTPStatusCode": 400, "RetryAttempts": 0}}, "x"
    )


def invalid(message: str) -> ClientError:
    return refusal("ValidationException", message)


class Expressions:
    """The expressions of one request. `finish` checks that no placeholder is left unused."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.names: dict[str, str] = request.get("ExpressionAttributeNames", {})
        self.values: dict[str, Value] = request.get("ExpressionAttributeValues", {})
        self.used: set[str] = set()
        self.operators = 0
        for given in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            if request.get(given) == {}:
                raise invalid(f"{given} must not be empty")
        for value in self.values.values():
            require_valid(value)

    def holds(self, text: str, row: Item | None) -> bool:
        """Returns whether a condition is true of a row."""
        tokens = self._tokens(text)
        terms = [self._term(tokens, row)]
        while tokens:
            self._take(tokens, "AND")
            terms.append(self._term(tokens, row))
        return all(terms)

    def _term(self, tokens: list[str], row: Item | None) -> bool:
        if tokens[0] in FUNCTIONS:
            function = tokens.pop(0)
            self.operators += 1
            self._take(tokens, "(")
            found = at(row, self._path(tokens))
            wanted = None
            if FUNCTIONS[function] == 2:
                self._take(tokens, ",")
                wanted = self._value(tokens)["S"]
            self._take(tokens, ")")
            if wanted:
                return found is not None and next(iter(found)) == wanted
            return (found is not None) == (function == "attribute_exists")
        path = self._path(tokens)
        self._take(tokens, "=")
        found, value = at(row, path), self._value(tokens)
        return found is not None and plain(found) == plain(value)

    def updated(self, text: str, row: Item, keys: set[str]) -> Item:
        """Returns a row after an update."""
        tokens = self._tokens(text)
        actions: dict[tuple[str, ...], Value | None] = {}
        seen: set[str] = set()
        while tokens:
            clause = tokens.pop(0)
            if clause not in ("SET", "REMOVE") or clause in seen:
                raise invalid(f"unexpected {clause}")
            seen.add(clause)
            while True:
                path = self._path(tokens)
                value = None
                if clause == "SET":
                    self._take(tokens, "=")
                    value = self._value(tokens)
                else:
                    self.operators += 1
                for other in actions:
                    if path[: len(other)] == other or other[: len(path)] == path:
                        raise invalid("Two document paths overlap with each other")
                if path[0] in keys:
                    raise invalid("This attribute is part of the key")
                actions[path] = value
                if not tokens or tokens[0] != ",":
                    break
                tokens.pop(0)
        found: Item = json.loads(json.dumps(row))
        for path, value in actions.items():
            around = {"M": found}
            for name in path[:-1]:
                around = around.get("M", {}).get(name, {})
            if "M" not in around:
                raise invalid(
                    "The document path provided in the update expression is invalid for update"
                )
            if value is None:
                around["M"].pop(path[-1], None)
            else:
                around["M"][path[-1]] = value
        if sized(found) > 400 * 1024:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        return found

    def finish(self) -> None:
        if unused := {*self.names, *self.values} - self.used:
            raise invalid(f"Value provided in expression unused: {unused}")
        if self.operators > 300:
            raise invalid("Expression has too many operators")

    def _tokens(self, text: str) -> list[str]:
        if len(text.encode()) > 4096:
            raise invalid("Expression size has exceeded the maximum allowed size")
        found, where = [], 0
        while where < len(text):
            token = TOKEN.match(text, where)
            if not token:
                raise invalid(f"Syntax error at {text[where:]}")
            found.append(token[1])
            where = token.end()
        self.operators += sum(token in (".", "=", "AND") for token in found)
        return found

    def _take(self, tokens: list[str], wanted: str) -> None:
        if not tokens or tokens.pop(0) != wanted:
            raise invalid(f"Syntax error: {wanted} expected")

    def _path(self, tokens: list[str]) -> tuple[str, ...]:
        found = [self._name(tokens)]
        while tokens and tokens[0] == ".":
            tokens.pop(0)
            found.append(self._name(tokens))
        return tuple(found)

    def _name(self, tokens: list[str]) -> str:
        token = tokens.pop(0)
        if token not in self.names:
            raise invalid(f"{token} is not a placeholder that is defined")
        self.used.add(token)
        if not self.names[token]:
            raise invalid("an attribute name must not be empty")
        return self.names[token]

    def _value(self, tokens: list[str]) -> Value:
        token = tokens.pop(0)
        if token not in self.values:
            raise invalid(f"{token} is not a value that is defined")
        self.used.add(token)
        return self.values[token]


def at(row: Item | None, path: tuple[str, ...]) -> Value | None:
    found: Value | None = None if row is None else {"M": row}
    for name in path:
        found = found.get("M", {}).get(name) if found else None
    return found


def plain(value: Value) -> Any:
    """Returns a value so that equal ones are equal in Python."""
    ((kind, content),) = value.items()
    if kind == "M":
        return kind, {name: plain(inner) for name, inner in content.items()}
    if kind == "L":
        return kind, [plain(inner) for inner in content]
    if kind == "N":
        return kind, exact(content)
    if kind == "NS":
        return kind, {exact(each) for each in content}
    return (kind, set(content)) if kind in ("SS", "BS") else (kind, content)


def exact(text: str) -> Any:
    return Fraction(text)


def require_valid(value: Value) -> None:
    ((kind, content),) = value.items()
    if kind in ("SS", "NS", "BS") and not content:
        raise invalid("An attribute value may not contain an empty set")
    inner = content.values() if kind == "M" else content if kind == "L" else ()
    for each in inner:
        require_valid(each)
