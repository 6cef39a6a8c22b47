"""A moment is a whole second, in UTC. User input becomes a moment or is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.cli.input import _UNITS, parse_when
from stream_backup.core.moment import from_iso, iso
from stream_backup.errors import UsageError

NOW = 1795231959  # 2026-11-21T03:32:39Z

moments = st.integers(0, 253402300799)  # until the end of the year 9999


@given(moments)
def test_iso_round_trip(moment: int) -> None:
    """Every moment is read back from its ISO 8601 form."""
    assert from_iso(iso(moment)) == moment
    assert parse_when(iso(moment), NOW) == (moment, "")


@given(moments, st.integers(1, 999_999))
def test_fractions_fall_into_their_second(moment: int, micros: int) -> None:
    """A time with a fraction becomes the second that contains it, never the next one."""
    text = datetime.fromtimestamp(moment, UTC).replace(microsecond=micros).isoformat()
    assert from_iso(text) == moment


def test_a_distant_fraction_is_not_rounded_up() -> None:
    """The last microsecond of the year 9999 is not rounded up, although a float of seconds cannot
    hold it."""
    assert from_iso("9999-12-31T23:59:59.999999Z") == 253402300799


def test_before_1970_rounds_down() -> None:
    """Half a second before 1970 is in the last second before 1970."""
    assert from_iso("1969-12-31T23:59:59.5Z") == -1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T03:32:39Z", NOW),
        ("2026-11-21T04:32:39+01:00", NOW),
        ("2026-11-20T20:32:39-0700", NOW),
        ("  2026-11-21 03:32:39.999Z ", NOW),
        ("1795231959", NOW),
        ("1795231959.9", NOW),
    ],
)
def test_exact_spellings(text: str, moment: int) -> None:
    """An exact input needs no note."""
    assert parse_when(text, now=0) == (moment, "")


@pytest.mark.parametrize(
    ("text", "moment"), [("2026-11-21T03:32:39", NOW), ("2026-11-21", NOW - 12759)]
)
def test_without_an_offset_it_is_utc(text: str, moment: int) -> None:
    """A time without an offset is UTC, and the note says so with the resulting moment."""
    found, note = parse_when(text, now=0)
    assert found == moment
    assert "UTC" in note
    assert iso(moment) in note


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h ago", 7200),
        ("90 s ago", 90),
        ("5m ago", 300),
        ("5 MIN AGO", 300),
        ("1 minute ago", 60),
        ("3 hrs ago", 10800),
        ("2 days ago", 172800),
        ("1w ago", 604800),
        ("0s ago", 0),
        ("5m", 300),
        ("5 minutes", 300),
        ("1h30m", 5400),
        ("1h 30m ago", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
    ],
)
def test_ago(text: str, seconds: int) -> None:
    """A relative time is counted back from now, and the note gives the resulting moment."""
    moment, note = parse_when(text, NOW)
    assert moment == NOW - seconds
    assert iso(moment) in note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "ago",
        "2 months ago",
        "2mo ago",
        "5 milliseconds ago",
        "2ms ago",
        "-2h ago",
        "in 2h",
        "5",
        "5M",
        "5mo",
        "5 months",
        "5m5m",
        "30m1h",
        "1,5h",
        "1e3s",
        "5:30",
        "٣m",
        "5 minutes and 3 s",
        "2 years ago",
        "99999999999999999999d ago",
        "12345",
        "1795231959000",
        "03:32:39",
        "20261121T033239Z",
        "2026-13-01",
        "2026-11-21T03:32:39 CET",
        "2026-02-30T00:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    """Input that is not unambiguously one moment is a usage error, because a wrong guess would
    restore the wrong data."""
    with pytest.raises(UsageError) as raised:
        parse_when(text, NOW)
    assert raised.value.exit_code == 2


@given(st.integers(0, 10**4), st.sampled_from(sorted(_UNITS)), st.sampled_from(["", " "]))
def test_every_unit_is_counted_back_by_its_length(count: int, unit: str, space: str) -> None:
    """`5m` is five minutes before now in every spelling of the unit, and never five months."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}[unit[0]]
    for text in (f"{count}{space}{unit}", f"{count}{space}{unit} ago"):
        moment, note = parse_when(text, 10**11)
        assert moment == 10**11 - count * seconds
        assert text in note


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5M", "m (minutes)"),
        ("5 months", "write the date"),
        ("5", "5m is 5 minutes ago"),
        ("-5m", "no sign"),
        ("03:20", "the day too"),
        ("1795231959000", "milliseconds"),
    ],
)
def test_an_ambiguous_time_says_how_to_write_it(text: str, words: str) -> None:
    """What could mean two moments is refused with a hint that names the unambiguous spelling."""
    with pytest.raises(UsageError) as raised:
        parse_when(text, NOW)
    assert words in raised.value.hint


@given(
    st.one_of(
        st.text(max_size=25),
        st.from_regex(r"[0-9.]{1,4} ?[a-zA-Z]{1,7}[0-9a-z ]{0,6}", fullmatch=True),
    )
)
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text raises anything but a usage error."""
    try:
        parse_when(text, NOW)
    except UsageError:
        return
