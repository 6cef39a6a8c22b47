"""`timeline`: changes per interval, compared with a reading of every stamp."""

import re
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from stream_backup.cli import console
from stream_backup.cli.timeline_report import TimelineReport, lengths
from stream_backup.core.announcement import announcement, hours_between
from stream_backup.core.moment import iso
from stream_backup.core.records import Run
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import BUDGET, NEVER, NORMAL, SKEW, Lateness
from stream_backup.inspect.placing import SORTS, Range, Sort
from stream_backup.inspect.timeline import ChangeCounts, Timeline
from tests import histories as drawn
from tests.damage import CAUSE, END, FROM, NOW, START, TO, Night, incident
from tests.histories import DAY, T0, Written
from tests.profiles import histories
from tests.test_window import Bucket, change, stored


@pytest.fixture
def night(capsys: pytest.CaptureFixture[str]) -> Night:
    return incident(capsys)


def consistent(versions: list[Written], floor: int) -> list[Written]:
    """The same history with the kinds that a stream would have given its changes."""
    kinds: dict[tuple[int, int], Stamp] = {}
    exists = dict.fromkeys((False, True), False)  # before the floor, and after it
    for rank, stamp in sorted({each.stamp.rank: each.stamp for each in versions}.items()):
        life = stamp.at >= floor
        if stamp.kind == "remove" and exists[life]:
            kinds[rank] = stamp
            exists[life] = False
            continue
        kind: Kind = "scan" if stamp.kind == "scan" else "modify" if exists[life] else "insert"
        kinds[rank], exists[life] = replace(stamp, kind=kind), True
    return [replace(each, stamp=kinds[each.stamp.rank]) for each in versions]


@st.composite
def spread(draw: st.DrawFn) -> tuple[list[Written], int, int, Lateness]:
    """Draws what `announced` draws, from a quieter time: most changes of an item are far apart and
    written at once, and everything was written before the announcements were listed."""
    second, stored, records = T0 - draw(st.integers(0, 4000)), list[Written](), dict[int, int]()
    for number in range(draw(st.integers(1, 6))):
        second += draw(st.sampled_from([1000, 3600, 0, 310, 311, 312, 313, 7200, DAY]))
        kind: Kind = draw(
            st.sampled_from(["insert", "modify", "modify", "modify", "remove", "scan"])
        )
        late = draw(st.sampled_from([0, 1, 1, 1, -SKEW, 60, NORMAL - BUDGET, 4000]))
        for again in range(draw(st.sampled_from([1, 1, 1, 2]))):
            written = second + late + again * draw(st.sampled_from([1, 5000]))
            if written - second > NORMAL - BUDGET:
                for hour in hours_between(written, written):
                    needed = announcement(second, written)
                    records[hour] = max(needed, records.get(hour, 0))
            if kind == "scan":
                stamp = Stamp(second, 0, second + draw(st.integers(0, 90)), kind, announced=True)
            else:
                stamp = Stamp(second, 10**21 + number, second, kind, announced=True)
            stored.append(Written(stamp, written, 0 if kind == "remove" else 9))
    edges = sorted(edge for each in stored for edge in (each.stamp.at, each.written))
    moment = draw(st.sampled_from(edges)) + draw(st.sampled_from([-3600, -1, 0, 1, 3600]))
    floor = draw(st.sampled_from([NEVER, NEVER, NEVER, *edges]))
    lateness = Lateness(records, edges[-1] + DAY, announces=True)
    return sorted(stored, key=lambda each: each.written), moment, floor, lateness


def exhaustive(bucket: Bucket, span: Range) -> Counter[tuple[int, Sort]]:
    """The definition: every stamp is read, and counts once."""
    found: dict[Any, tuple[int, Sort]] = {}
    for history in bucket.archive.histories():
        for version in history.versions:
            stamp = bucket.archive.stat(version).stamp
            inside = max(span.since, span.floor) <= stamp.at <= span.until
            if inside and stamp.kind != "scan" and stamp.kind != "missing":
                sort: Sort = "remove" if stamp.kind == "remove" else stamp.kind
                interval = stamp.at - stamp.at % span.every
                found[history.name, stamp.rank] = interval, "expiry" if stamp.by else sort
    return Counter(found.values())


