"""Defects of other backup tools: a backfill that covers a newer change, brings back a removed item,
or writes everything again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.store import ConflictError, Current
from stream_backup.core.change import Change
from tests.backends import Backend
from tests.test_archive import KEY, SCHEMA, T0, change, history, removal


def scanned(text: str, asked: int = T0, floor: int = 0) -> Change:
    return Change.scanned({**KEY, "text": {"S": text}}, SCHEMA, asked, asked + 1, floor)


@pytest.fixture
def archive(backend: Backend) -> Archive:
    return Archive(backend.store, "eu/", "Users", SCHEMA)


def test_baseline_where_nothing_is(archive: Archive) -> None:
    """A scanned item is written if the archive has none, and a second run writes nothing."""
    for empty in (True, False):
        assert (
            archive.put_baseline(archive.object_of(scanned("row")), T0 - 100, empty=empty) is empty
        )
    assert history(archive) == [scanned("row")]


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("newer", [change("streamed"), removal(), change("late", at=T0 - 100)])
def test_baseline_never_covers_this_epoch(archive: Archive, newer: Change, empty: bool) -> None:
    """A streamed change or tombstone of this epoch, including one stamped at its floor, is never
    covered by a scan."""
    archive.put(newer)
    assert not archive.put_baseline(archive.object_of(scanned("stale row")), T0 - 100, empty=empty)
    assert history(archive) == [newer]


@pytest.mark.parametrize(
    "older", [change("old life", at=T0 - 101), removal(at=T0 - 101), scanned("old run", T0 - 200)]
)
def test_baseline_replaces_an_older_life(archive: Archive, older: Change) -> None:
    """A version stamped before the floor is covered, because each epoch needs its own baseline."""
    archive.put(older)
    row = scanned("row", floor=T0 - 100)
    assert archive.put_baseline(archive.object_of(row), T0 - 100, empty=False)
    assert history(archive) == [row, older]


@pytest.mark.parametrize(("empty", "looks"), [(True, 0), (False, 1)])
def test_baseline_of_an_empty_archive_never_looks(empty: bool, looks: int) -> None:
    """If the archive was empty when the stream began, nothing older can exist, so no HEAD request
    is sent."""
    archive = Archive(Racing(), "", "Users", SCHEMA, lambda: T0)
    archive.put(change("streamed"))
    archive.put_baseline(archive.object_of(scanned("row")), T0 - 100, empty=empty)
    assert archive.store.requests["head"] == looks
    assert archive.store.requests["put"] == 2


def test_baseline_over_a_delete_marker(archive: Archive, backend: Backend) -> None:
    """A stray delete marker does not prevent a scanned item from being written."""
    archive.put(change("old life", at=T0 - 101))
    backend.delete(backend.paths("eu/Users/")[0])
    assert archive.put_baseline(archive.object_of(scanned("row")), T0 - 100, empty=False)
    assert len(history(archive)) == 2


class Racing(MemoryStore):
    """A store in which another writer acts after each read of the current version, while `others`
    is not empty."""

    def __init__(self) -> None:
        super().__init__(lambda: T0)
        self.others: list[Change | None] = []
        self.deletes_first = False

    def current(self, path: str) -> Current | None:
        if self.deletes_first:
            self.delete(path)
        found = super().current(path)
        if self.others:
            other = self.others.pop(0)
            if other is None:
                self.delete(path)
            else:
                self.put(path, other.payload, other.metadata)
        return found


@pytest.mark.parametrize(
    ("others", "written"),
    [
        ([change("late old record", at=T0 - 101)], True),
        ([change("late old record", at=T0 - 101), removal(at=T0 - 102)], True),
        ([change("streamed")], False),
        ([change("late old record", at=T0 - 101), removal()], False),
        ([None], True),
        ([None, None], True),
    ],
)
def test_baseline_that_loses_a_race_looks_again(others: list[Change | None], written: bool) -> None:
    """When another writer acts between the read and the put, the baseline is written on top of old
    records and never on top of new ones."""
    store = Racing()
    archive = Archive(store, "", "Users", SCHEMA)
    archive.put(change("old life", at=T0 - 200))
    store.others = list(others)
    row = scanned("row")
    assert archive.put_baseline(archive.object_of(row), T0 - 100, empty=False) is written
    newest = archive.read(archive.history(KEY).versions[0])
    assert newest == (row if written else others[-1])


def test_delete_marker_between_put_and_look() -> None:
    """A delete marker that is added between the refused put and the read does not prevent the
    scanned item from being written."""
    store = Racing()
    archive = Archive(store, "", "Users", SCHEMA)
    archive.put(change("old life", at=T0 - 200))
    store.deletes_first = True
    assert archive.put_baseline(archive.object_of(scanned("row")), T0 - 100, empty=False)
    assert archive.read(archive.history(KEY).versions[0]) == scanned("row")


@pytest.mark.parametrize("empty", [True, False])
@given(conflicts=st.lists(st.booleans(), max_size=6), existing=st.integers(-1, 2))
def test_baseline_that_meets_conflicts(empty: bool, conflicts: list[bool], existing: int) -> None:
    """Whatever puts S3 answers with 409, a scanned item that is reported as existing has a version
    of this epoch, and one that is reported as written is on top."""
    store = MemoryStore(lambda: T0)
    archive = Archive(store, "", "Users", SCHEMA)
    there = [change("streamed"), removal(), change("old life", at=T0 - 101)]
    if existing >= 0 and (existing < 2 or not empty):
        archive.put(there[existing])
    row, left = scanned("row"), iter(conflicts)
    store.conflicts = lambda _: next(left, False)
    while True:
        try:
            written = archive.put_baseline(archive.object_of(row), T0 - 100, empty=empty)
        except ConflictError:
            continue  # the item counts as failed, and the next run reads it again
        break
    newest = archive.read(archive.history(KEY).versions[0])
    assert (newest == row) is written
    assert newest.stamp.at >= T0 - 100
