"""Law 7: the short walk over a listing gives exactly the answer that reading every version would
give."""

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stream_backup.core.as_of import item_at
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import LATE, NEVER, SKEW, Lateness, latest_stamp
from stream_backup.core.version import Version
from tests.histories import (
    DAY,
    T0,
    Bucket,
    Written,
    announced,
    answer,
    bucket,
    histories,
    reference,
    streamed,
)


@settings(max_examples=500)
@given(st.one_of(histories(), announced()))
def test_short_walk_equals_exhaustive(drawn: tuple[list[Written], int, int, Lateness]) -> None:
    """Law 7: for every moment and floor, item_at returns the highest-ranked version that counts,
    however late, early, often, or out of order versions were written, and whatever was announced.
    It reads no version twice."""
    stored, moment, floor, lateness = drawn
    held = bucket(*stored)
    found = item_at(held.versions(), moment, floor, held.read, lateness)
    expected = reference(stored, moment, floor)
    event(
        f"answer {'present' if expected else 'absent'}, reads {min(held.reads.total(), 3)} of"
        f" {min(len(stored), 4)}"
    )
    assert getattr(answer(found), "rank", None) == getattr(expected, "rank", None)
    assert (
        answer(found) == expected or (answer(found) or Stamp(0, 0, 0, "scan")).sequence == 0
    )  # two scans may tie
    assert set(held.reads.values()) <= {1}


def test_a_tombstone_of_a_scan_counts_when_its_interval_is_over() -> None:
    """A tombstone of a row that was found missing has the interval of a scan, which may end after
    the last second that a streamed change written then can be stamped. Before that, the listing
    does not prove that it counts, and the row is what it was."""
    row = Written(Stamp(T0, 0, T0 + 11, "scan"), T0 + 3, 9)
    written = T0 + 2 * DAY
    missing = Written(Stamp(written - 15, 0, written + 8, "missing"), written, 0)
    held = bucket(row, missing)

    def found(moment: int) -> Stamp | None:
        return answer(item_at(held.versions(), moment, NEVER, held.read))

    assert found(written + 7) == row.stamp
    assert found(written + 8) is None


@given(st.one_of(histories(), announced()))
def test_order_of_the_listing_is_no_matter(drawn: tuple[list[Written], int, int, Lateness]) -> None:
    """A history gives the same answer in any order."""
    stored, moment, floor, lateness = drawn
    held = bucket(*stored)
    forward = answer(item_at(held.versions(), moment, floor, held.read, lateness))
    back = answer(item_at(held.versions()[::-1], moment, floor, held.read, lateness))
    assert getattr(forward, "rank", None) == getattr(back, "rank", None)


@given(st.one_of(histories(), announced()))
def test_only_forward(drawn: tuple[list[Written], int, int, Lateness]) -> None:
    """Law 4: the rank of the answer never decreases as the moment increases, tombstones
    included."""
    stored, moment, floor, lateness = drawn
    held = bucket(
        *[Written(each.stamp, each.written, each.size or 1) for each in stored]
    )  # so that each one is read
    ranks = []
    for step in (0, 1, 60, DAY, 5 * DAY):
        found = item_at(held.versions(), moment + step, floor, held.read, lateness)
        ranks.append(found.stamp.rank if found else (NEVER, 0))
    assert ranks == sorted(ranks)


@given(st.integers(-2, DAY), st.integers(0, 3 * DAY))
def test_bounds_hold(delay: int, lateness: int) -> None:
    """The bounds that a listing gives for a stamp hold for every delay that can occur."""
    version = Version("T/a", "v", T0 + delay, 9, "")
    assert Lateness().earliest(version) <= T0 <= latest_stamp(version)
    later = Version("T/a", "v", T0 + delay + lateness, 9, "")
    assert Lateness(redriven=lateness).earliest(later) <= T0
    assert Lateness({0: lateness}).surely_earliest(later) <= T0


def reads(held: Bucket, moment: int, floor: int = NEVER) -> tuple[Stamp | None, list[str]]:
    found = item_at(held.versions(), moment, floor, held.read)
    return answer(found), sorted(held.reads)


def test_far_apart_takes_one_read() -> None:
    """Of versions written far apart, only the answer is read, with one request, for every
    moment."""
    stored = [streamed(T0 + 3 * DAY * n, 10**21 + n, T0 + 3 * DAY * n + 1) for n in range(5)]
    for n, each in enumerate(stored):
        assert reads(bucket(*stored), each.stamp.at + DAY) == (each.stamp, [str(n)])


