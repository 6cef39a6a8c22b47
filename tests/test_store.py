"""One conformance suite for every ObjectStore: the one in memory, and S3's with moto, ministack,
and SeaweedFS."""

import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stream_backup.archive import s3
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.s3 import S3Store, open_objects
from stream_backup.archive.selection import histories_of
from stream_backup.archive.store import ConflictError
from stream_backup.core.change import METADATA_LIMIT, Change, metadata_size
from stream_backup.core.item import digest
from stream_backup.core.slice import NameSlice
from stream_backup.core.stamp import Stamp
from tests.backends import STAND_INS, Backend, on
from tests.cli import Answer, proxy

CONFLICT: Answer = (409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")


def test_put_adds_a_version(backend: Backend) -> None:
    """A put always adds a version on top, and older versions stay readable."""
    for body in (b"one", b"two", b"two"):
        backend.store.put("T/a", body, {"body": body.decode()})
    assert backend.bodies("T/a") == [b"two", b"two", b"one"]
    assert len({version.version_id for version in backend.listed("T/a")}) == 3


def test_versions_say_what_a_listing_knows(backend: Backend) -> None:
    """A listed version has its path, its size, its MD5, and the second in which it was written."""
    backend.store.put("T/a", b"payload", {})
    (version,) = backend.listed("T/")
    assert version.path == "T/a"
    assert version.size == 7
    assert version.etag == digest(b"payload")
    assert isinstance(version.written, int)


def test_create_where_nothing_is(backend: Backend) -> None:
    """A create succeeds if there is no object."""
    assert backend.store.create("T/a", b"first", {"by": "create"})
    assert backend.bodies("T/a") == [b"first"]


def test_create_over_an_object(backend: Backend) -> None:
    """A create over an object fails and changes nothing, even if the object is a zero-byte
    tombstone."""
    backend.store.put("T/a", b"", {})
    assert not backend.store.create("T/a", b"second", {})
    assert backend.bodies("T/a") == [b""]


def test_create_over_a_delete_marker(backend: Backend) -> None:
    """A create succeeds over a delete marker, as in S3, and the version below it remains."""
    backend.store.put("T/a", b"old", {})
    backend.delete("T/a")
    assert backend.store.create("T/a", b"new", {})
    assert backend.bodies("T/a") == [b"new", b"old"]


def test_replace_what_was_read(backend: Backend) -> None:
    """A replace succeeds if the ETag is that of the current version."""
    backend.store.put("T/a", b"old", {})
    current = backend.store.current("T/a")
    assert current is not None
    assert backend.store.replace("T/a", b"new", {}, current.etag)
    assert backend.bodies("T/a") == [b"new", b"old"]


def test_replace_what_has_changed(backend: Backend) -> None:
    """A replace with the ETag of an earlier version fails and changes nothing."""
    backend.store.put("T/a", b"old", {})
    backend.store.put("T/a", b"newer", {})
    assert not backend.store.replace("T/a", b"late", {}, digest(b"old"))
    assert backend.bodies("T/a") == [b"newer", b"old"]


def test_replace_under_a_delete_marker(backend: Backend) -> None:
    """A replace fails if a delete marker is on top, and if there was never an object."""
    backend.store.put("T/a", b"old", {})
    backend.delete("T/a")
    assert not backend.store.replace("T/a", b"new", {}, digest(b"old"))
    assert not backend.store.replace("T/b", b"new", {}, digest(b"old"))
    assert backend.bodies("T/") == [b"old"]


def test_refused_puts_are_requests(backend: Backend) -> None:
    """A put that is refused is counted, because it costs the same as any other."""
    backend.store.put("T/a", b"1", {})
    backend.store.create("T/a", b"2", {})
    backend.store.replace("T/a", b"3", {}, digest(b"stale"))
    assert backend.store.requests == {"put": 3}


def test_current(backend: Backend) -> None:
    """The current version is the newest put. There is none before the first put, and none under a
    delete marker."""
    assert backend.store.current("T/a") is None
    backend.store.put("T/a", b"one", {"n": "1"})
    backend.store.put("T/a", b"two", {"n": "2"})
    assert backend.store.current("T/a") == (digest(b"two"), {"n": "2"})
    backend.delete("T/a")
    assert backend.store.current("T/a") is None


def test_zero_bytes(backend: Backend) -> None:
    """An object of zero bytes keeps its metadata, and the listing shows its size."""
    backend.store.put("T/a", b"", {"kind": "remove"})
    (version,) = backend.listed("T/a")
    assert version.size == 0
    assert backend.store.get("T/a", version.version_id) == (b"", {"kind": "remove"})


@pytest.mark.parametrize(
    "key", [{"id": {"S": 'two  spaces\x7f é \U0001f600\t"\\%2B+'}}, {"id": {"S": "x" * 1746}}]
)
def test_metadata_survives(backend: Backend, key: dict[str, dict[str, str]]) -> None:
    """Metadata up to S3's 2 KB is read back byte for byte, with the body or without it, and nothing
    is added to it."""
    change = Change(key, Stamp(1795231959, 10**39, 1795231959, "remove", "ttl", "f" * 32), None)
    assert metadata_size(change.metadata) <= METADATA_LIMIT
    assert "key" in change.metadata
    backend.store.put("T/a", change.payload, change.metadata)
    (version,) = backend.listed("T/a")
    assert backend.store.stat("T/a", version.version_id) == change.metadata
    assert backend.store.get("T/a", version.version_id) == (b"", change.metadata)


def test_each_version_has_its_own_metadata(backend: Backend) -> None:
    """Metadata belongs to a version: older versions keep theirs, even below a delete marker."""
    for n in "123":
        backend.store.put("T/a", b"same", {"n": n})
    backend.delete("T/a")
    found = [backend.store.stat("T/a", version.version_id) for version in backend.listed("T/a")]
    assert found == [{"n": "3"}, {"n": "2"}, {"n": "1"}]


def test_paths_in_order(backend: Backend) -> None:
    """Versions are listed in order of path, and the versions of one path together and newest first,
    whatever the order in which they were written."""
    for path in ("T/b", "T/a", "T/meta/x", "T/b", "T/a", "T/0"):
        backend.store.put(path, path.encode(), {})
    assert backend.paths("T/") == ["T/0", "T/a", "T/a", "T/b", "T/b", "T/meta/x"]
    assert backend.paths("T/a") == ["T/a", "T/a"]


def test_sibling_tables(backend: Backend) -> None:
    """A prefix with its slash matches neither a table whose name begins the same way nor a table
    under another prefix."""
    for path in ("Users/a", "UsersArchive/a", "Users-2/a", "eu/Users/a"):
        backend.store.put(path, b"x", {})
    assert backend.paths("Users/") == ["Users/a"]


def test_delete_markers_are_not_listed(backend: Backend) -> None:
    """Delete markers are not listed, and hide no versions below them."""
    for body in (b"1", b"2"):
        backend.store.put("T/a", body, {})
        backend.delete("T/a")
    backend.delete("T/never-written")
    assert backend.bodies("T/") == [b"2", b"1"]


def test_delete_markers_are_listed_on_request(backend: Backend) -> None:
    """Whoever asks for delete markers gets them, as what they are, with the time at which they were
    written, and above what they hide."""
    backend.store.put("T/a", b"1", {})
    backend.delete("T/a")
    backend.store.put("T/b", b"1", {})
    found = list(backend.store.versions("T/", markers=True))
    (marker,) = (each for each in found if each.marker)
    (hidden,) = (each for each in found if each.path == "T/a" and not each.marker)
    assert (marker.path, marker.size, marker.etag) == ("T/a", 0, "")
    assert 0 <= marker.written - hidden.written < 60
    assert marker.version_id not in ("", hidden.version_id)


def test_a_listing_begins_after_a_path(backend: Backend) -> None:
    """A listing can begin after a path, so that a walk goes on where it stopped. The path itself
    may be listed again."""
    for path in ("T/a", "T/b", "T/c", "U/d"):
        backend.store.put(path, b"1", {})
    for after, expected in (("T/a", ["T/b", "T/c"]), ("T/b", ["T/c"]), ("T/c", [])):
        found = [each.path for each in backend.store.versions("T/", after=after)]
        assert [path for path in found if path > after] == expected
        assert set(found) <= {after, *expected}


def test_binary_bodies(backend: Backend) -> None:
    """Bodies are read back byte for byte, up to the 400 KB that an item may have."""
    body = bytes(range(256)) * 1600
    backend.store.put("T/a", body, {})
    assert backend.bodies("T/a") == [body]


def test_nothing_there(backend: Backend) -> None:
    """An empty prefix lists nothing, with one request."""
    assert backend.listed("T/") == []
    assert backend.store.requests == {"list": 1}


def test_more_than_a_page(backend: Backend) -> None:
    """With more versions than fit on a page, none is lost or repeated, even if a page ends within
    one object."""
    names = [f"T/{n:03x}" for n in range(0, 1300, 13)]
    for _ in range(5):
        for name in names:
            backend.store.put(name, b"x", {})
    for _ in range(520):
        backend.store.put("T/800", b"y", {})
    backend.delete(names[50])
    found = backend.listed("T/")
    assert len(found) == len({version.version_id for version in found}) == 1020
    assert [version.path for version in found] == sorted(version.path for version in found)
    assert [version.size for version in found if version.path == "T/800"] == [1] * 520
    assert backend.store.requests["list"] == 1 + 1020 // backend.page


class Resetting(BaseHTTPRequestHandler):
    """An S3 server that resets the connection of the first put. With `arrived`, that put was done,
    and only its answer was lost."""

    protocol_version = "HTTP/1.1"
    arrived = False
    puts = 0

    def do_PUT(self) -> None:
        kind = type(self)
        kind.puts += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if kind.puts == 1:
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # closes with RST
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(412 if kind.arrived else 200)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"e"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("arrived", [False, True])
def test_a_put_under_a_condition_survives_a_connection_that_breaks(arrived: bool) -> None:
    """A conditional put is retried after its connection breaks, so that a backfill does not end. If
    the first try was done, the retry reports that the object exists."""
    kind: Any = type("Handler", (Resetting,), {"arrived": arrived, "puts": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        objects = open_objects(
            "b", endpoint=url, access_key_id="a", secret_access_key="s", region="us-east-1"
        )
        assert S3Store("b", objects).create("x", b"1", {}) is not arrived
        assert kind.puts == 2
    finally:
        server.shutdown()
        server.server_close()


# A conditional put that meets another operation: S3 answers 409, which says nothing about the path.


@pytest.mark.server
@pytest.mark.parametrize("stand_in", STAND_INS)
def test_a_conflict_does_not_mean_that_an_object_exists(
    request: pytest.FixtureRequest, stand_in: str
) -> None:
    """A create that S3 answers with 409 is tried again: it writes where nothing is, over a delete
    marker, and not over an object."""
    with proxy(request.getfixturevalue(f"{stand_in}_url")) as between:
        backend = on(between.aws)
        conflicts: Iterator[Answer] = iter(())
        between.rule = lambda asked: (
            next(conflicts, None) if asked.operation == "PutObject" else None
        )
        conflicts = iter([CONFLICT, CONFLICT])
        assert backend.store.create("T/a", b"first", {})
        conflicts = iter([CONFLICT])
        assert not backend.store.create("T/a", b"second", {})
        backend.delete("T/a")
        conflicts = iter([CONFLICT])
        assert backend.store.create("T/a", b"third", {})
        conflicts = iter([CONFLICT])
        backend.store.put("T/a", b"fourth", {})
        assert backend.bodies("T/a") == [b"fourth", b"third", b"first"]


@pytest.mark.server
def test_a_replace_that_meets_a_conflict_was_not_done(moto_url: str) -> None:
    """A replace that S3 keeps answering with 409 writes nothing and says so, for its caller looks
    again; one conflict is tried again."""
    with proxy(moto_url) as between:
        backend = on(between.aws)
        backend.store.put("T/a", b"old", {})
        between.rule = lambda asked: CONFLICT if asked.operation == "PutObject" else None
        assert not backend.store.replace("T/a", b"new", {}, digest(b"old"))
        assert backend.bodies("T/a") == [b"old"]
        conflicts = iter([CONFLICT])
        between.rule = lambda asked: (
            next(conflicts, None) if asked.operation == "PutObject" else None
        )
        assert backend.store.replace("T/a", b"new", {}, digest(b"old"))
        assert backend.bodies("T/a") == [b"new", b"old"]


@pytest.mark.server
def test_a_conflict_that_does_not_end(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When 409 is all that S3 answers, a put and a create end with an error."""
    monkeypatch.setattr(s3, "PATIENCE", 0.6)
    with proxy(moto_url) as between:
        backend = on(between.aws)
        between.rule = lambda asked: CONFLICT if asked.operation == "PutObject" else None
        with pytest.raises(ConflictError):
            backend.store.create("T/a", b"new", {})
        with pytest.raises(ConflictError):
            backend.store.put("T/a", b"new", {})
        assert backend.bodies("T/a") == []


def test_a_conflict_in_memory() -> None:
    """The store in memory plays a conflict: a create ends with an error and a replace is not done,
    whatever is on the path."""
    store = MemoryStore(lambda: 0)
    store.put("T/a", b"old", {})
    store.conflicts = lambda path: True
    for path in ("T/a", "T/b"):
        with pytest.raises(ConflictError):
            store.create(path, b"new", {})
        assert not store.replace(path, b"new", {}, digest(b"old"))
    assert [version.path for version in store.versions("T/")] == ["T/a"]


def test_a_slice_is_listed_wherever_it_begins_and_ends(backend: Backend) -> None:
    """The open names of a slice are listed once each with all their versions, in order, whatever
    digits the slice begins and ends with, and from every name on up to which it is done."""
    names = ["0" * 32, "00" + "f" * 30, "7f" + "0" * 30, "7f" + "f" * 30, "80" + "0" * 30]
    names += ["8" + "f" * 31, "9" + "0" * 31, "f" * 32]
    for name in names:
        for body in (b"1", b"2"):
            backend.store.put(f"T/{name}", body, {})
    archive = Archive(backend.store, "", "T")
    for whole in (NameSlice(), NameSlice("7f", "9"), NameSlice("008", "8f"), NameSlice("8")):
        held = [name for name in names if whole.holds(name)]
        for part in (whole, *map(whole.reached, held), *whole.split(3)):
            found = list(histories_of(archive, part))
            assert [each.name for each in found] == [name for name in names if part.is_open(name)]
            assert all(len(each.versions) == 2 for each in found)
