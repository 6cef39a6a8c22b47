"""One item's step in the plan of a rewind, with ETags that identify its present content and with
ETags that do not."""

import pytest

from restore.plan import Rewind
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import NEVER

T0 = 1795231959
KEY: Item = {"id": {"S": "a"}}


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(
    ("now", "action"), [("then", "unchanged"), ("other", "put"), (None, "put")]
)
def test_what_was_changed_and_changed_back_is_unchanged(
    now: str | None, action: str, opaque: bool
) -> None:
    """A row that was changed and changed back is unchanged in the plan, whether or not ETags are
    MD5s (under SSE-KMS they are not)."""
    clock = [T0]
    archive = Archive(MemoryStore(lambda: clock[0]), "", "Users", KeySchema((("id", "S"),)))
    for text in ("then", "between", now):
        body = None if text is None else encode(KEY | {"text": {"S": text}})
        archive.put(
            Change(
                KEY,
                Stamp(clock[0], clock[0], clock[0], "remove" if body is None else "modify"),
                body,
            )
        )
        clock[0] += 100
    history = archive.history(KEY)
    if opaque:
        versions = tuple(
            version._replace(etag=digest(version.version_id.encode()))
            for version in history.versions
        )
        history = history._replace(versions=versions)
    assert Rewind(archive, T0 + 50, NEVER, NEVER).step(history).action == action
