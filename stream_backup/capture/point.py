"""The moment to restore, checked against coverage: refused when it cannot be exact, unless told
otherwise."""

from dataclasses import dataclass

from stream_backup.aws.connection import Connection
from stream_backup.capture.catch_up import catch_up, wait
from stream_backup.capture.state import State
from stream_backup.core.coverage import Epoch
from stream_backup.core.moment import iso
from stream_backup.core.retention import Bound
from stream_backup.core.time_rule import NEVER, Lateness
from stream_backup.errors import CoverageError, UsageError
from stream_backup.progress import Progress


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A moment of one table, in epoch seconds. `epoch` holds it, None when none does and the moment
    is wanted all the same. Unless `trusting`, no announcement of a writer is relied on."""

    moment: int
    epoch: Epoch | None
    state: State
    trusting: bool = True

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.state.table

    @property
    def label(self) -> str | None:
        """The label of the stream whose table description belongs to the moment."""
        return self.epoch.stream if self.epoch else None

    @property
    def floor(self) -> int:
        """The floor of the moment's epoch, NEVER without one."""
        return self.epoch.floor if self.epoch else NEVER

    @property
    def floor_now(self) -> int:
        """The floor of the epoch that holds the present, NEVER without one."""
        return self.state.status.floor_now

    @property
    def lateness(self) -> Lateness:
        """How late the versions that count may have been written."""
        status = self.state.status
        return status.lateness_in(self.epoch) if self.trusting else status.lateness

    @property
    def bounds(self) -> tuple[Bound, Bound] | None:
        """The earliest and latest exact moments of the epoch that is restored from, else of the
        newest epoch."""
        coverage = self.state.status.coverage
        if self.epoch:
            return coverage.start_of(self.epoch), coverage.end_of(self.epoch)
        return coverage.bounds

    def require_present(self) -> None:
        """Raises UsageError or CoverageError when the archive does not know what the table is like
        now: it could not say what changed since the moment."""
        coverage = self.state.status.coverage
        if self.floor_now == NEVER:
            raise UsageError(
                f"The archive does not cover the present state of {self.table}, so it does not know"
                " what changed since.",
                "Restore into a new table (--into NAME), or run: "
                f"stream-backup enable {self.table}; then run a backfill.",
            )
        if coverage.holes_in(coverage.epochs[-1]):
            raise CoverageError(
                f"{self.table} has failed batches, so the archive does not know all that changed"
                f" since. {self.state.span}",
                f"Run: stream-backup redrive {self.table}; or restore into a new table (--into"
                " NAME).",
            )


def resolve(
    connection: Connection, state: State, moment: int, progress: Progress, *, incomplete_ok: bool
) -> RestorePoint:
    """Returns the restore point of a moment, and reports what could not be checked. Waits for a
    `follow` that is about to reach the moment.

    Raises CoverageError outside coverage unless `incomplete_ok`, and UsageError for a table that is
    not in the archive.
    """
    table = state.table
    if not state.status.streams and connection.archive(table).is_empty():
        raise UsageError(
            f"The archive {connection.location} contains nothing of table {table!r}.",
            "Check the name of the table, and --archive.",
        )
    if moment >= state.now and not incomplete_ok:
        raise CoverageError(
            f"{iso(moment)} is not over yet: the time is {iso(state.now)}. {state.span}",
            "Restore to a second that is over.",
        )
    if moment > state.status.coverage.latest and state.reading and moment < state.now:
        state = wait(connection, table, moment, progress)
    point = _within(moment, state, incomplete_ok=incomplete_ok)
    if point.epoch is None:
        progress.note(
            f"{iso(moment)} is outside coverage. {state.span} "
            "The restore uses the versions that exist and may not be exact."
        )
    if point.epoch is None or point.epoch.end is None:
        for sentence in state.unseen:
            progress.note(sentence)
    return point


def up_to_date(
    connection: Connection, point: RestorePoint, progress: Progress, *, incomplete_ok: bool
) -> RestorePoint:
    """Returns the same restore point once the archive has everything up to the moment of this
    call."""
    state = catch_up(connection, point.state, progress)
    return _within(point.moment, state, incomplete_ok=incomplete_ok)


def _within(moment: int, state: State, *, incomplete_ok: bool) -> RestorePoint:
    coverage = state.status.coverage
    found = coverage.epoch_at(moment) if incomplete_ok else coverage.require(moment, state.table)
    return RestorePoint(moment, found, state, trusting=not incomplete_ok)
