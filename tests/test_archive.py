"""A table's archive in every kind of store: its layout, what it stores, and what it refuses."""

import pytest

from stream_backup.archive.layout import Archive
from stream_backup.archive.location import Location
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.stamp import Stamp
from stream_backup.errors import ArchiveError, UsageError
from tests.backends import Backend, in_memory

SCHEMA = KeySchema((("id", "S"),))
T0 = 1795231959
KEY: Item = {"id": {"S": "record-1"}}
NAME = "ee2bdf43ab8f10ad6c66546714da218b"


def change(text: str, at: int = T0, sequence: int = 10**21, name: str = "record-1") -> Change:
    item: Item = {"id": {"S": name}, "text": {"S": text}}
    return Change({"id": {"S": name}}, Stamp(at, sequence, at, "modify"), encode(item))


def removal(at: int = T0, sequence: int = 10**21, key: Item = KEY) -> Change:
    return Change(key, Stamp(at, sequence, at, "remove"), None)


@pytest.fixture
def archive(backend: Backend) -> Archive:
    return Archive(backend.store, "eu/", "Users", SCHEMA)


def history(archive: Archive) -> list[Change]:
    return [archive.read(version) for version in archive.history(KEY).versions]


def test_put_and_read(archive: Archive) -> None:
    """Each put adds a version of the item's object, and all changes are read back unchanged,
    including tombstones."""
    changes = [change("a"), change("b", sequence=10**21 + 1), removal(T0 + 1)]
    for each in changes:
        archive.put(each)
    assert history(archive) == changes[::-1]
    (found,) = archive.histories()
    assert found.name == NAME
    assert {version.path for version in found.versions} == {f"eu/Users/{NAME}"}
    assert [version.size for version in found.versions] == [
        len(each.payload) for each in changes[::-1]
    ]
    assert [archive.stat(version).stamp for version in found.versions] == [
        each.stamp for each in changes[::-1]
    ]


def test_tombstone_with_a_long_key(backend: Backend) -> None:
    """A tombstone whose key does not fit in the metadata is read back with its key from the
    body."""
    key: Item = {"pk": {"S": "é" * 1024}, "sk": {"B": "//8="}}
    archive = Archive(backend.store, "", "T", KeySchema((("pk", "S"), ("sk", "B"))))
    archive.put(removal(key=key))
    (version,) = archive.history(key).versions
    assert version.size > 0
    assert archive.read(version) == removal(key=key)


def test_histories_by_shard(archive: Archive) -> None:
    """All slices together give every history once, in order of name, without records under meta/
    and without other tables."""
    names = sorted(key_hash({"id": {"S": str(n)}}) for n in range(24))
    sibling = Archive(archive.store, "eu/", "UsersArchive", SCHEMA)
    for n in range(24):
        archive.put(change("x", name=str(n)))
    archive.meta.write("runs/1", {"complete": True})
    sibling.put(change("other table"))
    assert [found.name for found in archive.histories()] == names
    assert [
        found.name for shard in "0123456789abcdef" for found in archive.histories(shard)
    ] == names


def test_foreign_objects_are_passed_over(archive: Archive, backend: Backend) -> None:
    """Objects of other programs do not disturb a listing, wherever they sort."""
    for name in ("README", f"{NAME}.bak", "0", "f" * 31, "g" * 32, NAME.upper(), "meta/x", "zzz"):
        backend.store.put(f"eu/Users/{name}", b"foreign", {})
    archive.put(change("ours"))
    assert [found.name for found in archive.histories()] == [NAME]
    assert history(archive) == [change("ours")]


def test_unknown_item(archive: Archive) -> None:
    """An item that was never archived has a history with its name and no versions."""
    assert archive.history(KEY) == (NAME, ())


