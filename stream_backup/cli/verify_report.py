"""What a verification reports."""

import json
from typing import Any

from stream_backup.archive.status import FRESH
from stream_backup.aws.several import Deliver
from stream_backup.capture.state import State
from stream_backup.cli.console import say
from stream_backup.core.moment import iso
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import ArchiveError
from stream_backup.verify.findings import NAMED, Example
from stream_backup.verify.run import Verified

_KINDS = {
    "differs": "differs in the archive",
    "missing": "missing from the archive",
    "extra": "only in the archive",
    "unreadable": "unreadable in the archive",
    "late": "written late without announcement",
    "busy": "still changing; not compared",
}


def announce(state: State) -> None:
    """Says before the comparison what the archive does not know."""
    for sentence in state.unseen:
        say(sentence)
    if state.status.floor_now != NEVER:
        return
    found = state.status.coverage.epochs
    if found:
        ended = f"its coverage ended at {iso(found[-1].end or 0)}."
        why = f"The archive does not cover the present state of {state.table}: {ended}"
    else:
        why = (
            f"The archive does not cover {state.table}: no backfill was completed while its stream "
            "was on."
        )
    say(f"{why} The comparison uses the versions that exist.")


def report(found: Verified, deliver: Deliver | None, repair: dict[str, Any] | None = None) -> None:
    """Prints the counts, and some keys of each kind that is not equal, with what a `repair` did; or
    gives them to `deliver` as a JSON object."""
    findings, table, requests = found.findings, found.state.table, found.requests
    counts = {kind: findings.counts[kind] for kind in ("equal", *NAMED)}
    order = sorted(findings.examples, key=lambda each: (NAMED.index(each.kind), each.key))
    if deliver:
        examples = [_record(example) for example in order]
        told = {"table": table, "covered": found.covered, **counts, "examples": examples}
        told |= {"unseen": list(found.state.unseen)}
        told |= {"versions_listed": findings.versions, "requests": requests}
        deliver(told if repair is None else told | {"repair": repair})
        return
    for example in order:
        reason = f" ({example.reason})" if example.kind == "late" else ""
        say(f"  {_KINDS[example.kind]}: {example.key or example.reason}{reason}")
    left = ", ".join(f"{counts[kind]:,} {_KINDS[kind]}" for kind in NAMED if counts[kind])
    say(f"{table}: {counts['equal']:,} rows match the archive{left and f', {left}'}.")
    sent = ", ".join(f"{requests[kind]:,} {kind.upper()}" for kind in ("list", "get", "head"))
    say(f"{findings.versions:,} versions listed; {sent}.")


def complain(found: Verified) -> None:
    """Raises ArchiveError when something is wrong, with what to do first."""
    late = found.findings.counts["late"]
    if not found.findings.wrong and not late:
        return
    if not found.findings.wrong:
        raise ArchiveError(
            f"{late:,} items of {found.state.table} have versions that were written late without"
            " announcement, so restores of recent moments may miss others.",
            "Check which release of the function is deployed. Until then restore with"
            " --incomplete-ok, which relies on no announcement.",
        )
    kept = found.state.status.checkpoint
    if kept and _unread(found.state):
        say(
            f"The stream was last read at {iso(kept.caught_up)}. Later changes are among these"
            " rows."
        )
    raise ArchiveError(
        f"{found.findings.wrong:,} rows of {found.state.table} do not match the archive.",
        _hint(found),
    )


def _hint(found: Verified) -> str:
    table, findings, status = found.state.table, found.findings, found.state.status
    if not found.covered:
        return f"Run: stream-backup enable {table}; then run a backfill, and verify again."
    if found.state.failed:
        waiting = f"{len(found.state.failed):,} failed batches contain changes"
        return f"{waiting}. Write them to the archive: stream-backup redrive {table}"
    if _unread(found.state) and (status.lag or 0) > FRESH:
        return f"Read its stream first: stream-backup follow {table} --once; then verify again."
    known = (each.key for each in findings.examples if each.key and each.kind != "busy")
    key = next(known, "KEY")
    history = f"To see the history of one of them, run: stream-backup history {table} '{key}'"
    if findings.counts["unreadable"]:
        return history
    return f"{history}. To write what is wrong, run: stream-backup verify {table} --repair"


def _unread(state: State) -> bool:
    """Whether this table's stream is for `follow` to read, and no `follow` is running."""
    kept = state.status.checkpoint
    return bool(kept and not kept.drained and not state.status.following)


def _record(example: Example) -> dict[str, Any]:
    found = {"kind": example.kind, "key": json.loads(example.key) if example.key else None}
    return found | {"reason": example.reason} if example.reason else found
