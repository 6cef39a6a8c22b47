"""`stream-backup verify --distributed` and `--attach`.

The workers compare every row once. This command compares again what they have left open: it waits
as long as changes may be on their way.
"""

from stream_backup.aws.several import Deliver
from stream_backup.capture.state import state_of
from stream_backup.cli.console import keep, say
from stream_backup.cli.distribution import follow, report_start, to_attach
from stream_backup.cli.verify_report import announce, complain, report
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.core.slice import cut_scan
from stream_backup.distributed.backfill import segments_for
from stream_backup.distributed.machine import Execution
from stream_backup.distributed.open_rows import read_open
from stream_backup.distributed.run import DistributedRun, runs_of
from stream_backup.distributed.verify import REQUESTS, STAGES, settings_of
from stream_backup.errors import IncompleteError
from stream_backup.verify.rows import close
from stream_backup.verify.run import Verification, order_of


def distribute(
    work: Verification,
    segments: int | None,
    workers: int | None,
    units: float | None,
    deliver: Deliver | None,
    *,
    detach: bool,
) -> None:
    """Starts a distributed verification, and follows it unless `detach`. Its report goes to
    `deliver` as a JSON object, otherwise to stderr."""
    connection, table = work.connection, work.archive.table
    found = runs_of(connection, "verify", table)
    found.require_none()
    rows = int(work.live.description.get("ItemCount") or 0)
    slices = cut_scan(segments or segments_for(rows))
    status = state_of(connection, table).status
    schema = KeySchema.of(work.live.description)
    settings = settings_of(order_of(status), schema, status.now)
    limits = {"workers": workers, "read_units": units}
    execution = found.start(iso(status.now), slices, settings, stages=STAGES, **limits)  # type: ignore[arg-type]
    if not detach:
        _follow(work, found, execution, deliver)
        return
    told = report_start(found, execution)
    if deliver:
        deliver(told)


def follow_last(work: Verification, deliver: Deliver | None) -> None:
    """Returns to the distributed verification of a table that is under way, or that ended last."""
    found = runs_of(work.connection, "verify", work.archive.table)
    execution = found.last()
    began = found.bucket.job(execution.job).settings["began"]
    say(f"This verification began at {iso(began)}.")
    _follow(work, found, execution, deliver)


def _follow(
    work: Verification, found: DistributedRun, execution: Execution, deliver: Deliver | None
) -> None:
    end = follow(found, execution)
    findings, left = read_open(found.bucket, end)
    try:
        state = state_of(work.connection, found.table)
        announce(state)
        if state.status.floor_now != end.result["floor"]:
            raise IncompleteError(
                f"What the archive covers of {found.table} has changed since this verification"
                " began, so its result says nothing about the present.",
                f"Run it again: stream-backup verify {found.table} --distributed",
            )
        requests = {kind: end.counts.get(kind, 0) for kind in REQUESTS}
        done = keep(work.end(findings, left, end.counts.get("rows", 0), state, requests))
    except KeyboardInterrupt as interrupt:
        interrupt.hint = f"What the workers found is kept. {to_attach(found)}"  # type: ignore[attr-defined]
        raise
    finally:
        close(left)
    report(done, deliver)
    complain(done)
