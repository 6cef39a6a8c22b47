"""An item in DynamoDB's typed wire form, and its one canonical spelling as JSON bytes.

The wire form is what DynamoDB sends: `{"id": {"S": "a"}, "n": {"N": "1.10"}}`, binary as base64 text. An item stays in it
from the stream to the table: numbers remain the text DynamoDB gave, so nothing is ever rounded. The canonical spelling
(names sorted at every level, set members sorted, no spaces, UTF-8) is the same for equal items, so its MD5 names an item's
content, and equals the S3 ETag of the object that holds it.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import md5
from typing import Any, TypeVar

import orjson

Value = dict[str, Any]
"""One typed value, e.g. `{"S": "a"}` or `{"L": [{"N": "1"}]}`."""

Item = dict[str, Value]
"""Attribute name to typed value."""


def encode(item: Item) -> bytes:
    """The canonical JSON of `item`. Raises ValueError or TypeError when it is not an item in wire form."""
    if not isinstance(item, dict):
        raise TypeError("an item is an object of typed values")
    return canonical_json(_tidy_all(item))


def canonical_json(value: Item) -> bytes:
    """Names sorted by code point, no spaces, nothing escaped that need not be: what `json.dumps` writes with `sort_keys`, no
    spaces and `ensure_ascii=False`, at a quarter of its time. Raises ValueError for half a surrogate pair."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise ValueError(str(error)) from error


def decode(body: bytes) -> Item:
    """The item in `body`; raises ValueError when it holds anything else."""
    item = orjson.loads(body)
    if not isinstance(item, dict):
        raise ValueError("not an item: no JSON object")
    try:
        return _tidy_all(item)
    except TypeError as error:
        raise ValueError(f"not an item: {error}") from error


def digest(body: bytes) -> str:
    """MD5 of canonical bytes in lower-case hex: an item's content in 32 characters. No secret hangs on it."""
    return md5(body, usedforsecurity=False).hexdigest()


def base64_text(value: str | bytes) -> str:
    """The one spelling of a binary value: standard alphabet, padded. Bytes are accepted, as boto3 gives them."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    try:
        return b64encode(b64decode(value, validate=True)).decode()
    except (Base64Error, TypeError) as error:
        raise ValueError("a binary value is not base64") from error


Name = TypeVar("Name", str, int)

_PLAIN: dict[str, type] = {"S": str, "N": str, "BOOL": bool, "NULL": bool}
"""Types whose contents are canonical as they come."""


def _tidy_all(values: dict[Name, Value]) -> dict[Name, Value]:
    """The same object where nothing in it needs tidying, which is the rule: copies would cost more than the spelling."""
    tidied = values
    for name, value in values.items():
        try:
            ((kind, content),) = value.items()
        except (AttributeError, ValueError) as error:
            raise TypeError("a typed value is an object with exactly one type") from error
        if _PLAIN.get(kind) is not type(content):
            tidy = _tidy(kind, content)
            if tidy is not content:
                tidied = dict(values) if tidied is values else tidied
                tidied[name] = {kind: tidy}
    return tidied


def _tidy(kind: str, content: Any) -> Any:
    match kind:
        case "M" if isinstance(content, dict):
            return _tidy_all(content)
        case "L" if isinstance(content, list):
            named = dict(enumerate(content))
            tidied = _tidy_all(named)
            return content if tidied is named else [*tidied.values()]
        case "SS" | "NS" if isinstance(content, list) and {*map(type, content)} <= {str}:
            return sorted(content)
        case "BS" if isinstance(content, list):
            return sorted(map(base64_text, content))
        case "B":
            return base64_text(content)
    raise TypeError(f"no DynamoDB value of type {kind!r} looks like this")
