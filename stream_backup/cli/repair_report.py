"""What a verification that repairs reports."""

from typing import Any

from stream_backup.aws.several import Deliver
from stream_backup.cli.console import say
from stream_backup.cli.verify_report import complain, report
from stream_backup.core.moment import iso
from stream_backup.core.spans import spoken
from stream_backup.errors import IncompleteError
from stream_backup.verify.gap import Gap
from stream_backup.verify.repair import Repaired


def warn(gap: Gap) -> None:
    """Says before anything is written what a repair does to the coverage."""
    say(f"{gap.rows:,} rows are to be written.")
    if gap.outage:
        say(
            f"Changes after {iso(gap.outage.since)} were lost.",
            f"No longer exact: {spoken(gap.lost) or 'no moment; none of these was exact before'}.",
            f"Still exact: {spoken(gap.exact) or 'no moment'}.",
        )
    if gap.outage and gap.unknown:
        say(
            f"{gap.unknown:,} of these rows have no version in this epoch, so nobody knows since"
            " when they exist. If you know since when changes were lost, pass --lost-since WHEN."
        )


def report_repair(done: Repaired, deliver: Deliver | None) -> None:
    """Prints what was found and what was written; or gives it to `deliver` as a JSON object."""
    report(done.found, deliver, repair=_record(done))
    table, repair = done.found.state.table, done.record
    if repair is None:
        if not done.found.findings.wrong:
            say("There is nothing to repair.")
        return
    counts = repair.counts
    kinds = {
        "scan": "rows written",
        "missing": "rows found missing",
        "changed": "rows changed meanwhile",
        "failed": "rows failed",
    }
    told = [f"{counts[kind]:,} {text}" for kind, text in kinds.items() if counts.get(kind)]
    say(f"{table}: {', '.join(told) or 'no row had to be written'}.")
    if done.gap and done.gap.outage:
        say(f"The gap after {iso(done.gap.outage.since)} is on record.")
    if repair.complete and done.counts:
        say(f"New moments are exact from {iso(repair.answered)} on.")


def complain_of_repair(done: Repaired) -> None:
    """Raises what a verification raises where nothing was repaired, and IncompleteError where not
    everything was."""
    table, repair = done.found.state.table, done.record
    if repair is None:
        complain(done.found)
        return
    if repair.complete and done.counts:
        return
    failed = repair.counts.get("failed", 0)
    why = (
        f"{failed:,} rows could not be written: {'; '.join(done.failures)}"
        if failed
        else ("The stream was switched off, or a writer announced meanwhile that it is late")
    )
    raise IncompleteError(
        f"The repair of {table} began no new epoch. {why.rstrip('.')}.",
        f"Nothing was lost. Run it again: stream-backup verify {table} --repair",
    )


def _record(done: Repaired) -> dict[str, Any]:
    repair = done.record
    if repair is None:
        return {"written": False}
    counts = {kind: repair.counts.get(kind, 0) for kind in ("scan", "missing", "changed", "failed")}
    begun = repair.complete and done.counts
    return {
        "written": True,
        "complete": begun,
        "counts": counts,
        "gap": done.gap.record() if done.gap else None,
        "exact_from": iso(repair.answered) if begun else None,
    }
