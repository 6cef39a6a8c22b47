"""One item's step in the plan of a rewind, with ETags that identify its present content and with
ETags that do not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from restore.plan import Rebuild, Rewind, Step, Tally, steps
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws.capacity import ReadBudget
from stream_backup.cli.input import parse_key_of_any
from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.records import TableDescription
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import UsageError
from stream_backup.inspect.history import history, schemas_of
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rows import Rows

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
    listed = archive.history(KEY)
    if opaque:
        versions = tuple(
            version._replace(etag=digest(version.version_id.encode()))
            for version in listed.versions
        )
        listed = listed._replace(versions=versions)
    assert Rewind(archive, T0 + 50, NEVER, NEVER).step(listed).action == action


LIVES = [KeySchema((("id", "S"),)), KeySchema((("id", "S"), ("sort", "S")))]
ROWS: list[Item] = [KEY | {"text": {"S": "a"}}, KEY | {"sort": {"S": "b"}}]


def stored(schema: KeySchema, row: Item, at: int, *, removed: bool = False) -> Change:
    stamp = Stamp(at, 10**21 + at, at, "remove" if removed else "insert")
    return Change(schema.key_of(row), stamp, None if removed else encode(row))


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 0)])
def test_a_table_remade_with_another_key(old: int, new: int, removed: bool) -> None:
    """A late record of the old life of a table does not keep the new one from being restored,
    rewound or verified, although its body does not have the new key; nor does a record of the new
    life that was written right after a moment keep the old one from being restored."""
    clock = [T0]
    archive = Archive(MemoryStore(lambda: clock[0]), "", "Users", LIVES[new])
    older = Archive(archive.store, "", "Users", LIVES[old])
    older.put(stored(LIVES[old], ROWS[old], T0 - 50))
    floor = T0 + 2
    clock[0] = T0 + 3
    archive.put(stored(LIVES[new], ROWS[new], floor))
    clock[0] = T0 + 20
    late = ROWS[old] | {"late": {"BOOL": True}}
    older.put(stored(LIVES[old], late, T0 - 10, removed=removed))

    def planned(archive: Archive, plan: Rebuild | Rewind) -> list[Step]:
        with ThreadPoolExecutor(1) as pool:
            tally = Tally()
            found = list(steps(plan, archive.histories(), pool, tally))
        assert tally.unreadable == []
        return [step for step in found if step.action == "put"]

    for moment in (floor, T0 + 15, T0 + 100):
        (step,) = planned(archive, Rebuild(archive, moment, floor))
        assert step.body == encode(ROWS[new])
        assert planned(archive, Rebuild(archive, moment, floor, bodies=False))
        assert planned(archive, Rewind(archive, moment, floor, floor)) == []
    (step,) = planned(older, Rebuild(older, T0 - 20, T0 - 100))
    assert step.body == encode(ROWS[old])


def test_a_late_record_of_another_key_is_not_unreadable() -> None:
    """`verify` leaves out what is stamped before the floor, whatever its key is."""
    clock = [T0 + 20]
    archive = Archive(MemoryStore(lambda: clock[0]), "", "Users", LIVES[1])
    archive.put(stored(LIVES[0], ROWS[0], T0 - 10))
    found = Findings()
    with ThreadPoolExecutor(1) as pool:
        looks = Looks(cast(Any, None), archive, pool, ReadBudget(None), Event(), found, T0)
        with closing(Rows()) as rows:
            left = looks.compare(rows, lambda _: None)
    for spool in left:
        spool.close()
    assert sum(spool.count for spool in left) == 0
    assert dict(found.counts) == {"gone": 1}


def test_history_knows_every_key_that_the_table_had() -> None:
    """A key of an earlier table with the same name is read with the earlier table's key schema, and
    a key that fits none is refused in the words of the newest."""
    archive = Archive(MemoryStore(lambda: T0), "", "Users")
    for label, schema in zip("abc", [LIVES[0], LIVES[1], LIVES[1]], strict=True):
        defined = [{"AttributeName": name, "AttributeType": "S"} for name, _ in schema.attributes]
        keys = [
            {"AttributeName": name, "KeyType": kind}
            for (name, _), kind in zip(schema.attributes, ("HASH", "RANGE"), strict=False)
        ]
        table = {"AttributeDefinitions": defined, "KeySchema": keys}
        Catalog(archive).write_description(label, TableDescription.of({"Table": table}))
    connection = cast(Any, SimpleNamespace(archive=lambda _: archive))
    schemas = schemas_of(connection, "Users")
    assert schemas == [LIVES[1], LIVES[0]]
    assert parse_key_of_any('{"id": "a"}', schemas) == (KEY, LIVES[0])
    assert parse_key_of_any('{"id": "a", "sort": "b"}', schemas)[1] == LIVES[1]
    with pytest.raises(UsageError, match="'x' is not a key attribute") as raised:
        parse_key_of_any('{"x": "a"}', schemas)
    assert "sort" in raised.value.hint
    old = stored(LIVES[0], ROWS[0], T0)
    archive.put(old)
    (event,) = history(Archive(archive.store, "", "Users", LIVES[0]), KEY)
    assert event.item == ROWS[0]