@histories(600)
@given(
    history=st.one_of(spread(), spread(), drawn.histories(), drawn.announced()),
    length=st.sampled_from([9 * DAY, DAY, 3600, 60, 1]),
    every=st.sampled_from([DAY, 7 * DAY, 3600, 300, 1]),
    ttl=st.booleans(),
    long=st.booleans(),
)
def test_a_timeline_equals_an_exhaustive_reading(
    history: tuple[list[Written], int, int, Lateness], length: int, every: int, *, ttl: bool,
    long: bool,
) -> None:  # fmt: skip
    """However late, early, repeated or out of order versions were written, every change is counted
    once and in its interval, whether the listing placed it or its stamp."""
    versions, moment, floor, lateness = history
    versions = consistent(versions, floor)
    if ttl:
        versions = [
            replace(each, stamp=replace(each.stamp, by="ttl"))
            if each.stamp.kind == "remove"
            else each
            for each in versions
        ]
    scans = [each.stamp for each in versions if each.stamp.kind == "scan"]
    runs = [
        Run("r", "", NEVER, min(each.at for each in scans), max(each.seen for each in scans),
            True, {})
    ] if scans else []  # fmt: skip
    bucket = stored(versions, bodies=3, long=long)
    whole = min(each.written for each in versions) - length, versions[-1].written + length
    for since, until in (whole, (moment - length, moment), (moment, moment + length)):
        span = Range(bucket.archive, since, until, every, floor, runs, lateness)
        expected = exhaustive(bucket, span)
        found = [
            placed
            for history in bucket.archive.histories()
            if span.may_contain(history)
            for placed in span.placed(history)
        ]
        assert Counter((placed.interval, placed.sort) for placed in found) == expected
        listed = sum(not placed.by_stamp for placed in found)
        event(f"placed by the listing: {listed}, by stamp: {len(found) - listed}")


def test_the_listing_places_what_it_can() -> None:
    """Of hourly intervals, only stamps near an edge and those of removals are read."""
    bucket = Bucket()
    for number in range(60):
        at = T0 - T0 % 3600 + 600 + 60 * number
        bucket.put(change(at, "x", "insert", name=f"item {number}"), at + 1)
    bucket.put(change(at + 900, None, "remove", name="item 0"), at + 901)
    begin = T0 - T0 % 3600
    span = Range(bucket.archive, begin, begin + 7199, 3600, NEVER, [], Lateness(announces=True))
    bucket.store.requests.clear()
    listed = list(bucket.archive.histories())
    placed = [each for history in listed for each in span.placed(history)]
    early = sum(600 + 60 * number < 3600 for number in range(60))
    assert Counter(map(tuple, ((each.interval, each.sort) for each in placed))) == {
        (begin, "insert"): early,
        (begin + 3600, "insert"): 60 - early,
        (begin + 3600, "remove"): 1,
    }
    assert sum(each.by_stamp for each in placed) == bucket.store.requests["head"]
    assert 1 <= bucket.store.requests["head"] <= 14
    assert bucket.store.requests["get"] == 0


def test_what_a_row_was_is_read_where_two_versions_are_near() -> None:
    """A batch that was delivered again within a second leaves the content on top of the tombstone
    that removed it. The listing does not tell that the row was gone, so the stamp of the next
    change is read."""
    begin = T0 - T0 % 3600
    bucket = Bucket()
    changed = change(begin + 1800, "y")
    bucket.put(change(begin + 60, "x", "insert"), begin + 61)
    bucket.put(changed, begin + 1802)
    bucket.put(change(begin + 1801, None, "remove"), begin + 1802)
    bucket.put(changed, begin + 1802)
    bucket.put(change(begin + 5000, "z", "insert"), begin + 5001)
    span = Range(bucket.archive, begin, begin + 7199, 7200, NEVER, [], Lateness(announces=True))
    (history,) = bucket.archive.histories()
    sorts = Counter(each.sort for each in span.placed(history))
    assert sorts == {"insert": 2, "modify": 1, "remove": 1}


# The command

NIGHT = ("--since", "2026-11-21T02:10:00Z", "--until", "2026-11-21T02:26:00Z", "--every", "1m")


