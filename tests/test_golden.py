"""Law 10: everything that was stored in format 1 stays readable, and the present code writes the
same bytes."""

import json
from base64 import b64decode
from typing import Any

import pytest

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.core.change import Change
from stream_backup.core.item import encode
from stream_backup.core.key import key_hash
from stream_backup.core.stamp import Stamp
from tests.golden.make import ANNOUNCED, GOLDEN, LABEL, announced, changes, schema_of, stored

FILES: dict[str, Any] = json.loads(GOLDEN.with_name("format-1.json").read_text())

each = pytest.mark.parametrize("name", sorted(FILES))


def test_same_bytes_are_written() -> None:
    """The present code writes every kind of version byte for byte as the first release did."""
    assert {name: stored(change) for name, change in changes().items()} == FILES


@each
def test_readable(name: str) -> None:
    """A stored version is read back as the same change, from its bytes and metadata alone."""
    old = FILES[name]
    change = Change.stored(b64decode(old["payload"]), old["metadata"], schema_of(old["key"]))
    assert key_hash(change.key) == old["name"]
    assert change.stamp == changes()[name].stamp
    assert change.body == changes()[name].body


@each
def test_readable_in_place(name: str) -> None:
    """A stored version is readable in an archive under its name, with and without the table's
    schema."""
    old = FILES[name]
    store = MemoryStore(lambda: 1795240000)
    store.put(f"T/{old['name']}", b64decode(old["payload"]), old["metadata"])
    for schema in (None, schema_of(old["key"])):
        archive = Archive(store, "", "T", schema)
        (version,) = archive.history(old["key"]).versions
        assert archive.read(version).stamp == archive.stat(version).stamp == changes()[name].stamp


@each
def test_what_a_listing_shows(name: str) -> None:
    """A listing alone shows a tombstone by its zero bytes, unless its key was too long for the
    metadata."""
    size = len(b64decode(FILES[name]["payload"]))
    removed = FILES[name]["metadata"]["kind"] == "remove"
    assert (size == 0) == (removed and name != "remove_long")


def test_body_is_the_item_and_nothing_else() -> None:
    """A body is canonical DynamoDB JSON without a wrapper, so that any tool can read it."""
    body = b64decode(FILES["composite_key"]["payload"])
    assert body == b'{"pk":{"S":"user#1"},"sk":{"N":"42"},"total":{"N":"19.9"}}'
    assert body == encode(json.loads(body))


def test_metadata_by_hand() -> None:
    """The names and values of a stamp are those in the format document."""
    assert FILES["ttl_expiry"]["metadata"] == {
        "format": "1",
        "kind": "remove",
        "at": "1795232000",
        "sequence": "4421584500000000017450439135",
        "seen": "1795232000",
        "by": "ttl",
        "before": "bd8c9b18b2650f4a64cbe52830af0e73",
        "key": '{"id":{"S":"session-9"}}',
    }
    assert FILES["scan"]["metadata"] == {
        "format": "1",
        "kind": "scan",
        "at": "1795231895",
        "sequence": "0",
        "seen": "1795231908",
    }


HELD: dict[str, Any] = json.loads(ANNOUNCED.with_name("format-1-announced.json").read_text())


def test_same_archive_is_written() -> None:
    """Today's code announces and marks what it writes as the first release that announced did."""
    assert announced() == HELD


def test_an_archive_that_announces_is_readable() -> None:
    """Its stream says so, its versions carry the mark, and what was announced is known for the hour
    in which versions were late."""
    store = MemoryStore(lambda: 1795240000)
    for path, found in HELD.items():
        store.put(path, b64decode(found["payload"]), found["metadata"])
    catalog = Catalog(Archive(store, "", "T"))
    (stream,) = catalog.streams()
    assert (stream.label, stream.announces) == (LABEL, True)
    assert catalog.lateness(1795240000).announced == {1795230000: 2048}
    marked = [found for path, found in HELD.items() if "/meta/" not in path]
    assert len({found["metadata"]["kind"] for found in marked}) == 4
    for found in marked:
        assert Stamp.of(found["metadata"]).announced
        assert "announced" not in Stamp.of(found["metadata"]).metadata()


def test_an_archive_that_does_not_announce_has_no_mark() -> None:
    """A version of the first release is not taken for one whose writer announces."""
    assert not any(Stamp.of(found["metadata"]).announced for found in FILES.values())
