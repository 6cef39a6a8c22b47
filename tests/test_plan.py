"""One item's step in the plan of a rewind, where a listing's ETags say what it is now and where they do not."""

import pytest

from restore.plan import Rewind
from stream_backup.archive import Archive
from stream_backup.change import Change
from stream_backup.item import Item, digest, encode
from stream_backup.key import KeySchema
from stream_backup.memory import MemoryStore
from stream_backup.stamp import Stamp
from stream_backup.timeline import NEVER

T0 = 1795231959
KEY: Item = {"id": {"S": "a"}}


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(("now", "action"), [("then", "unchanged"), ("other", "put"), (None, "put")])
def test_what_was_changed_and_changed_back_is_unchanged(now: str | None, action: str, opaque: bool) -> None:
    """A dry run counts no row that already is as wanted, whether or not an ETag is the MD5 of the content (under SSE-KMS it is
    not)."""
    clock = [T0]
    archive = Archive(MemoryStore(lambda: clock[0]), "", "Users", KeySchema((("id", "S"),)))
    for text in ("then", "between", now):
        body = None if text is None else encode(KEY | {"text": {"S": text}})
        archive.put(Change(KEY, Stamp(clock[0], clock[0], clock[0], "remove" if body is None else "modify"), body))
        clock[0] += 100
    history = archive.history(KEY)
    if opaque:
        versions = tuple(version._replace(etag=digest(version.version_id.encode())) for version in history.versions)
        history = history._replace(versions=versions)
    assert Rewind(archive, T0 + 50, NEVER, NEVER).step(history).action == action