def test_newest_of_quiet_item_takes_one_read() -> None:
    """The latest state takes one read if the previous version was written a few seconds earlier or
    more."""
    stored = [streamed(T0, 10**21, T0), streamed(T0 + 2 * SKEW, 10**21 + 1, T0 + 2 * SKEW)]
    assert reads(bucket(*stored), T0 + DAY) == (stored[1].stamp, ["1"])


def test_old_tombstone_takes_no_read() -> None:
    """A removal with no other version written within a day before it is known from the listing
    alone."""
    stored = [streamed(T0, 10**21, T0), streamed(T0 + 2 * DAY, 10**21 + 1, T0 + 2 * DAY, "remove")]
    assert reads(bucket(*stored), T0 + 3 * DAY) == (None, [])
    assert reads(bucket(stored[1]), T0 + 3 * DAY) == (None, [])


@pytest.mark.parametrize("gap", [0, 1, SKEW, DAY - 1, DAY, LATE])
def test_tombstone_near_another_version_is_read(gap: int) -> None:
    """A zero-byte version that may be outranked by a version written earlier is always read."""
    late = streamed(T0 + gap, 10**21, T0 + gap + DAY, "remove")
    early = streamed(T0 + gap + 1, 10**21 + 1, T0 + gap + DAY)
    held = bucket(early, late)  # written in one second: the tombstone is the older change
    assert reads(held, T0 + 3 * DAY)[0] == early.stamp


def test_tombstone_after_the_moment() -> None:
    """A removal that may be stamped after the moment is read before it counts."""
    stored = [streamed(T0, 10**21, T0), streamed(T0 + 9 * DAY, 10**21 + 1, T0 + 9 * DAY, "remove")]
    assert reads(bucket(*stored), T0 + 9 * DAY - 1) == (stored[0].stamp, ["0", "1"])


def test_skew_to_the_last_second() -> None:
    """Within one second, a change whose stamp is as far ahead of S3's clock as possible still ranks
    by its sequence number."""
    ahead = streamed(T0, 10**21 + 1, T0 - SKEW - 1)
    assert reads(bucket(ahead, streamed(T0, 10**21, T0)), T0 + 60)[0] == ahead.stamp


def test_older_life_is_not_read() -> None:
    """Versions written before the floor cannot count, and are not read."""
    stored = [streamed(T0 + n * 60, 10**21 + n, T0 + n * 60) for n in range(50)]
    assert reads(bucket(*stored), T0 + 9 * DAY, floor=T0 + DAY) == (None, [])


def test_tombstone_of_an_older_life() -> None:
    """A tombstone that may be stamped before the floor is read, and does not count if it is."""
    stored = [streamed(T0 - 100, 10**21, T0 + 10, "remove")]
    assert reads(bucket(*stored), T0 + 9 * DAY, floor=T0) == (None, ["0"])


def test_versions_after_the_moment_are_not_read() -> None:
    """Versions written more than a day after the moment cannot count for it, and are not read."""
    stored = [streamed(T0, 10**21, T0)]
    stored += [
        streamed(T0 + n * 60 + LATE + 60, 10**21 + n, T0 + n * 60 + LATE + 60) for n in range(1, 50)
    ]
    assert reads(bucket(*stored), T0) == (stored[0].stamp, ["0"])


def test_redriven_version_counts() -> None:
    """A version that was redriven three days late counts for its own second, if the reader knows
    how late it may be."""
    stored = [streamed(T0, 10**21, T0), streamed(T0 + 60, 10**21 + 1, T0 + 3 * DAY)]
    held = bucket(*stored)
    assert (
        answer(item_at(held.versions(), T0 + 60, NEVER, held.read, Lateness(redriven=3 * DAY)))
        == stored[1].stamp
    )


def test_nothing_written() -> None:
    """Without versions there is no item, and no request is made."""
    assert reads(bucket(), T0) == (None, [])


def test_streamed_change_outranks_scan_of_its_second() -> None:
    """A scan that was written later never hides a change stamped in its first second."""
    change = streamed(T0 - 5, 10**21, T0 - 5)
    scan = Written(Stamp(T0 - 5, 0, T0 + 6, "scan"), T0 + 1, 9)
    assert reads(bucket(change, scan), T0 + 60)[0] == change.stamp


def test_put_and_delete_in_one_second() -> None:
    """Within one second, the sequence number decides: a removed row does not come back, whatever
    the order of the writes."""
    put, removed = streamed(T0, 10**21, T0 + 1), streamed(T0, 10**21 + 1, T0 + 1, "remove")
    for order in ((put, removed), (removed, put)):
        assert reads(bucket(*order), T0)[0] is None
        assert reads(bucket(*order), T0 - 1)[0] is None