def test_delete_marker_hides_no_history(archive: Archive, backend: Backend) -> None:
    """A deletion by an operator hides neither the history nor the records under meta/."""
    archive.put(change("kept"))
    archive.meta.write("runs/1", {"complete": False})
    archive.meta.write("runs/1", {"complete": True})
    archive.meta.write("runs-of-others", {})
    for path in (f"eu/Users/{NAME}", "eu/Users/meta/runs/1.json"):
        backend.delete(path)
    assert history(archive) == [change("kept")]
    assert archive.meta.read("runs") == {"1": {"complete": True}}
    assert archive.meta.read_one("runs/1") == {"complete": True}
    assert archive.meta.read_one("runs/2") is None


def test_is_empty(archive: Archive) -> None:
    """An archive with records under meta/ and without items is empty."""
    archive.meta.write("table", {"name": "Users"})
    assert archive.is_empty()
    archive.put(removal())
    assert not archive.is_empty()


GOOD = change("x")


@pytest.mark.parametrize(
    ("payload", "metadata"),
    [
        (GOOD.payload, {}),
        (GOOD.payload, GOOD.metadata | {"format": "2"}),
        (GOOD.payload, GOOD.metadata | {"at": "soon"}),
        (b"", GOOD.metadata),
        (b"not json", GOOD.metadata),
        (b"[]", GOOD.metadata),
        (b"\xff\xfe", GOOD.metadata),
        (b'{"text":{"S":"no key"}}', GOOD.metadata),
        (b'{"id":{"S":"another key"}}', GOOD.metadata),
        (b'{"id":{"SS":["no key type"]}}', GOOD.metadata),
        (b"", removal().metadata | {"key": '{"id":{"S":"another"}}'}),
        (b"", removal().metadata | {"key": "[1]"}),
        (b"", removal().metadata | {"key": "not json"}),
        (b"", removal().stamp.metadata()),
    ],
)
def test_foreign_version_is_refused(payload: bytes, metadata: dict[str, str]) -> None:
    """A version that format 1 cannot have written under this name is an archive error that names
    the object."""
    store = in_memory().store
    store.put(f"Users/{NAME}", payload, metadata)
    archive = Archive(store, "", "Users", SCHEMA)
    (version,) = archive.history(KEY).versions
    with pytest.raises(ArchiveError, match=NAME):
        archive.read(version)


def test_foreign_stamp_is_refused() -> None:
    """A version without a stamp is an archive error wherever its stamp is needed."""
    store = in_memory().store
    store.put(f"Users/{NAME}", GOOD.payload, {"owner": "somebody"})
    archive = Archive(store, "", "Users", SCHEMA)
    with pytest.raises(ArchiveError, match="format"):
        archive.stat(archive.history(KEY).versions[0])
    with pytest.raises(ArchiveError, match="format"):
        archive.put_baseline(archive.object_of(GOOD), T0, empty=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null"])
def test_broken_record_is_refused(content: bytes) -> None:
    """A record under meta/ that is not a JSON object is an archive error, and is not treated as
    missing."""
    store = in_memory().store
    store.put("Users/meta/runs/1.json", content, {})
    with pytest.raises(ArchiveError, match=r"meta/runs/1\.json"):
        Archive(store, "", "Users").meta.read("runs")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("s3://b", ("b", "")),
        ("s3://b/", ("b", "")),
        ("s3://b/p", ("b", "p/")),
        ("s3://b/p/q/", ("b", "p/q/")),
        ("s3://b/p//", ("b", "p/")),
    ],
)
def test_location(text: str, location: tuple[str, str]) -> None:
    """A prefix ends with exactly one slash, so that it does not match other prefixes that begin the
    same way. The location is printed without the slash."""
    assert Location.parse(text) == location
    assert Location.parse(str(Location.parse(text))) == location


@pytest.mark.parametrize("text", ["", "b", "s3://", "s3:///p", "https://b/p", "S3://b"])
def test_no_location(text: str) -> None:
    """An invalid location is a usage error."""
    with pytest.raises(UsageError):
        Location.parse(text)
