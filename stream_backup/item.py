"""An item in DynamoDB's typed wire form, and its one canonical spelling as JSON bytes.

The wire form is what DynamoDB sends: `{"id": {"S": "a"}, "n": {"N": "1.10"}}`, binary as base64 text. An item stays in it
from the stream to the table: numbers remain the text DynamoDB gave, so nothing is ever rounded. The canonical spelling
(names sorted at every level, set members sorted, no spaces, UTF-8) is the same for equal items, so its MD5 names an item's
content, and equals the S3 ETag of the object that holds it.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import md5
from typing import Any

Value = dict[str, Any]
"""One typed value, e.g. `{"S": "a"}` or `{"L": [{"N": "1"}]}`."""

Item = dict[str, Value]
"""Attribute name to typed value."""


def encode(item: Item) -> bytes:
    """The canonical JSON of `item`. Raises ValueError or TypeError when it is not an item in wire form."""
    if not isinstance(item, dict):
        raise TypeError("an item is an object of typed values")
    tidy = {name: _tidy(value) for name, value in item.items()}
    return json.dumps(tidy, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(body: bytes) -> Item:
    """The item in `body`; raises ValueError when it holds anything else."""
    item = json.loads(body)
    if not isinstance(item, dict):
        raise ValueError("not an item: no JSON object")
    try:
        return {name: _tidy(value) for name, value in item.items()}
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


def _tidy(value: Value) -> Value:
    if not isinstance(value, dict) or len(value) != 1:
        raise TypeError("a typed value is an object with exactly one type")
    ((kind, content),) = value.items()
    match kind:
        case "S" | "N" if isinstance(content, str):
            return value
        case "BOOL" | "NULL" if isinstance(content, bool):
            return value
        case "B":
            return {"B": base64_text(content)}
        case "M" if isinstance(content, dict):
            return {"M": {name: _tidy(inner) for name, inner in content.items()}}
        case "L" if isinstance(content, list):
            return {"L": [_tidy(inner) for inner in content]}
        case "SS" | "NS" if isinstance(content, list) and all(isinstance(member, str) for member in content):
            return {kind: sorted(content)}
        case "BS" if isinstance(content, list):
            return {"BS": sorted(map(base64_text, content))}
    raise TypeError(f"no DynamoDB value of type {kind!r} looks like this")
