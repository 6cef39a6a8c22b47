"""What `status` reports of one table."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from stream_backup.capture.failures import FailedBatch
from stream_backup.capture.state import MappingState, State
from stream_backup.cli import console
from stream_backup.core.moment import iso
from stream_backup.core.order import ENDED
from stream_backup.core.records import EnableAttempt
from stream_backup.errors import StreamBackupError


def record(state: State, attempt: EnableAttempt | None = None) -> dict[str, Any]:
    """Returns the report as a JSON object. `attempt` is the last attempt to enable the table, if it
    failed."""
    status = state.status
    bounds = status.coverage.bounds
    walk = status.walks.get(ENDED)
    last = next((run for run in reversed(status.runs) if run.complete), None)
    return {
        "table": state.table,
        "state": _live(state),
        "earliest": bounds[0].text if bounds else None,
        "earliest_why": bounds[0].why if bounds else None,
        "latest": bounds[1].text if bounds else None,
        "latest_why": bounds[1].why if bounds else None,
        "lag": status.lag,
        "following": status.following,
        "mappings": [_mapping(each) for each in state.mappings],
        "failed_batches": None if state.failed is None else [_batch(each) for each in state.failed],
        "epochs": [
            {
                "stream": epoch.stream,
                "floor": iso(epoch.floor),
                "start": iso(epoch.start),
                "end": epoch.end and iso(epoch.end),
            }
            for epoch in status.coverage.epochs
        ],
        "gaps": list(_gaps(state)),
        "problems": list(state.problems),
        "last_walk": walk.record() if walk else None,
        "unseen": list(state.unseen),
        "last_backfill": last.record() if last else None,
        "unfinished_backfills": [run.name for run in status.runs if not run.complete],
        "enable_failed": attempt.record() if attempt else None,
        "streams": [stream.record() for stream in status.streams],
    }


def show(state: State, attempt: EnableAttempt | None = None) -> None:
    """Prints the report on stdout."""
    found = record(state, attempt)
    _line(f"{state.table} ({found['state']})")
    _field("exact", _exact(found))
    if found["earliest_why"]:
        _field("", f"not earlier: {found['earliest_why']}")
    if found["earliest"]:
        _field("", f"not later: {found['latest_why']}")
    lag = "unknown" if found["lag"] is None else f"{found['lag']} s"
    _field("behind", f"{lag}{', being followed' if found['following'] else ''}")
    for mapping in found["mappings"]:
        result = f", last result: {mapping['last_result']}" if mapping["last_result"] else ""
        told = f"{mapping['uuid']} of {mapping['function']}: {mapping['state']}{result}"
        _field("mapping", told)
    if failed := found["failed_batches"]:
        since = min(batch["since"] for batch in failed)
        way = f"run stream-backup redrive {state.table}"
        _field("failed batches", f"{len(failed):,} with changes from {since} on: {way}")
    if last := found["last_backfill"]:
        counts = last["counts"]
        done = f"{counts['read']:,} read, {counts['written']:,} written"
        _field("last backfill", f"{last['answered']}, {done}")
    for gap in found["gaps"]:
        _field("gap", f"after {gap['after']} until {gap['until'] or 'now'}: {gap['reason']}")
    if unfinished := found["unfinished_backfills"]:
        _field("unfinished", f"{len(unfinished)} backfill(s); run backfill again to resume")
    for sentence in state.problems:
        _field("problem", sentence)
    if attempt:
        failed_at = f"failed at {iso(attempt.recorded)}: {attempt.reason}"
        _field("enable", f"{failed_at} Run: stream-backup enable {state.table}")
    for sentence in state.unseen:
        _field("unknown", sentence)


def show_unreadable(table: str, error: StreamBackupError) -> None:
    """Prints on stdout that the archive of a table cannot be read."""
    _line(f"{table} (unreadable)")
    _field("problem", str(error))


def _live(state: State) -> str:
    if not state.described:
        return "no permission to describe the table"
    if state.live is None:
        return "no table"
    return "stream off" if state.live.label is None else "stream on"


def _exact(found: dict[str, Any]) -> str:
    if not found["earliest_why"]:
        return "no moment yet: no backfill was completed while its stream was on"
    if not found["earliest"]:
        return "no moment"
    if found["latest"] < found["earliest"]:
        return f"from {found['earliest']}, once the stream has been read that far"
    return f"from {found['earliest']} to {found['latest']}"


def _mapping(found: MappingState) -> dict[str, Any]:
    return found.record() | {"state": found.state or "no permission to read it"}


def _batch(batch: FailedBatch) -> dict[str, Any]:
    return batch._asdict() | {"since": iso(batch.since), "until": iso(batch.until)}


def _gaps(state: State) -> Iterator[dict[str, Any]]:
    """Yields what lies between two epochs, and after an epoch that ended, each with its reason
    where one is recorded."""
    spans = state.status.coverage.epochs
    for epoch, following in zip_longest(spans, spans[1:]):
        if epoch.end is None:
            continue
        ended = (outage for outage in state.status.outages if outage.since == epoch.end)
        reason = next((outage.reason for outage in ended), "the stream ended")
        until = iso(following.start) if following else None
        yield {"after": iso(epoch.end), "until": until, "reason": reason}


def _line(text: str) -> None:
    console.show(text)


def _field(name: str, text: str) -> None:
    console.show(f"  {name:<15} {text}")
