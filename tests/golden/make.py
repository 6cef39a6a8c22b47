"""Writes `format-1.json`, the bytes and metadata of versions as format 1 stores them, and
`format-1-announced.json`, a whole archive of a stream whose writers announce. Run it once for a new
format, and never for an old one.

    python -m tests.golden.make

An existing golden file is not overwritten, because existing archives contain those bytes.
"""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.core.change import Change
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Stream
from stream_backup.core.stamp import FORMAT

EVENTS = Path(__file__).parents[1] / "events"
GOLDEN = Path(__file__).with_name(f"format-{FORMAT}.json")
ANNOUNCED = Path(__file__).with_name(f"format-{FORMAT}-announced.json")

LABEL = "2026-11-21T03:16:40.000"
ARN = f"arn:aws:dynamodb:eu-central-1:123456789012:table/T/stream/{LABEL}"
WRITTEN = 1795231960
"""When the first version of that archive was written; the others follow every 100 seconds."""

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


def announced() -> dict[str, Any]:
    """An archive by path: a stream whose writers announce, changes that were written on time and
    late, a scan, and what was announced for them."""
    clock = [float(WRITTEN)]
    store = MemoryStore(lambda: clock[0])
    archive = Archive(store, "", "T", clock=lambda: clock[0])
    catalog = Catalog(archive)
    stream = Stream(LABEL, ARN, "1", 1795231000, True, "function", 1795231001, announces=True)
    catalog.write_stream(stream)
    for change in changes().values():
        if change.stamp.kind == "scan":
            archive.put_baseline(archive.object_of(change), stream.floor, empty=True)
        else:
            archive.put(change)
        clock[0] += 100
    return {
        path: {
            "payload": b64encode(one.payload).decode(),
            "metadata": dict(one.metadata),
            "written": one.version.written,
        }
        for path, versions in sorted(store.objects.items())
        for one in versions[-1:]
    }


def _records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    if not path.exists():
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
        print(path)


if __name__ == "__main__":
    write(GOLDEN, {name: stored(change) for name, change in changes().items()})
    write(ANNOUNCED, announced())
