"""What must hold for a repair to begin an epoch."""

from stream_backup.capture.state import State
from stream_backup.core.coverage import Epoch
from stream_backup.core.moment import iso
from stream_backup.core.repair import Repair
from stream_backup.core.time_rule import FOREVER, NEVER
from stream_backup.errors import ArchiveError, CoverageError, IncompleteError
from stream_backup.verify.run import Verified


def repairable(state: State) -> Epoch:
    """Returns the epoch whose floor a repair keeps: the last one of the stream that is on, or one
    without a moment where an outage has taken all of them. Raises CoverageError or IncompleteError
    where there was none, or where changes are known to be on their way whose rank nobody can
    tell."""
    table, status, stream = state.table, state.status, state.status.stream
    if stream is None or state.live is None or state.live.label != stream.label:
        raise CoverageError(
            f"The stream of {table} is not on, or not known to this archive, so a repair could not"
            " begin a new epoch.",
            f"Run: stream-backup enable {table}; then run a backfill.",
        )
    runs = [run for run in status.runs if run.complete and run.stream == stream.label]
    if not runs:
        raise CoverageError(
            f"No backfill of {table} was completed since its stream was switched on, so there is"
            " nothing to repair.",
            f"Run: stream-backup backfill {table}",
        )
    if not stream.announces:
        raise IncompleteError(
            f"The function that reads the stream of {table} does not announce late changes, so"
            " nobody knows whether older ones are still on their way.",
            f"Record the gap: stream-backup outage {table}; then run a backfill.",
        )
    if state.failed is None:
        raise IncompleteError(
            "The failures bucket cannot be read, so nobody knows whether failed batches wait.",
            "Run it with the permission to read that bucket.",
        )
    if any(hole.stream == stream.label for hole in status.coverage.holes):
        raise IncompleteError(
            f"{table} has failed batches. What they contain cannot be compared before it is in the"
            " archive.",
            f"Run: stream-backup redrive {table}; then verify again.",
        )
    floor = max(run.floor for run in runs)
    none = Epoch(stream.label, floor, start=FOREVER, end=NEVER)
    mine = [each for each in status.coverage.epochs if each.stream == stream.label]
    return mine[-1] if mine else none


def require_silence(state: State, draft: Repair) -> None:
    """Raises IncompleteError while a writer has announced changes from before the scan."""
    if until := draft.late_until(state.status.lateness.announced):
        raise IncompleteError(
            f"A writer announced that it is late: until {iso(until)}, it may write changes from"
            " before this verification.",
            "Run it again after that. Or record the gap and run a backfill, which need not wait:"
            f" stream-backup outage {state.table}",
        )


def require_read(state: State, draft: Repair) -> None:
    """Raises IncompleteError when the stream was not read up to the end of the scan."""
    latest = state.status.coverage.latest
    if latest < draft.read:
        raise IncompleteError(
            f"The stream of {state.table} has been read only up to {iso(latest)}, and the scan"
            f" ended at {iso(draft.read)}. Nothing was written.",
            f"Check what reads it: stream-backup status {state.table}",
        )


def require_readable(found: Verified) -> None:
    """Raises ArchiveError when some items could not be judged, or when a writer does not announce
    what it writes late. A repair could then not begin a new epoch."""
    counts, table = found.findings.counts, found.state.table
    if counts["unreadable"]:
        raise ArchiveError(
            f"{counts['unreadable']:,} items of {table} are unreadable in the archive, so nobody"
            " knows whether they are right. Nothing was written.",
            f"To see them, run: stream-backup verify {table}",
        )
    if counts["late"]:
        raise ArchiveError(
            f"{counts['late']:,} items of {table} have versions that were written late without"
            " announcement. Nothing was written.",
            "Check which release of the function is deployed.",
        )
