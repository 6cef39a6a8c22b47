"""`Lateness` as a JSON object, for a worker that reads an archive on another machine."""

from collections.abc import Mapping
from typing import Any

from stream_backup.core.time_rule import Lateness


def lateness_record(lateness: Lateness) -> dict[str, Any]:
    """Returns a `Lateness` as a JSON object. Hours are epoch seconds, as text."""
    return {
        "announced": {str(hour): seconds for hour, seconds in lateness.announced.items()},
        "listed": lateness.listed,
        "redriven": lateness.redriven,
        "announces": lateness.announces,
    }


def lateness_of(record: Mapping[str, Any]) -> Lateness:
    """Reads a `Lateness` from its JSON object. Raises KeyError, TypeError or ValueError when the
    object is none: a worker must not read with another bound than the others."""
    return Lateness(
        {int(hour): int(seconds) for hour, seconds in record["announced"].items()},
        int(record["listed"]),
        int(record["redriven"]),
        bool(record["announces"]),
    )
