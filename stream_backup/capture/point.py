"""The moment to restore, checked against coverage: refused when it cannot be exact, unless told
otherwise."""

from dataclasses import dataclass

from stream_backup.aws.connection import Connection
from stream_backup.capture.catch_up import catch_up, wait
from stream_backup.capture.known import unknown
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


def rows_of(point: RestorePoint) -> int:
    """Returns about how many rows a restore has: as many as the last backfill read, or as the table
    has."""
    live = point.state.live
    now = int(live.description.get("ItemCount") or 0) if live else 0
    return max([now, *(run.counts.get("read", 0) for run in point.state.status.runs[-1:])])


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
        raise unknown(connection, table)
    if moment >= state.now and not incomplete_ok:
        raise CoverageError(
            f"{iso(moment)} is not over yet: the time is {iso(state.now)}. {state.span}",
            "Choose a second that is over.",
        )
    if moment > state.status.coverage.latest and state.reading and moment < state.now:
        state = wait(connection, table, moment, progress)
    point = _within(moment, state, incomplete_ok=incomplete_ok)
    if point.epoch is None:
        progress.note(
            f"{iso(moment)} is outside coverage. {state.span} "
            "The versions that exist are used, and the result may not be exact."
        )
    if point.epoch is None or point.epoch.end is None:
        for sentence in state.unseen:
            progress.note(sentence)
    return point


def resolve_window(
    connection: Connection,
    state: State,
    since: int,
    until: int | None,
    progress: Progress,
    *,
    incomplete_ok: bool,
) -> tuple[RestorePoint, RestorePoint]:
    """Returns the points before and at the end of the window (since, until]. Without `until` the
    window ends at the latest exact moment.

    Raises UsageError when the window is empty, and CoverageError when its moments are not in one
    epoch, besides what `resolve` raises.
    """
    if until is None:
        until = max(_latest(state), since + 1)  # for that one second, it is worth waiting
        progress.note(f"The window ends at the latest exact moment, {iso(until)}.")
    if since >= until:
        raise UsageError(
            f"The window from {iso(since)} to {iso(until)} contains no second.",
            "--from is the last second before the window, --to is the last second in it.",
        )
    progress = _Once(progress)
    last = resolve(connection, state, until, progress, incomplete_ok=incomplete_ok)
    first = resolve(connection, last.state, since, progress, incomplete_ok=incomplete_ok)
    if first.epoch != last.epoch and last.bounds and not incomplete_ok:
        earliest, latest = last.bounds
        raise CoverageError(
            f"{iso(since)} and {iso(until)} are in two epochs of {state.table}: not everything that"
            " changed between them is known.",
            f"Choose two moments from {iso(earliest.moment)} to {iso(latest.moment)}.",
        )
    return first, last


class _Once:
    """Reports each sentence once, though two moments are resolved."""

    def __init__(self, progress: Progress) -> None:
        self._told: set[str] = set()
        self._progress = progress
        self.task = progress.task

    def note(self, text: str) -> None:
        """Reports a sentence that was not reported before."""
        if text not in self._told:
            self._told.add(text)
            self._progress.note(text)


def _latest(state: State) -> int:
    """The latest exact moment; without one, the last second that is over."""
    bounds = state.status.coverage.bounds
    return bounds[1].moment if bounds else state.now - 1


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
