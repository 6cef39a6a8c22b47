"""A drill: restores to a scratch table, rewinds that copy, and compares both with an independent
reading of the archive.

The scratch table is removed whatever happens, and the record of the drill is written next to the
archive whatever the result.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Timer

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.capture.known import unknown
from stream_backup.core.drill import DrillRecord
from stream_backup.core.moment import iso
from stream_backup.drill.choice import DrillChoice
from stream_backup.drill.course import Course, StoppedError
from stream_backup.drill.facts import caller, software
from stream_backup.drill.scratch import scratch_of
from stream_backup.errors import CoverageError
from stream_backup.progress import Progress

LONGEST = 24 * 3600.0
"""Seconds that a drill may take."""

GRACE = 900
"""Seconds after that by which a drill has removed its scratch table, or never will."""


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """Which drill to make of `table`.

    `at` is the moment to restore, in epoch seconds; without it a random exact moment is chosen.
    With `present` the latest exact moment is restored, and the copy is compared with the live table
    too. `rows` is how many items to restore at most, `sample` which share of them (0 to 1); without
    both all of them are. `seed` makes all random choices, and is recorded. `seconds` is how long
    the drill may take: what is not done by then is interrupted, so leave time for the removal of
    the scratch table.
    """

    table: str
    at: int | None = None
    rows: int | None = None
    sample: float | None = None
    seed: int | None = None
    seconds: float | None = None
    present: bool = False

    @property
    def choice(self) -> DrillChoice:
        """Which items of which moment are restored."""
        return DrillChoice(self.at, self.rows, self.sample, self.present)


def drill(
    connection: Connection, request: DrillRequest, progress: Progress, stop: Event
) -> DrillRecord:
    """Makes a drill and returns its record, which has been written to the archive. Its `result` is
    `passed`, `failed` when something differed, or `interrupted` when `stop` was set or the time was
    over.

    Raises CoverageError when no moment, or not this one, is exact (`refused`), and whatever else
    ended the drill (`failed`; KeyboardInterrupt: `interrupted`), each after the record was written.
    Where even the record cannot be written, only the error is raised. Raises UsageError, without a
    record, for a table that is not in the archive.
    """
    catalog = catalog_of(connection, request.table)
    longest = min(request.seconds or LONGEST, LONGEST)
    course = _course(connection, request, progress, stop, int(longest) + GRACE)
    try:
        with _limited(stop, longest):
            course.run()
    except StoppedError as error:
        course.learn(result="interrupted", reason=str(error))
    except BaseException as error:
        course.learn(**ended_by(error))
        with suppress(Exception):  # the first error is the one to report
            _write(catalog, course, connection)
        raise
    return _write(catalog, course, connection)


def catalog_of(connection: Connection, table: str) -> Catalog:
    """Returns the catalog of a table that is to be drilled. Raises UsageError when it is not in the
    archive."""
    archive = connection.archive(table)
    catalog = Catalog(archive)
    if not catalog.streams() and archive.is_empty():
        raise unknown(connection, table)
    return catalog


def new_record(connection: Connection, request: DrillRequest) -> DrillRecord:
    """Returns the record of a drill that begins now."""
    began = connection.clock()
    return DrillRecord(
        name=f"{iso(began)}-{secrets.token_hex(3)}",
        table=request.table,
        archive=str(connection.location),
        began=began,
        ended=began,
        by=caller(connection),
        result="interrupted",
        reason="",
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        part=request.choice.part,
        versions=software(),
    )


def _course(
    connection: Connection, request: DrillRequest, progress: Progress, stop: Event, longest: int
) -> Course:
    record = new_record(connection, request)
    scratch = scratch_of(record.archive, record.table, record.name, record.began + longest)
    return Course(connection, request.choice, progress, stop, scratch, record)


def _write(catalog: Catalog, course: Course, connection: Connection) -> DrillRecord:
    course.learn(ended=connection.clock())
    catalog.write_drill(course.record)
    return course.record


def ended_by(error: BaseException) -> dict[str, str]:
    """Returns the result of a drill that this error ended, and why. Only the text of errors that
    are known is kept: others could contain parts of an item."""
    if isinstance(error, CoverageError):
        return {"result": "refused", "reason": str(error)}
    if not isinstance(error, Exception):
        return {"result": "interrupted", "reason": "It was interrupted."}
    known = translate(error)
    return {"result": "failed", "reason": str(known) if known else type(error).__name__}


@contextmanager
def _limited(stop: Event, seconds: float) -> Iterator[None]:
    """Sets `stop` after so many seconds."""
    timer = Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