def test_the_chart_shows_the_burst(night: Night) -> None:
    """Each interval has a bar and its counts by kind, quiet stretches are folded, and the commands
    for the busiest stretch follow."""
    said = night.done("timeline", "orders", *NIGHT)
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert lines[0] == "orders from 2026-11-21T02:10:00Z to 2026-11-21T02:26:00Z, every 1 min, UTC"
    assert lines[1] == "░ inserted █ modified ▓ removed ▒ expired"
    rows = {line.split()[0]: line.split() for line in lines if re.match(r"\d\d:\d\d ", line)}
    assert rows["02:14"][1:] == ["█" * len(rows["02:14"][1]), "12", "0", "12", "0", "0"]
    assert rows["02:19"][2:] == ["14", "1", "10", "2", "1"]
    assert re.fullmatch("░+█+▓+▒*", rows["02:19"][1])
    assert len(rows["02:15"][1]) > len(rows["02:14"][1])
    assert sum("no changes, 4 min" in line for line in lines) == 2
    assert lines[-5:] == [
        "Most changes: 2026-11-21T02:14:00Z to 2026-11-21T02:19:59Z, 72.",
        "  stream-backup timeline orders --since 2026-11-21T02:14:00Z --until 2026-11-21T02:19:59Z",
        "  stream-backup diff orders --from 2026-11-21T02:13:59Z --to 2026-11-21T02:19:59Z",
        "  stream-backup undo orders --from 2026-11-21T02:13:59Z --to 2026-11-21T02:19:59Z",
        "  stream-backup restore orders --at 2026-11-21T02:13:59Z",
    ]
    assert "82 changes: 0 placed by the listing, 82 by their stamps." in said.err


