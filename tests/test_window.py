"""The window engine: what changed between two moments, compared with a reading of every version."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import enumerate as enumerate_threads

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import SLICES, merge_slices
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import NEVER, Lateness
from stream_backup.errors import ArchiveError, LatenessError
from stream_backup.inspect.window import Changed, Examined, Window, changes
from stream_backup.progress import Silent
from tests import histories as drawn
from tests.histories import DAY, T0, Written
from tests.profiles import histories

SCHEMA = KeySchema((("id", "S"),))
KEYS: dict[bool, Item] = {False: {"id": {"S": "a"}}, True: {"id": {"S": "a" * 2040}}}
"""By whether a tombstone has a body: the long key does not fit in the metadata."""


class Bucket:
    """An archive in memory whose versions are written at any second."""

    def __init__(self) -> None:
        self.now = T0
        self.store = MemoryStore(lambda: self.now)
        self.archive = Archive(self.store, "", "T", SCHEMA, lambda: self.now)

    def put(self, change: Change, written: int) -> None:
        self.now = written
        self.store.put(*self.archive.object_of(change))


def stored(versions: list[Written], *, bodies: int, long: bool) -> Bucket:
    """Returns an archive with these versions of one item. A version's content is one of `bodies`,
    so that the item may end as it began."""
    found = Bucket()
    for each in versions:
        stamp = each.stamp
        removed = stamp.removes
        text = str((stamp.at * 7 + stamp.sequence) % bodies)
        body = None if removed else encode(KEYS[long] | {"v": {"S": text}})
        found.put(Change(KEYS[long], stamp, body), each.written)
    return found


def exhaustive(archive: Archive, since: int, until: int, floor: int) -> list[Changed]:
    """The definition: every version of every item is read."""
    found = []
    for history in archive.histories():
        every = [archive.read(version) for version in history.versions]
        counting = [each for each in every if each.stamp.at >= floor]

        def at(moment: int, counting: list[Change] = counting) -> Change | None:
            seen = [each for each in counting if each.stamp.seen <= moment]
            return max(seen, key=lambda each: each.stamp.rank, default=None)

        before, after = at(since), at(until)
        stamps = {
            each.stamp.rank: each.stamp
            for each in counting
            if each.stamp.sequence and since < each.stamp.at <= until
        }
        bodies = before.body if before else None, after.body if after else None
        if stamps or bodies[0] != bodies[1]:
            ordered = [stamps[rank] for rank in sorted(stamps)]
            if not ordered:
                ordered = [each.stamp for each in [after or before] if each]
            key = {} if bodies == (None, None) else every[0].key
            found.append(Changed(history.name, key, *bodies, tuple(ordered), history))
    return found


def compared(found: Changed | None) -> object:
    """What must be equal: the key of an item that existed neither before nor after may be
    unknown."""
    if found is None:
        return None
    existed = found.before or found.after
    return found.name, existed and found.key, found.before, found.after, found.stamps


def check(bucket: Bucket, since: int, until: int, floor: int, lateness: Lateness) -> None:
    expected = exhaustive(bucket.archive, since, until, floor)
    window = Window(bucket.archive, since, until, floor, floor, lateness)
    for history in bucket.archive.histories():
        before = bucket.store.requests.copy()
        found = window.changed(history)
        spent = bucket.store.requests - before
        assert compared(found) == next(
            (compared(each) for each in expected if each.name == history.name), None
        )
        # Each version is read at most once, but a body is fetched where only a stamp was read.
        assert spent["get"] + spent["head"] <= len(history.versions) + 2


spans = st.sampled_from([1, 2, 60, 299, 3600, DAY, 9 * DAY])
bodies = st.integers(1, 3)


@histories(1500)
@given(history=st.one_of(drawn.histories(), drawn.announced()), span=spans, bodies=bodies,
       long=st.booleans())  # fmt: skip
def test_a_window_equals_an_exhaustive_reading(
    history: tuple[list[Written], int, int, Lateness], span: int, bodies: int, long: bool
) -> None:
    """Whatever was delivered late, early, repeatedly or out of order, a window finds the same
    change of each item as a reading of every version; by the wide bound and by what was
    announced."""
    versions, moment, floor, lateness = history
    bucket = stored(versions, bodies=bodies, long=long)
    check(bucket, moment - span, moment, floor, lateness)
    check(bucket, moment, moment + span, floor, lateness)


@histories(400)
@given(history=st.one_of(drawn.histories(), drawn.announced()), bodies=bodies, long=st.booleans())
def test_what_happened_since_a_window(
    history: tuple[list[Written], int, int, Lateness], bodies: int, long: bool
) -> None:
    """Since a window, an item has every version stamped after it, each once and in order, and its
    present is its highest version."""
    versions, moment, floor, lateness = history
    bucket = stored(versions, bodies=bodies, long=long)
    window = Window(bucket.archive, moment - 3600, moment, floor, floor, lateness)
    (listed,) = bucket.archive.histories()
    found = window.changed(listed)
    if found is None:
        return
    every = [bucket.archive.read(version) for version in listed.versions]
    later = {
        (each.stamp.rank, each.stamp.seen): each.body for each in every if each.stamp.at > moment
    }
    counting = [each for each in every if each.stamp.at >= floor]
    since = window.after(found, floor)
    assert [each.body for each in since.changes] == [later[rank] for rank in sorted(later)]
    assert since.present == max(counting, key=lambda each: each.stamp.rank).body


def change(second: int, text: str | None, kind: Kind = "modify", name: str = "a") -> Change:
    key: Item = {"id": {"S": name}}
    body = None if text is None else encode(key | {"v": {"S": text}})
    return Change(key, Stamp(second, 10**21 + second, second, kind, announced=True), body)


def test_bodies_are_read_only_of_items_that_may_have_changed() -> None:
    """An item without a version in the window costs its share of a listing, and nothing else; one
    with a change costs the two bodies."""
    bucket = Bucket()
    for number in range(50):
        bucket.put(change(T0, "old", name=f"before {number}"), T0)
        bucket.put(change(T0 + 9000, "new", "insert", name=f"after {number}"), T0 + 9000)
    bucket.put(change(T0, "good", name="damaged"), T0)
    bucket.put(change(T0 + 3600, "bad", name="damaged"), T0 + 3600)
    lateness = Lateness(announces=True)
    window = Window(bucket.archive, T0 + 3000, T0 + 4000, NEVER, NEVER, lateness)
    examined = Examined()
    bucket.store.requests.clear()
    with ThreadPoolExecutor(2) as pool:
        (found,) = changes(window, Selection(bucket.archive), pool, examined, Silent())
    assert (found.before, found.after) == (change(0, "good", name="damaged").body,
                                           change(0, "bad", name="damaged").body)  # fmt: skip
    assert (found.first, found.last, found.kinds, found.by) == (
        T0 + 3600, T0 + 3600, ("modify",), ()
    )  # fmt: skip
    assert bucket.store.requests == {"list": len(SLICES), "get": 2}
    assert examined.versions == 102


def test_a_hot_item_transfers_two_bodies() -> None:
    """Of an item that changed a hundred times in the window, the stamps are read, and two
    bodies."""
    bucket = Bucket()
    for second in range(0, 6000, 60):
        bucket.put(change(T0 + second, str(second)), T0 + second)
    window = Window(bucket.archive, T0 + 560, T0 + 5990, NEVER, NEVER, Lateness(announces=True))
    bucket.store.requests.clear()
    (history,) = bucket.archive.histories()
    found = window.changed(history)
    assert found
    assert len(found.stamps) == 90
    assert (found.first, found.last) == (T0 + 600, T0 + 5940)
    assert bucket.store.requests["get"] == 2
    assert bucket.store.requests["head"] == 89


def test_a_moment_of_an_early_skewed_clock() -> None:
    """A change stamped after the window's last second that S3's clock wrote before is not in it."""
    bucket = Bucket()
    bucket.put(change(T0, "old"), T0)
    bucket.put(change(T0 + 104, "new"), T0 + 100)
    for until, expected in ((T0 + 103, None), (T0 + 104, change(0, "new").body)):
        window = Window(bucket.archive, T0 + 50, until, NEVER, NEVER)
        (history,) = bucket.archive.histories()
        found = window.changed(history)
        assert (found and found.after) == expected


def test_an_unreadable_version_is_counted_and_the_others_found() -> None:
    """An item whose version is not in format 1 does not hide the others."""
    bucket = Bucket()
    bucket.put(change(T0 + 60, "new"), T0 + 60)
    bad = change(T0 + 60, "new", name="b")
    bucket.store.put(bucket.archive.object_of(bad).path, b"{}", {"format": "99"})
    window = Window(bucket.archive, T0, T0 + 90, NEVER, NEVER)
    examined = Examined()
    with ThreadPoolExecutor(2) as pool:
        (found,) = changes(window, Selection(bucket.archive), pool, examined, Silent())
    assert found.key == {"id": {"S": "a"}}
    assert len(examined.unreadable) == 1


def test_a_version_that_contradicts_what_was_announced_is_an_error() -> None:
    """A version in the window by a writer that does not announce, although its stream's do, is an
    error: others like it may have been passed over."""
    bucket = Bucket()
    silent = change(T0 + 4000, "new")
    bucket.now = T0 + 4000
    bucket.store.put(f"T/{silent.name}", silent.payload, silent.metadata)
    bucket.put(change(T0 + 8000, "newer"), T0 + 8000)
    window = Window(bucket.archive, T0, T0 + 9000, NEVER, NEVER, Lateness(announces=True))
    (history,) = bucket.archive.histories()
    with pytest.raises(LatenessError):
        window.changed(history)


def test_a_tombstone_is_believed_only_when_it_was_read() -> None:
    """The stamp of a removal in the window is read, and not taken from the listing."""
    bucket = Bucket()
    bucket.put(change(T0, "old"), T0)
    bucket.put(change(T0 + 60, None, "remove"), T0 + 70)
    window = Window(bucket.archive, T0 + 30, T0 + 2 * DAY, NEVER, NEVER, Lateness(announces=True))
    (history,) = bucket.archive.histories()
    found = window.changed(history)
    assert found
    assert (found.first, found.kinds, found.after) == (T0 + 60, ("remove",), None)
    assert found.key == {"id": {"S": "a"}}


def test_slices_are_merged_and_closed_early() -> None:
    """Results of all slices arrive, an error of one ends all, and a consumer that stops early
    leaves no thread behind."""
    assert sorted(merge_slices(lambda part: iter([part] * 3), SLICES, 2)) == sorted(SLICES * 3)

    def failing(part: str) -> Iterator[str]:
        yield part
        if part == "7":
            raise ArchiveError("unreadable")

    with pytest.raises(ArchiveError, match="unreadable"):
        list(merge_slices(failing, SLICES, 2))

    def endless(part: str) -> Iterator[str]:
        while True:
            yield part

    found = merge_slices(endless, SLICES, 2)
    assert next(found) in SLICES
    assert isinstance(found, Generator)
    found.close()
    assert not [each for each in enumerate_threads() if each.name.startswith("slice-")]
