"""`stream-backup restore`, also `python -m restore`."""

from pathlib import Path
from threading import Event

import click

from restore.destination import Work
from restore.new_table import NewTable
from restore.plan import Tally
from restore.receipt import require_writable
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.capacity import NEW_WRITE
from stream_backup.aws.connection import Connection
from stream_backup.capture.consumers import consumers_of
from stream_backup.capture.point import resolve, up_to_date
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, keep, say
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.distributed_restore import check, distribute, follow_last
from stream_backup.cli.distribution import distribution
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import choosing, chosen_items
from stream_backup.cli.options import ChosenTables, as_json, connected, tables_or_match
from stream_backup.cli.restore_options import RestoreOptions, description_of
from stream_backup.cli.restore_report import RequestCount, RestoreReport, complain, facts_of
from stream_backup.cli.restore_together import restore_together
from stream_backup.cli.workers import workers_option
from stream_backup.core.key import KeySchema
from stream_backup.errors import UsageError


@click.command()
@tables_or_match("Restore")
@click.option(
    "--at",
    "when",
    metavar="WHEN",
    help="ISO-8601 (no offset: UTC), a time before now (5m, '2h ago'), or epoch seconds.",
)
@click.option(
    "--into",
    metavar="NAME",
    help="Into a new table of this name, in which {table} stands for the name of the restored one."
    "  [default: {table}-restored-<moment>]",
)
@click.option(
    "--in-place", is_flag=True, help="Rewind the live table: writes only rows that changed since."
)
@click.option(
    "--to",
    "to",
    metavar="FILE",
    help="Into a file of DynamoDB JSON lines, gzip if it ends in .gz; - is stdout.",
)
@choosing
@click.option("--plan", "plan_only", is_flag=True, help="Print the plan and write nothing.")
@click.option("--yes", is_flag=True, help="Rewind the live table without asking.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing table or file: make it equal to the moment.",
)
@click.option(
    "--incomplete-ok",
    is_flag=True,
    help="Restore what exists, even outside coverage or with unreadable versions. Rely on no"
    " announcement of late changes.",
)
@click.option(
    "--like",
    metavar="TABLE",
    help="Create the new table like this one, not from its stored description.",
)
@click.option("--with-stream", is_flag=True, help="Switch the new table's stream on.")
@click.option(
    "--rate",
    type=click.FloatRange(1),
    metavar="ITEMS/S",
    help="Write at most this many items a second.",
)
@click.option(
    "--warm-throughput",
    type=click.IntRange(NEW_WRITE + 1),
    metavar="UNITS/S",
    help="Write units a second that a new on-demand table and its indexes take at once, instead of"
    f" {NEW_WRITE:,}. AWS charges for it once; see `estimate`.",
)
@workers_option(
    "Processes to load a table with; with --distributed, functions of the stack. A plan, a rewind,"
    " and a file are made by one."
)
@distribution
@as_json
@connected
def restore(
    connection: Connection,
    chosen_tables: ChosenTables,
    when: str | None,
    into: str | None,
    to: str | None,
    keys: tuple[str, ...],
    keys_from: Path | None,
    like: str | None,
    rate: float | None,
    warm_throughput: int | None,
    workers: int | None,
    *,
    in_place: bool,
    plan_only: bool,
    yes: bool,
    overwrite: bool,
    incomplete_ok: bool,
    with_stream: bool,
    distributed: bool,
    detach: bool,
    attach: bool,
    as_json: bool,
) -> None:
    """Restores a table, or some of its items, as it was at the end of one second.

    Into a new table by default. A moment that cannot be restored exactly is refused (exit code 4).

    Several tables, by name or with --match, have one plan for one moment. If one of them is not
    exact at that moment, or cannot be restored for another reason, nothing is written to any table.
    After that, they are restored one after another, and the failure of one stops no other; run the
    same command again to resume. Each table is exact at the end of that second. A transaction whose
    changes have stamps in two different seconds may be restored in part.

    \b
      stream-backup restore orders --at 2026-11-21T03:19:59Z --plan
      stream-backup restore orders --at 2026-11-21T03:19:59Z --into orders-before
      stream-backup restore orders --at '10 minutes ago' --in-place
      stream-backup restore orders --at 2026-11-21T03:19:59Z --in-place --key '{"id": "order-1"}'
      stream-backup restore orders --at 2026-11-21T03:19:59Z --to orders.json.gz
      stream-backup restore orders --at 2026-11-21T03:19:59Z --distributed
      stream-backup restore orders stock --at 2026-11-21T03:19:59Z --into '{table}-before'
      stream-backup restore --match 'shop-*' --at 2026-11-21T03:19:59Z --in-place --plan
    """
    options = RestoreOptions(
        into=into,
        in_place=in_place,
        to=to,
        like=like,
        rate=rate,
        warm_throughput=warm_throughput,
        overwrite=overwrite,
        incomplete_ok=incomplete_ok,
        with_stream=with_stream,
        workers=workers,
    )
    options.check()
    if attach:
        follow_last(connection, chosen_tables, as_json=as_json)
        return
    if when is None:
        raise UsageError(
            "Missing option '--at'.", "Name the moment to restore, like --at '2h ago'."
        )
    if distributed:
        others = {"--plan": plan_only, "--key": keys, "--keys-from": keys_from}
        check(options, chosen_tables, others)
    table = chosen_tables.one
    if table is None:
        if keys or keys_from:
            raise UsageError(
                "--key and --keys-from are about items of one table, and there are several.",
                "Name one table.",
            )
        restore_together(
            connection,
            chosen_tables,
            options,
            when,
            plan_only=plan_only,
            ask=not yes,
            as_json=as_json,
        )
        return
    if in_place and not plan_only:
        require_writable(Path())
    progress = Terminal()
    state = state_of(connection, table)
    moment, note = parse_when(when, state.now)
    if note:
        say(note)
    point = resolve(connection, state, moment, progress, incomplete_ok=incomplete_ok)
    if in_place and not incomplete_ok:
        point.require_present()
    description = description_of(connection, point, like)
    schema = KeySchema.of(description.table)
    chosen = chosen_items(connection, table, schema, keys, keys_from)
    if in_place and not plan_only:
        point = up_to_date(connection, point, progress, incomplete_ok=incomplete_ok)
    consumers = consumers_of(connection, point.state) if in_place else None
    if consumers:
        show_consumers(consumers)
    destination = options.destination(connection, point, chosen, description, ask=not yes)
    if distributed:
        assert isinstance(destination, NewTable)
        distribute(connection, point, options, destination, detach=detach, as_json=as_json)
        return
    counted = RequestCount(connection.store.requests)
    with RequestPool() as pool, counted:
        work = Work(connection.dynamodb, chosen, pool, Tally(), Event(), progress, incomplete_ok)
        plan = destination.planner(chosen, point, counting=plan_only)
        outcome = None
        if plan_only:
            work.count(plan)
        else:
            outcome = destination.execute(work, plan)
    report = keep(RestoreReport(facts_of(point), work.tally, counted.found, outcome, consumers))
    report.show(as_json=as_json and to != "-")
    complain(work.tally, outcome, incomplete_ok=incomplete_ok)