@pytest.mark.parametrize("columns", [20, 40, 60, 69, 70, 80, 200])
def test_the_chart_fits_the_terminal(
    night: Night, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line of the chart is wider than the terminal, and a narrow one shows the sums."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(console.out, "_width", None)  # of the environment when it was created
    said = night.done("timeline", "orders", *NIGHT)
    chart = said.out.split("Most changes")[0].splitlines()[1:]
    assert max(map(len, chart)) <= columns
    if columns >= 40:
        (row,) = [line.split() for line in chart if line.startswith("02:19")]
        assert "14" in row
        assert (row[-5:] == ["14", "1", "10", "2", "1"]) == (columns >= 70)


def test_the_intervals_are_chosen_to_fit(night: Night) -> None:
    """Without --every, a day is shown in half hours, and an hour in minutes or two."""
    assert ", every 30 min, UTC" in night.done("timeline", "orders").out
    hour = ("--since", "2026-11-21T02:00:00Z", "--until", "2026-11-21T02:59:59Z")
    assert ", every 2 min, UTC" in night.done("timeline", "orders", *hour).out


def test_json_has_every_interval_with_changes(night: Night) -> None:
    """The sums by kind agree with what happened, and the placements and requests are counted."""
    found = night.done("timeline", "orders", "--every", "1h", "--json").json
    assert [(each["start"], each["modify"]) for each in found["intervals"]] == [
        ("2026-11-21T00:00:00Z", 0),
        ("2026-11-21T02:00:00Z", 75),
    ]
    assert found["total"] == {"insert": 14, "modify": 75, "remove": 2, "expiry": 1}
    assert found["placed_by_listing"] + found["placed_by_stamp"] == 92
    assert found["placed_by_listing"] > 0
    assert found["requests"]["head"] == found["placed_by_stamp"]
    assert found["requests"]["list"] == 16
    assert found["busiest"] == {"since": "2026-11-21T02:00:00Z", "until": "2026-11-21T02:59:59Z"}


@pytest.mark.parametrize("every", ["1s", "7s", "1m", "15m", "1h", "1d", "1w"])
def test_the_length_of_intervals_changes_no_sum(night: Night, every: str) -> None:
    """Whatever the listing places and whatever is read, the sums are the same."""
    found = night.done("timeline", "orders", "--every", every, "--since", iso(START), "--json").json
    assert found["total"] == {"insert": 14, "modify": 105, "remove": 2, "expiry": 1}
    assert sum(each["modify"] for each in found["intervals"]) == 105


def test_a_range_before_the_epoch_begins_with_it(night: Night) -> None:
    """What is not known is not shown as quiet: the range begins with the first exact moment, and
    the commands do not reach before it."""
    said = night.done("timeline", "orders", "--since", "2026-11-01T00:00:00Z", "--every", "1w")
    assert "orders from 2026-11-20T00:10:00Z" in said.out
    assert "The range begins at 2026-11-20T00:10:00Z. The first complete backfill" in said.err
    assert "--from 2026-11-20T00:10:00Z" in said.out


def test_a_table_without_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """A quiet range is one line."""
    said = Night(capsys).done("timeline", "orders")
    assert len(said.out.splitlines()) == 1
    assert "0 changes" in said.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--every", "0s"), 2, "not an interval"),
        (("--every", "fortnight"), 2, "not an interval"),
        (("--every", "1s", "--since", "2026-11-19", "--until", iso(NOW - 1)), 0, ""),
        (("--since", TO, "--until", FROM), 2, "contains no second"),
        (("--until", "2026-11-19T00:00:00Z"), 4, "outside the coverage"),
        (("--until", "2027-01-01T00:00:00Z"), 4, "not over yet"),
        (("--since", "soon"), 2, "not a moment"),
    ],
)
def test_a_range_that_is_refused(
    night: Night, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """Each mistake has its sentence, its hint, and its exit code."""
    said = night.run("timeline", "orders", *words)
    assert said.code == 0 if code == 0 else said.refused(code, sentence)


def test_too_many_intervals_are_refused(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """More intervals than memory is meant for are refused before anything is listed."""
    monkeypatch.setattr(sys.modules["stream_backup.cli.timeline"], "INTERVALS", 1000)
    night.run("timeline", "orders", "--every", "1s").refused(2, "more than 1,000 intervals")


def test_an_item_that_cannot_be_read_is_named(night: Night) -> None:
    """Its changes are not counted, the others are, and the exit code says so."""
    path = next(path for path in night.store.objects if "meta" not in path)
    night.now = CAUSE + 5
    night.store.put(path, b"{}", {"format": "99"})
    said = night.run("timeline", "orders", *NIGHT)
    assert said.code == 5
    assert path in said.err
    assert "02:14" in said.out


def test_the_archive_is_named_in_the_commands() -> None:
    """A command that was given an archive prints commands that name it, safe to paste."""
    found = Timeline(CAUSE, END, 60, {CAUSE - CAUSE % 60: ChangeCounts(1)})
    report = TimelineReport("orders", CAUSE, "s3://it's/x y", found, {})
    assert report.parts["diff"] == [
        "stream-backup diff orders --archive 's3://it'\"'\"'s/x y' --from ", "before", " --to ",
        "until", "",
    ]  # fmt: skip


@histories(200)
@given(
    numbers=st.lists(st.integers(0, 9), min_size=4, max_size=4),
    more=st.integers(0, 40),
    columns=st.integers(4, 120),
)
def test_a_bar_is_as_long_as_its_share(numbers: list[int], more: int, columns: int) -> None:
    """A bar fits its column, the longest takes it all, an interval with changes is seen, and each
    kind takes its share to the character."""
    counts = ChangeCounts(*numbers)
    most = counts.total + more
    if not counts.total:
        return
    found = lengths(counts, most, columns)
    whole = sum(found.values())
    assert whole == max(1, round(columns * counts.total / most))
    for sort in SORTS:
        assert abs(found[sort] - whole * getattr(counts, sort) / counts.total) < 1


def test_the_busiest_stretch_stands_out() -> None:
    """The stretch around the peak ends where traffic is as usual."""
    usual = {60 * n: ChangeCounts(10) for n in range(100)}
    burst = {60 * n: ChangeCounts(10, 500) for n in range(40, 46)}
    found = Timeline(0, 5999, 60, usual | burst)
    assert found.busiest() == (2400, 2759)
    assert Timeline(0, 5999, 60, {}).busiest() is None
    assert Timeline(30, 70, 60, {0: ChangeCounts(1), 60: ChangeCounts(1)}).busiest() == (30, 59)
