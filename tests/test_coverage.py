"""Which moments are exact, whatever happens to a stream."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.coverage import Coverage, Epoch, epochs, stretches
from stream_backup.core.moment import iso
from stream_backup.core.records import End, Outage, Run, Stream
from stream_backup.core.retention import Bound
from stream_backup.errors import CoverageError

T0 = 1795231959


def stream(label: str, floor: int) -> Stream:
    arn = f"arn:aws:dynamodb:eu-central-1:123456789012:table/Users/stream/{label}"
    return Stream(label, arn, "table-id", floor, empty=False, reader="function", recorded=floor + 2)


def run(on: str, floor: int, answered: int, complete: bool = True) -> Run:
    return Run(f"run-{answered}", on, floor, floor, answered, complete, {"read": 1})


def covered(
    streams: list[Stream], ends: dict[str, int], outages: list[Outage], runs: list[Run]
) -> list[tuple[int, int, int | None]]:
    known = {label: End(end, "switched off") for label, end in ends.items()}
    found = epochs(stretches(streams, known, outages), runs)
    return [(epoch.floor, epoch.start, epoch.end) for epoch in found]


def read_until(moment: int) -> Bound:
    return Bound(moment, "The stream has been read up to then.")


def moments(coverage: Coverage) -> tuple[int, int] | None:
    return coverage.bounds and (coverage.bounds[0].moment, coverage.bounds[1].moment)


A, B = stream("A", 100), stream("B", 1000)


def test_from_the_end_of_the_first_complete_backfill() -> None:
    """An epoch starts where its first complete backfill ended, not where it began, and later
    backfills change nothing."""
    assert covered(
        [A], {}, [], [run("A", 100, 400), run("A", 100, 300), run("A", 100, 200, complete=False)]
    ) == [(100, 300, None)]


def test_no_backfill_no_epoch() -> None:
    """A stream without a complete backfill covers nothing, because an item without a version may
    still exist."""
    assert covered([A], {}, [], []) == []
    assert covered([A], {}, [], [run("A", 100, 200, complete=False)]) == []


def test_stream_switched_off() -> None:
    """Switching a stream off ends its epoch, and a backfill that ended after that starts none."""
    assert covered([A], {"A": 500}, [], [run("A", 100, 300)]) == [(100, 300, 500)]
    assert covered([A], {"A": 500}, [], [run("A", 100, 501)]) == []
    assert covered([A], {"A": 500}, [], [run("A", 100, 500)]) == [(100, 500, 500)]


def test_off_and_on_again() -> None:
    """Each stream needs its own backfill. Moments between two streams are in neither epoch."""
    runs = [run("A", 100, 300), run("B", 1000, 1200)]
    assert covered([B, A], {"A": 500}, [], runs) == [(100, 300, 500), (1000, 1200, None)]
    assert covered([B, A], {"A": 500}, [], runs[:1]) == [(100, 300, 500)]


def test_end_that_nobody_recorded() -> None:
    """A stream that has a successor but no recorded end covers nothing after its beginning."""
    assert covered([A, B], {}, [], [run("A", 100, 300), run("B", 1000, 1200)]) == [
        (1000, 1200, None)
    ]


def test_end_recorded_too_late() -> None:
    """An epoch ends before the next stream begins, whatever end was recorded."""
    for end in (1000, 2000):
        assert covered([A, B], {"A": end}, [], [run("A", 100, 300)]) == [(100, 300, 999)]


OUTAGE = Outage("A", 500, 600, "behind by more than 24 h")


def test_outage() -> None:
    """An outage ends an epoch, and without another backfill no epoch follows it."""
    assert covered([A], {}, [OUTAGE], [run("A", 100, 300)]) == [(100, 300, 500)]


def test_outage_healed() -> None:
    """A backfill that was asked after an outage starts a new epoch, whose floor is the second in
    which it was asked."""
    assert covered([A], {}, [OUTAGE], [run("A", 100, 300), run("A", 650, 700)]) == [
        (100, 300, 500),
        (650, 700, None),
    ]


def test_backfill_that_spans_an_outage() -> None:
    """A backfill that was asked before an outage ended starts no epoch, because changes to rows
    that it had already read may be lost."""
    assert covered([A], {}, [OUTAGE], [run("A", 100, 700)]) == []
    assert covered([A], {}, [OUTAGE], [run("A", 599, 700)]) == []


def test_outages_that_overlap() -> None:
    """Outages that overlap, or that contain one another, count as one."""
    for other in (Outage("A", 550, 800, "x"), Outage("A", 400, 800, "x")):
        runs = [run("A", 100, 300), run("A", 650, 700), run("A", 810, 820)]
        first = min(500, other.since)
        assert covered([A], {}, [OUTAGE, other], runs) == [(100, 300, first), (810, 820, None)]
    assert covered([A], {}, [Outage("A", 400, 900, "x"), OUTAGE], [run("A", 650, 700)]) == []


def test_outage_of_another_stream() -> None:
    """An outage affects only its own stream."""
    assert covered([A], {}, [Outage("B", 150, 200, "x")], [run("A", 100, 300)]) == [
        (100, 300, None)
    ]


def test_backfill_of_another_stream() -> None:
    """A backfill counts only for the stream during which it ran, whatever its time."""
    assert covered([A], {}, [], [run("B", 100, 300)]) == []


def test_floor_of_an_older_life() -> None:
    """A backfill whose floor is before the floor of the stream does not count for it."""
    assert covered([B], {}, [], [run("B", 999, 1200)]) == []


@given(st.data())
def test_epochs_never_overlap(data: st.DataObject) -> None:
    """Whatever was recorded, every epoch begins after the previous one has ended, and no outage is
    inside an epoch."""
    seconds = st.integers(0, 60)
    floors = data.draw(st.lists(seconds, min_size=1, max_size=3, unique=True))
    streams = [stream(str(n), floor) for n, floor in enumerate(floors)]
    labels = st.sampled_from([each.label for each in streams])
    drawn = data.draw(st.dictionaries(labels, seconds))
    ends = {label: End(end, "switched off") for label, end in drawn.items()}
    spans = st.tuples(labels, seconds, st.integers(1, 20))
    outages = [
        Outage(label, since, since + took, "x")
        for label, since, took in data.draw(st.lists(spans, max_size=4))
    ]
    runs = [
        run(label, asked, asked + took)
        for label, asked, took in data.draw(st.lists(spans, max_size=6))
    ]
    found = epochs(stretches(streams, ends, outages), runs)
    for epoch in found:
        end = 999 if epoch.end is None else epoch.end
        assert epoch.floor <= epoch.start <= end
        for outage in outages:
            assert (
                outage.stream != epoch.stream or end <= outage.since or epoch.start >= outage.until
            )
    for one, two in itertools.pairwise(found):
        assert one.end is not None
        assert one.end < two.floor or (one.stream == two.stream and one.end <= two.floor)


PAST, NOW = Epoch("A", T0, T0 + 300, T0 + 500), Epoch("B", T0 + 1000, T0 + 1200, None)
COVERAGE = Coverage((PAST, NOW), read_until(T0 + 5000))


@pytest.mark.parametrize(
    ("second", "epoch"),
    [(300, PAST), (500, PAST), (1200, NOW), (5000, NOW)],
    ids=["start", "end", "start of next", "latest"],
)
def test_moments_inside(second: int, epoch: Epoch) -> None:
    """Each epoch is exact from its start to its end, both included. The newest is exact up to the
    second to which the stream was read."""
    assert COVERAGE.require(T0 + second, "Users") == epoch


@pytest.mark.parametrize("second", [-1, 0, 299, 501, 750, 1000, 1199, 5001])
def test_moments_outside(second: int) -> None:
    """A moment outside every epoch is refused, and never guessed. The error gives all bounds and
    the option that overrides it."""
    with pytest.raises(CoverageError) as raised:
        COVERAGE.require(T0 + second, "Users")
    for bound in (second, 300, 500, 1200, 5000):
        assert iso(T0 + bound) in str(raised.value)
    assert "--incomplete-ok" in raised.value.hint
    assert raised.value.exit_code == 4


def test_no_coverage_at_all() -> None:
    """Without an epoch, the hint is to run a backfill."""
    with pytest.raises(CoverageError) as raised:
        Coverage((), read_until(T0)).require(T0, "Users")
    assert "stream-backup backfill Users" in raised.value.hint
    assert Coverage((), read_until(T0)).bounds is None


def test_bounds() -> None:
    """The bounds are those of the newest epoch, open or ended."""
    assert moments(COVERAGE) == (T0 + 1200, T0 + 5000)
    assert moments(Coverage((PAST,), read_until(T0 + 5000))) == (T0 + 300, T0 + 500)


def test_nothing_read_since_the_backfill() -> None:
    """Until the stream has been read up to the end of the backfill, the epoch contains no exact
    moment."""
    with pytest.raises(CoverageError, match="no moment yet"):
        Coverage((NOW,), read_until(T0 + 1199)).require(T0 + 1199, "Users")


def test_an_epoch_that_an_outage_ended_is_exact_as_far_as_it_was_read() -> None:
    """An outage that is put on record while the stream is behind does not show that the stream was
    read up to the outage. An epoch of an earlier stream has its own end."""
    for read, last in ((400, 400), (700, 500)):
        coverage = Coverage((Epoch("A", 100, 300, 500, "x"),), read_until(read), newest="A")
        assert moments(coverage) == (300, last)
        assert (coverage.epoch_at(450) is None) == (last < 450)
    with pytest.raises(CoverageError, match="read up to then") as raised:
        replace(coverage, witness=read_until(400)).require(450, "Users")
    assert "Wait until the function has read further" in raised.value.hint
    assert moments(replace(coverage, witness=read_until(400), newest="B")) == (300, 500)


def test_records_round_trip() -> None:
    """Records under meta/ are read back unchanged, and their times are written in ISO 8601."""
    one, two, three = stream("A", T0), run("A", T0, T0 + 9), Outage("A", T0, T0 + 1, "a reason")
    assert Stream.of(one.record()) == one
    assert Run.of(two.record()) == two
    assert Outage.of(three.record()) == three
    assert one.record()["floor"] == two.record()["asked"] == three.record()["since"] == iso(T0)


def test_stretches_say_where_they_heal() -> None:
    """A stretch after an outage knows where that ended, which no backfill for it may have been
    asked before."""
    found = stretches([A], {"A": End(900, "switched off")}, [OUTAGE])
    assert [each[:3] for each in found] == [(A, (), 500), (A, (OUTAGE,), 900)]
    assert [each.healed_from for each in found] == [None, 600]
    assert [each.ended for each in found] == [
        "Changes may have been lost: behind by more than 24 h.",
        "The stream ended: switched off.",
    ]


def test_a_run_without_a_witness_is_read() -> None:
    """The record of a run that nobody looked after has no witness, and can be read."""
    record = run("a", 1, 2).record()
    del record["witness"]
    assert Run.of(record) == run("a", 1, 2)
