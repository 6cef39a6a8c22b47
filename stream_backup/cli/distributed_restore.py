"""`stream-backup restore --distributed` and `--attach`."""

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from restore.new_table import Filled, NewTable
from restore.order import RestoreOrder
from restore.plan import Tally
from restore.target import prepare
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import require
from stream_backup.capture.point import RestorePoint, rows_of
from stream_backup.cli.console import data, keep, say
from stream_backup.cli.distribution import follow, report_start
from stream_backup.cli.options import ChosenTables
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.cli.restore_report import KINDS, RestoreReport, facts_of
from stream_backup.core.key import KeySchema
from stream_backup.distributed.machine import Execution
from stream_backup.distributed.restore import run_of, settings_of, slices_of
from stream_backup.distributed.run import DistributedRun, runs_of
from stream_backup.errors import ArchiveError, UsageError


def check(options: RestoreOptions, chosen: ChosenTables, others: Mapping[str, object]) -> str:
    """Returns the table of a distributed restore. Raises UsageError for what only one machine does;
    `others` are further options by name, as they were given."""
    refused = {
        "--in-place": options.in_place,
        "--to": options.to,
        "--overwrite": options.overwrite,
        **others,
    }
    for option, value in refused.items():
        if value:
            raise UsageError(
                f"{option} is not possible with --distributed, which fills a new or empty table.",
                "Leave out --distributed: this machine can do it.",
            )
    if chosen.one is None:
        raise UsageError(
            "A distributed restore is of one table, and there are several.",
            "Name one table, or leave out --distributed.",
        )
    return chosen.one


def distribute(
    connection: Connection,
    point: RestorePoint,
    options: RestoreOptions,
    table: NewTable,
    *,
    detach: bool,
    as_json: bool,
) -> None:
    """Starts a distributed restore, or resumes an unfinished one, and follows it unless
    `detach`."""
    found = runs_of(connection, "restore", point.table)
    found.require_none()
    _require_writable(connection, table.name)
    target = prepare(
        connection.dynamodb,
        table.name,
        table.description,
        table.identity,
        overwrite=False,
        stream=table.stream,
        warm_throughput=table.warm_throughput,
    )
    live, _ = require(connection.dynamodb, table.name)
    run = run_of(target, live)
    rows = rows_of(point)
    slices = slices_of(found, run, target, rows)
    if target.resumed:
        share = 1 - sum(each.left for each in slices)
        say(f"Resuming the restore into table {table.name}: {share:.0%} of the names are complete.")
    if not slices:  # only the end of the run is missing
        target.finish()
        _show(facts_of(point), {}, table.name, resumed=True, as_json=as_json)
        return
    order = RestoreOrder(table.name, point.moment, point.floor, point.lateness)
    schema = KeySchema.of(table.description.table)
    facts, incomplete_ok = facts_of(point), options.incomplete_ok
    given = order, schema, target, facts
    settings = settings_of(*given, incomplete_ok=incomplete_ok, rows=rows)
    limits = {"workers": options.workers, "write_units": options.rate}
    execution = found.start(run, slices, settings, **limits)  # type: ignore[arg-type]
    if detach:
        told = report_start(found, execution)
        if as_json:
            data(told)
        return
    _follow(found, execution, as_json=as_json)


def follow_last(connection: Connection, chosen: ChosenTables, *, as_json: bool) -> None:
    """Returns to the distributed restore of a table that is under way, or that ended last."""
    if chosen.one is None:
        raise UsageError("--attach returns to the restore of one table.", "Name one table.")
    found = runs_of(connection, "restore", chosen.one)
    _follow(found, found.last(), as_json=as_json)


def _follow(found: DistributedRun, execution: Execution, *, as_json: bool) -> None:
    end = follow(found, execution)
    given = found.bucket.job(execution.job).settings
    into, resumed = str(end.result["into"]), bool(end.result["resumed"])
    _show(given["facts"], end.counts, into, resumed=resumed, as_json=as_json)


def _show(
    facts: Mapping[str, object],
    counts: Mapping[str, int],
    into: str,
    *,
    resumed: bool,
    as_json: bool,
) -> None:
    steps = Counter({kind: counts.get(kind, 0) for kind in ("put", "absent")})
    unread = [ArchiveError("An item has a version that cannot be read.")]
    tally = Tally(steps, counts.get("versions", 0), unread * counts.get("unreadable", 0))
    requests = {kind: counts.get(kind, 0) for kind in KINDS}
    outcome = Filled(into, counts.get("written", 0), resumed, ())
    keep(RestoreReport(facts, tally, requests, outcome, None)).show(as_json=as_json)


def _require_writable(connection: Connection, name: str) -> None:
    """Raises UsageError when the role of the workers does not allow them to write to the table."""
    stack = connection.stack
    assert stack is not None
    if not stack.reads(name) and not fnmatchcase(name, stack.restore_pattern):
        raise UsageError(
            f"The workers of the stack may not write to table {name}: neither TablePattern nor"
            " RestorePattern matches it.",
            "Restore into a table with a matching name (--into NAME), or deploy the stack with"
            " another RestorePattern.",
        )
