"""A moment: one whole second in UTC. The code uses an int of epoch seconds. Input, output and
stored records use ISO-8601 with a `Z`."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(moment: int) -> str:
    """Returns a moment in ISO-8601: `1795231959` becomes `2026-11-21T03:32:39Z`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> int:
    """Returns the moment of an ISO-8601 time, which is UTC if it has no offset. Fractions of a
    second are dropped. Raises ValueError when `text` is not an ISO-8601 time."""
    stamp = datetime.fromisoformat(text)
    zoned = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return (zoned - _EPOCH) // timedelta(seconds=1)  # timestamp() rounds a distant moment up
