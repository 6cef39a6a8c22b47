"""A table's archive over every kind of store: its layout, what it keeps, and what it refuses."""

import pytest

from stream_backup.archive import Archive, Location
from stream_backup.change import Change
from stream_backup.errors import ArchiveError, UsageError
from stream_backup.item import Item, encode
from stream_backup.key import KeySchema, key_hash
from stream_backup.stamp import Stamp
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
    """Each change put becomes a version of its item's object, and is read back the same, tombstones included."""
    changes = [change("a"), change("b", sequence=10**21 + 1), removal(T0 + 1)]
    for each in changes:
        archive.put(each)
    assert history(archive) == changes[::-1]
    (found,) = archive.histories()
    assert found.name == NAME
    assert {version.path for version in found.versions} == {f"eu/Users/{NAME}"}
    assert [version.size for version in found.versions] == [len(each.payload) for each in changes[::-1]]
    assert [archive.stat(version).stamp for version in found.versions] == [each.stamp for each in changes[::-1]]


def test_tombstone_with_a_long_key(backend: Backend) -> None:
    """A tombstone whose key fits no metadata is read back with its key from the body."""
    key: Item = {"pk": {"S": "é" * 1024}, "sk": {"B": "//8="}}
    archive = Archive(backend.store, "", "T", KeySchema((("pk", "S"), ("sk", "B"))))
    archive.put(removal(key=key))
    (version,) = archive.history(key).versions
    assert version.size > 0
    assert archive.read(version) == removal(key=key)


def test_histories_by_shard(archive: Archive) -> None:
    """The shards together give every history once, in order of name, and nothing of meta or a sibling table."""
    names = sorted(key_hash({"id": {"S": str(n)}}) for n in range(24))
    sibling = Archive(archive.store, "eu/", "UsersArchive", SCHEMA)
    for n in range(24):
        archive.put(change("x", name=str(n)))
    archive.write_meta("runs/1", {"complete": True})
    sibling.put(change("other table"))
    assert [found.name for found in archive.histories()] == names
    assert [found.name for shard in "0123456789abcdef" for found in archive.histories(shard)] == names


def test_foreign_objects_are_passed_over(archive: Archive, backend: Backend) -> None:
    """Objects that are none of ours do not disturb a listing, wherever they sort."""
    for name in ("README", f"{NAME}.bak", "0", "f" * 31, "g" * 32, NAME.upper(), "meta/x", "zzz"):
        backend.store.put(f"eu/Users/{name}", b"foreign", {})
    archive.put(change("ours"))
    assert [found.name for found in archive.histories()] == [NAME]
    assert history(archive) == [change("ours")]


def test_unknown_item(archive: Archive) -> None:
    """An item the archive never saw has a history without versions, and its name."""
    assert archive.history(KEY) == (NAME, ())


def test_delete_marker_hides_no_history(archive: Archive, backend: Backend) -> None:
    """An operator's delete takes nothing away: not the history, nor the records under meta."""
    archive.put(change("kept"))
    archive.write_meta("runs/1", {"complete": False})
    archive.write_meta("runs/1", {"complete": True})
    archive.write_meta("runs-of-others", {})
    for path in (f"eu/Users/{NAME}", "eu/Users/meta/runs/1.json"):
        backend.delete(path)
    assert history(archive) == [change("kept")]
    assert archive.read_meta("runs") == {"1": {"complete": True}}
    assert archive.read_one_meta("runs/1") == {"complete": True}
    assert archive.read_one_meta("runs/2") is None


def test_is_empty(archive: Archive) -> None:
    """An archive with records under meta and no item is empty."""
    archive.write_meta("table", {"name": "Users"})
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
    """What format 1 did not write, or not under this name, is an archive error that names the object, never a guess."""
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
    """A record under meta that is no JSON object is an archive error, never taken for an absent one."""
    store = in_memory().store
    store.put("Users/meta/runs/1.json", content, {})
    with pytest.raises(ArchiveError, match=r"meta/runs/1\.json"):
        Archive(store, "", "Users").read_meta("runs")


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
    """A prefix ends in exactly one slash, so that it takes in no sibling; the location prints without it."""
    assert Location.parse(text) == location
    assert Location.parse(str(Location.parse(text))) == location


@pytest.mark.parametrize("text", ["", "b", "s3://", "s3:///p", "https://b/p", "S3://b"])
def test_no_location(text: str) -> None:
    """What is no location is a usage error."""
    with pytest.raises(UsageError):
        Location.parse(text)
