"""Writes `format-1.json`: bytes and metadata as format 1 stores them. Run it once for a new format,
and never for an old one.

    python -m tests.golden.make

It prints the versions. An existing golden file is not overwritten, because existing archives
contain those bytes.
"""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from stream_backup.core.change import Change
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema
from stream_backup.core.stamp import FORMAT

EVENTS = Path(__file__).parents[1] / "events"
GOLDEN = Path(__file__).with_name(f"format-{FORMAT}.json")

_STREAMED = (
    "insert",
    "modify",
    "remove",
    "ttl_expiry",
    "binary_key",
    "composite_key",
    "numbers",
    "fractional_time",
    "new_image",
)


def schema_of(key: Item) -> KeySchema:
    return KeySchema(tuple((name, next(iter(value))) for name, value in key.items()))


def changes() -> dict[str, Change]:
    """Returns one change of each kind that format 1 can write."""
    found = {name: Change.streamed(_records(name)[0]) for name in _STREAMED}
    row: Item = {
        "sk": {"N": "7"},
        "pk": {"S": "é"},
        "set": {"BS": [b"\x02", b"\x01"]},
        "deep": {"M": {"": {"L": []}}},
    }
    found["scan"] = Change.scanned(
        row, schema_of({"pk": {"S": ""}, "sk": {"N": ""}}), 1795231900, 1795231902, 1795231000
    )
    for name, key in {
        "remove_composite": {"sk": {"N": "42"}, "pk": {"S": "user#1"}},
        "remove_binary": {"id": {"B": "aGVsbG8="}},
        "remove_odd": {"id": {"S": 'two  spaces\x7f é \U0001f600 \u2028\t"\\'}},
        "remove_long": {"pk": {"S": "é" * 1024}, "sk": {"S": "s" * 1024}},
    }.items():
        (record,) = _records("remove")
        found[name] = Change.streamed(record | {"dynamodb": record["dynamodb"] | {"Keys": key}})
    return found


def stored(change: Change) -> dict[str, Any]:
    """Returns the change as stored in the bucket: the object's name, bytes (as base64, so that
    editors do not change them), and metadata."""
    return {
        "name": change.name,
        "payload": b64encode(change.payload).decode(),
        "metadata": change.metadata,
        "key": change.key,
    }


def _records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    return found


if __name__ == "__main__":
    text = json.dumps(
        {name: stored(change) for name, change in changes().items()}, indent=2, sort_keys=True
    )
    print(text)
    with GOLDEN.open("x") as file:
        file.write(text + "\n")
