"""Which tables are drilled on a schedule, and when each was drilled last: for the driller, which
drills them, and for the watcher, which notices when nobody does."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.table import look_up
from stream_backup.capture.watch import Unwatched, Watched
from stream_backup.core.records import Stream
from stream_backup.core.retention import DAY
from stream_backup.settings import DRILL_TABLES

EVERY = "*"
"""Stands for every enabled table."""


@dataclass(frozen=True, slots=True)
class Drilled:
    """When a table was drilled, in epoch seconds. `passed` is the end of the last drill that
    passed; if none ever did, the second in which the table was first enabled, because it could not
    be drilled before. `tried` is the end of the last drill, whatever its result, 0 if there was
    none."""

    table: str
    passed: int
    tried: int


class DrillAge(NamedTuple):
    """How many days ago a drill of a table passed, None when that is unknown. `problem` is the
    reason, one sentence."""

    table: str
    days: float | None
    problem: str = ""


def wanted(text: str) -> frozenset[str] | None:
    """Returns the names in a setting like `orders,users`, None for every enabled table."""
    names = frozenset(name for each in text.split(",") if (name := each.strip()))
    return None if EVERY in names else names


def last_drills(catalog: Catalog, streams: Iterable[Stream]) -> Drilled:
    """Returns when a table was drilled last. `streams` are all that were enabled, of which there
    is one. It reads the records of drills from the newest to the last one that passed. Raises
    ArchiveError when one of them cannot be read."""
    passed, tried = min(each.recorded for each in streams), 0
    for record in catalog.drills_back():
        tried = max(tried, record.ended)
        if record.passed:
            passed = record.ended
            break
    return Drilled(catalog.table, passed, tried)


def enabled(connection: Connection, table: str) -> Drilled | None:
    """Returns when a table was drilled last, None when it is not enabled now or does not exist any
    more. Raises what AWS answers when that cannot be known."""
    catalog = Catalog(connection.archive(table))
    streams = catalog.streams()
    if not streams:
        return None
    newest = streams[-1].label
    live, _ = look_up(connection.dynamodb, table)
    # `disable` may have recorded an end and not switched the stream off.
    if live is None or (newest in catalog.recorded_ends() and live.label != newest):
        return None
    return last_drills(catalog, streams)


def drill_ages(
    connection: Connection,
    watched: Iterable[Watched | Unwatched],
    names: frozenset[str] | None,
) -> Iterator[DrillAge]:
    """Yields how long ago a drill of each enabled table passed, of all or of those with these
    names. `watched` is what the watcher saw. A name that is not among them is a problem too,
    because a table whose name is misspelled would never be drilled."""
    missing = set(names or ())
    for each in watched:
        ended = isinstance(each, Watched) and each.age is None
        if not ended and (names is None or each.table in names):
            missing.discard(each.table)
            yield _age(connection, each)
    for name in sorted(missing):
        problem = f"It is to be drilled ({DRILL_TABLES}), but it is not enabled."
        yield DrillAge(name, None, problem)


def _age(connection: Connection, watched: Watched | Unwatched) -> DrillAge:
    try:
        if isinstance(watched, Unwatched):
            raise watched.error
        status = watched.status
        drills = last_drills(Catalog(connection.archive(watched.table)), status.streams)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other tables are looked at
        return DrillAge(watched.table, None, str(translate(error) or repr(error)))
    return DrillAge(watched.table, max(0, status.now - drills.passed) / DAY)
