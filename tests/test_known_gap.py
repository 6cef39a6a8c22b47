"""A gap that an operator knows of, put on record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.status import Status
from stream_backup.capture.known_gap import KnownGap, known_gap
from stream_backup.core.coverage import Coverage, epochs, stretches
from stream_backup.core.records import End, Outage, Run, Stream
from stream_backup.core.retention import Bound
from stream_backup.core.spans import Span, without
from stream_backup.errors import UsageError
from tests.test_coverage import run, stream

NOW = 70


def status_with(
    streams: list[Stream], ends: dict[str, End], outages: list[Outage], runs: list[Run]
) -> Status:
    pieces = stretches(streams, ends, outages)
    coverage = Coverage(tuple(epochs(pieces, runs)), Bound(NOW, "read"))
    ordered = sorted(streams, key=lambda each: each.floor)
    return Status(coverage, ordered, runs, outages, pieces, None, NOW, ends=ends)


@st.composite
def histories(draw: st.DrawFn) -> Status:
    """Streams, ends, outages, and backfills of the first minute."""
    seconds = st.integers(0, 60)
    floors = draw(st.lists(seconds, min_size=1, max_size=3, unique=True))
    streams = [stream(str(number), floor) for number, floor in enumerate(sorted(floors))]
    labels = st.sampled_from([each.label for each in streams])
    spans = st.tuples(labels, seconds, st.integers(1, 20))
    ends = {
        label: End(end, "switched off")
        for label, end in draw(st.dictionaries(labels, seconds)).items()
    }
    outages = [Outage(label, at, at + took, "x") for label, at, took in draw(st.lists(spans))[:3]]
    runs = [run(label, at, at + took) for label, at, took in draw(st.lists(spans, max_size=6))]
    runs += [run(each.label, each.floor, each.floor + 1) for each in streams]
    return status_with(streams, ends, outages, runs)


def seconds_in(spans: tuple[Span, ...]) -> set[int]:
    return {second for first, last in spans for second in range(first, last + 1)}


@given(histories(), st.integers(0, NOW), st.integers(0, NOW))
def test_no_second_of_the_gap_is_exact(status: Status, one: int, other: int) -> None:
    """Once a gap is on record, no second in it is exact; every moment before it that was exact
    still is; no moment becomes exact; what is shown as lost is exactly what is lost; and recording
    it again changes nothing."""
    since, until = sorted((one, other))
    before = seconds_in(status.coverage.spans)
    try:
        gap = known_gap("orders", status, since, until)
    except UsageError:
        assert not before & {*range(since, until + 1)}, "nothing of it was exact"
        return
    after = seconds_in(gap.exact)
    assert not after & {*range(since, until + 1)}
    assert {second for second in before if second < since} <= after <= before
    assert seconds_in(gap.lost) == before - after
    written = [each for each in status.outages if not _replaced(each, gap)]
    again = status_with(
        list(status.streams), dict(status.ends), [*written, *gap.outages], status.runs
    )
    assert again.coverage.spans == gap.exact
    repeated = known_gap("orders", again, since, until)
    assert (repeated.outages, repeated.lost, repeated.exact) == ((), (), gap.exact)


def _replaced(recorded: Outage, gap: KnownGap) -> bool:
    """Outages of one stream that begin in the same second share a name."""
    return any(
        (each.stream, each.since) == (recorded.stream, recorded.since) for each in gap.outages
    )


A = stream("A", 10)
OPEN = status_with([A], {}, [], [run("A", 10, 20)])


def test_coverage_starts_again_with_a_backfill_of_a_later_epoch() -> None:
    """A backfill of before the record heals nothing, because it left alone what the archive had.
    One that begins after the gap does."""
    later = status_with([A], {}, [], [run("A", 10, 20), run("A", 10, 50)])
    gap = known_gap("orders", later, 30, 40)
    assert gap.exact == (Span(20, 29),)
    assert gap.lost == (Span(30, NOW),)
    assert gap.backfill
    healed = status_with([A], {}, list(gap.outages), [run("A", 10, 20), run("A", 55, 60)])
    assert healed.coverage.spans == (Span(20, 29), Span(60, NOW))


def test_an_epoch_of_its_own_is_not_touched() -> None:
    """A gap before an outage that a backfill has healed costs nothing after that backfill."""
    outage = Outage("A", 40, 45, "x")
    healed = status_with([A], {}, [outage], [run("A", 10, 20), run("A", 46, 50)])
    gap = known_gap("orders", healed, 30, 35)
    assert gap.lost == (Span(30, 40),)
    assert gap.exact == (Span(20, 29), Span(50, NOW))
    assert not gap.backfill


def test_a_gap_over_two_lives_of_a_table() -> None:
    """Each stream that was on during the gap gets a record of its own, for its own seconds."""
    both = status_with(
        [A, stream("B", 50)],
        {"A": End(40, "switched off")},
        [],
        [run("A", 10, 20), run("B", 50, 55)],
    )
    gap = known_gap("orders", both, 30, 60)
    assert [each[:3] for each in map(_facts, gap.outages)] == [("A", 29, 40), ("B", 49, 60)]


def _facts(outage: Outage) -> tuple[str, int, int]:
    return outage.stream, outage.since, outage.until


def test_a_record_of_the_same_second_is_widened() -> None:
    """Two outages that begin in the same second share a name: the longer one stays on record, with
    both reasons."""
    known = status_with([A], {}, [Outage("A", 29, 60, "a batch was given up")], [run("A", 10, 20)])
    assert known_gap("orders", known, 30, 50).outages == ()
    longer = known_gap("orders", known, 30, 65).outages
    assert [(each.since, each.until) for each in longer] == [(29, 65)]
    assert longer[0].reason.startswith("a batch was given up; ")


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        (40, 30, "ends before it begins"),
        (30, NOW + 1, "in the future"),
        (NOW + 5, NOW + 6, "in the future"),
        (0, 9, "No stream"),
    ],
)
def test_a_gap_that_cannot_be(since: int, until: int, words: str) -> None:
    """A gap that is not over, ends before it begins, or lies where no stream was on is refused,
    with a hint."""
    with pytest.raises(UsageError, match=words) as raised:
        known_gap("orders", OPEN, since, until)
    assert raised.value.hint


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=4),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=4),
)
def test_without_is_the_difference_of_sets(
    spans: list[list[int]], removed: list[list[int]]
) -> None:
    """What is left of spans are the seconds that are in none of the removed ones."""
    one, other = (tuple(Span(*each) for each in every) for every in (spans, removed))
    assert seconds_in(without(one, other)) == seconds_in(one) - seconds_in(other)
