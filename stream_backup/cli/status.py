"""`stream-backup status`."""

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.matching import archived_tables
from stream_backup.aws.several import Deliver
from stream_backup.capture.known import unknown
from stream_backup.capture.state import State, state_of
from stream_backup.cli.console import keep, say
from stream_backup.cli.input import parse_duration
from stream_backup.cli.options import Chosen, as_json, connected, table_or_match
from stream_backup.cli.several import run_one, run_several, silent
from stream_backup.cli.status_check import CheckedStatus, limits_of
from stream_backup.cli.status_report import record, show, show_unreadable
from stream_backup.errors import UsageError


@click.command()
@table_or_match("Show", required=False)
@click.option(
    "--check",
    "is_check",
    is_flag=True,
    help="For monitoring: print only what needs attention, one line for each finding. The exit code"
    " is 6 if there is any.",
)
@click.option(
    "--max-behind",
    metavar="DURATION",
    help="With --check: how old the newest exact second of a table may be.  [default: 1h]",
)
@click.option(
    "--drill-days",
    type=click.IntRange(1),
    metavar="DAYS",
    help="With --check: the days within which a drill of each table must have passed.  [default:"
    " the stack's DrillMaxAgeDays, if it schedules drills]",
)
@as_json
@connected
def status(
    connection: Connection,
    chosen: Chosen,
    max_behind: str | None,
    drill_days: int | None,
    *,
    is_check: bool,
    as_json: bool,
) -> None:
    """Shows which moments of a table can be restored exactly, how far behind the archive is, and
    what is missing. Without TABLE, of every table in the archive; one that cannot be read is shown
    as such, and the exit code is that of its error.

    With --check, the exit code is 0 if no table needs attention, and 6 if one does. A table needs
    attention if one of these is found, and each finding is a line on stdout, like `orders: behind:
    The newest exact second is 4,210 s old; the limit is 3,600 s.`:

    \b
    unreadable      The records of its archive cannot be read, or AWS does not answer.
    not-enabled     It was never enabled, or the last attempt to enable it failed.
    no-coverage     No backfill was completed while its stream was on: no moment is exact.
    gap             Its coverage ended, although nobody disabled it: no later moment is exact.
    no-table        It was deleted within the last day, and nobody disabled it before.
    behind          Its newest exact second is older than the limit (--max-behind, 1 hour).
    failed-batches  Changes wait in the failures bucket, or were lost from it.
    danger          Something endangers its archive; `status` reports it as a problem.
    unknown         A permission is missing, so that one of the above cannot be excluded.
    drill           Drills are scheduled, and none has passed for too long.

    A table that somebody disabled, or that was deleted more than a day ago, is not expected to get
    newer: only unreadable, failed-batches, danger, and unknown are looked for then. A gap that a
    later backfill closed is no finding. An archive without a table is bad input (2).

    \b
      stream-backup status
      stream-backup status orders --json
      stream-backup status --match 'prod-*'
      stream-backup status --check --max-behind 30m
    """
    if not is_check and (max_behind or drill_days):
        raise UsageError("--max-behind and --drill-days need --check.", "Add --check.")
    if chosen.table:
        _require_known(connection, chosen.table)
    if is_check:
        seconds = parse_duration(max_behind) if max_behind else None
        limits = limits_of(connection, seconds, drill_days)
        found = CheckedStatus.of(connection, _tables(connection, chosen), limits)
        found.show(as_json=as_json)
        found.complain()
        return
    states: list[State] = []

    def work(table: str, deliver: Deliver) -> None:
        state = state_of(connection, table)
        attempt = Catalog(connection.archive(table)).enable_attempt()
        states.append(state)
        deliver(record(state, attempt))
        if not as_json:
            show(state, attempt)

    if chosen.table:
        run_one(chosen.table, work, as_json=as_json)
        keep(states)
        return
    tables = _tables(connection, chosen)
    if not tables:
        say(f"There is no table in {connection.location} yet.")

    def one(table: str, deliver: Deliver) -> None:
        try:
            work(table, deliver)
        except Exception as error:
            if not as_json and (known := translate(error)):
                show_unreadable(table, known)
            raise

    run_several(tables, one, as_json=as_json, headed=False, show=silent)


def _require_known(connection: Connection, table: str) -> None:
    catalog = Catalog(connection.archive(table))
    if not catalog.streams() and not catalog.enable_attempt():
        raise unknown(connection, table, f"To back it up, run: stream-backup enable {table}")


def _tables(connection: Connection, chosen: Chosen) -> list[str]:
    if chosen.table:
        return [chosen.table]
    return archived_tables(connection, chosen.pattern) if chosen.pattern else connection.tables()
