"""A moment: one whole second, UTC. An int of epoch seconds inside, ISO-8601 with a `Z` at the edge."""

import re
from datetime import UTC, datetime
from math import floor

from stream_backup.errors import UsageError

_AGO = re.compile(r"(\d+)\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s+ago", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_HINT = "Write it like 2026-11-21T03:20:00Z, '2h ago', or seconds since 1970."


def iso(moment: int) -> str:
    """`1795231959` → `2026-11-21T03:32:39Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> int:
    """ISO-8601 to the second it falls in; without an offset it is UTC. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    return floor((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp())


def parse_when(text: str, now: int) -> tuple[int, str]:
    """What a person typed as WHEN → (moment, a note when something was assumed, else "").

    Raises UsageError when it is none of ISO-8601, `2h ago` or epoch seconds.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        moment = now - int(ago[1]) * _SECONDS[ago[2][0].lower()]
        if moment < 0:
            raise UsageError(f"{text!r} is before 1970.", _HINT)
        return moment, f"{text!r} is {iso(moment)}"
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return int(text.partition(".")[0]), ""
    try:
        if not re.match(r"\d{4}-\d\d-\d\d", text):
            raise ValueError
        moment = from_iso(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a moment.", _HINT) from error
    zoned = datetime.fromisoformat(text).tzinfo is not None
    return moment, "" if zoned else f"{text!r} has no offset, so it is taken as UTC: {iso(moment)}"
