"""What is decided before a drill begins: which moments it restores, and what the scratch table is
made from. Everything random comes from the seed of the drill."""

from random import Random

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.point import RestorePoint, resolve
from stream_backup.capture.state import State
from stream_backup.core.records import TableDescription
from stream_backup.core.spans import Span
from stream_backup.drill.choice import DrillChoice
from stream_backup.drill.moments import another, choose, inner
from stream_backup.errors import CoverageError, UsageError
from stream_backup.progress import Progress


def random_for(seed: int, what: str) -> Random:
    """Returns what chooses this, the same for the same seed whatever else is chosen."""
    return Random(f"{seed} {what}")  # noqa: S311 - the seed is on record


def exact_age(state: State) -> int | None:
    """Returns how many seconds old the newest exact second is, None when no second is exact."""
    spans = state.status.coverage.spans
    return max(0, state.now - spans[-1].last) if spans else None


def point_of(
    connection: Connection, state: State, choice: DrillChoice, seed: int, progress: Progress
) -> RestorePoint:
    """Returns the moment to restore: the one that was chosen, the latest exact one, or a random
    one. Raises CoverageError when it is not exact, or when no moment is."""
    spans, at = state.status.coverage.spans, choice.at
    if choice.present and spans:
        at = min(spans[-1].last, state.now - 1)
    elif at is None:
        at = choose(inner(spans), random_for(seed, "moment"))
    if at is None:
        raise CoverageError(
            f"There is no moment to restore. {state.span}",
            f"Run: stream-backup status {state.table}",
        )
    point = resolve(connection, state, at, progress, incomplete_ok=False)
    if choice.present:
        point.require_present()
    return point


def second_moment(point: RestorePoint, seed: int, progress: Progress) -> int | None:
    """Returns another moment of the same epoch, to which the copy is rewound; None when there is
    none, which is reported."""
    first, last = point.bounds or (None, None)
    if first is None or last is None:
        return None
    spans = inner([Span(first.moment, last.moment)])
    moment = another(spans, point.moment, random_for(seed, "rewind"))
    if moment is None:
        progress.note("No other moment is exact, so the copy is not rewound.")
    return moment


def description_at(connection: Connection, point: RestorePoint) -> TableDescription:
    """Returns the description of the table at this point. Raises UsageError when there is none."""
    catalog = Catalog(connection.archive(point.table))
    found = catalog.description(point.label) or catalog.description()
    if found is None:
        raise UsageError(
            f"The archive contains no description of table {point.table}, so no scratch table"
            " can be created.",
            f"To store it, run: stream-backup enable {point.table}",
        )
    return found
