"""The records under `meta/`, each read once, to find those that no release can read and the objects
that are no records."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, Literal, NamedTuple

from stream_backup.archive.announce import announced
from stream_backup.archive.layout import Archive
from stream_backup.core.checkpoints import FollowCheckpoint, SegmentCheckpoint
from stream_backup.core.checks import CheckRound
from stream_backup.core.drill import DrillRecord
from stream_backup.core.order import Ordered, Walk
from stream_backup.core.records import (
    ClosedHole,
    EnableAttempt,
    End,
    Enrolment,
    HoleRecord,
    Mapping,
    Outage,
    RedriveRecord,
    Run,
    Stream,
    TableDescription,
)
from stream_backup.core.repair import Repair
from stream_backup.core.retention import Retention
from stream_backup.core.version import Version
from stream_backup.core.witness import Witness
from stream_backup.errors import ArchiveError

KINDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "streams": Stream.of,
    "ends": End.of,
    "runs": Run.of,
    "segments": SegmentCheckpoint.of,
    "outages": Outage.of,
    "mappings": Mapping.of,
    "holes": HoleRecord.of,
    "closed-holes": ClosedHole.of,
    "redrives": RedriveRecord.of,
    "repairs": Repair.of,
    "late": dict,
    "follow": FollowCheckpoint.of,
    "witness": Witness.of,
    "retention": Retention.of,
    "ordered": Ordered.of,
    "walks": Walk.of,
    "checks": CheckRound.of,
    "drills": DrillRecord.of,
    "enrolments": Enrolment.of,
    "attempts": EnableAttempt.of,
    "tables": TableDescription.of,
}
"""How each kind of record is read, by the folder that it is in (`docs/format.md`, "`meta/`")."""

Wrong = Literal["record", "foreign"]
"""`record` cannot be read, `foreign` is no record."""


class BadRecord(NamedTuple):
    """An object under `meta/` that a reader cannot use, when it was written, and why."""

    name: str
    kind: Wrong
    written: int
    why: str


def bad_records(archive: Archive, pool: Executor) -> Iterator[BadRecord]:
    """Yields the objects under `meta/` that cannot be read, in order of name. It takes one GET for
    each record except those of which the name alone counts."""

    def look(found: tuple[str, tuple[Version, ...]]) -> BadRecord | None:
        return _look(archive, *found)

    yield from filter(None, pool.map(look, archive.meta.every()))


def _look(archive: Archive, name: str, entries: tuple[Version, ...]) -> BadRecord | None:
    newest = next((each for each in entries if not each.marker), None)
    folder, _, rest = name.partition("/")
    if newest is None:
        return None
    if folder not in KINDS or not rest:
        gone = entries[0].marker
        why = "it is no record of stream-backup"
        return None if gone else BadRecord(name, "foreign", newest.written, why)
    try:
        if folder == "late":
            archive.meta.parse(name, announced, rest)
        elif folder != "closed-holes":
            archive.meta.load(name, newest, KINDS[folder])
    except ArchiveError as error:
        return BadRecord(name, "record", newest.written, str(error))
    return None
