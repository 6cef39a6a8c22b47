"""A moment is a whole second, UTC; what a person types becomes one or is refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.errors import UsageError
from stream_backup.moment import from_iso, iso, parse_when

NOW = 1795231959  # 2026-11-21T03:32:39Z

moments = st.integers(0, 253402300799)  # to the end of the year 9999


@given(moments)
def test_iso_round_trip(moment: int) -> None:
    """Every moment is read back from its ISO-8601 spelling."""
    assert from_iso(iso(moment)) == moment
    assert parse_when(iso(moment), NOW) == (moment, "")


@given(moments, st.integers(1, 999_999))
def test_fractions_fall_into_their_second(moment: int, micros: int) -> None:
    """A time with a fraction is the second it falls in, never the next one."""
    text = datetime.fromtimestamp(moment, UTC).replace(microsecond=micros).isoformat()
    assert from_iso(text) == moment


def test_before_1970_rounds_down() -> None:
    """Half a second before 1970 falls into the last second before it."""
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
    """Where nothing is assumed there is nothing to say."""
    assert parse_when(text, now=0) == (moment, "")


@pytest.mark.parametrize(("text", "moment"), [("2026-11-21T03:32:39", NOW), ("2026-11-21", NOW - 12759)])
def test_without_an_offset_it_is_utc(text: str, moment: int) -> None:
    """A time without an offset is UTC, and the note says so with the moment it became."""
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
    ],
)
def test_ago(text: str, seconds: int) -> None:
    """So long ago is counted from now, and the note says which moment that is."""
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
        "2h",
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
    """What is not certainly one moment is a usage error with a hint, for a wrong guess would restore the wrong data."""
    with pytest.raises(UsageError) as raised:
        parse_when(text, NOW)
    assert raised.value.exit_code == 2


@given(st.text(max_size=25))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text raises anything but a usage error."""
    try:
        parse_when(text, NOW)
    except UsageError:
        return
