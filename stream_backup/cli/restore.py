"""`stream-backup restore`, also `python -m restore`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import click

from restore.destination import Work
from restore.plan import Tally
from restore.receipt import require_writable
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.capacity import NEW_WRITE
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import describe, require
from stream_backup.capture.consumers import consumers_of
from stream_backup.capture.point import RestorePoint, resolve, up_to_date
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, keep, say
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import choosing, chosen_items
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.cli.restore_report import RestoreReport, complain
from stream_backup.core.key import KeySchema
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError


@click.command()
@table_argument
@click.option(
    "--at",
    "when",
    required=True,
    metavar="WHEN",
    help="ISO-8601 (no offset: UTC), a time before now (5m, '2h ago'), or epoch seconds.",
)
@click.option(
    "--into",
    metavar="NAME",
    help="Into a new table of this name.  [default: TABLE-restored-<moment>]",
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
@as_json
@connected
def restore(
    connection: Connection,
    table: str,
    when: str,
    into: str | None,
    to: str | None,
    keys: tuple[str, ...],
    keys_from: Path | None,
    like: str | None,
    rate: float | None,
    warm_throughput: int | None,
    *,
    in_place: bool,
    plan_only: bool,
    yes: bool,
    overwrite: bool,
    incomplete_ok: bool,
    with_stream: bool,
    as_json: bool,
) -> None:
    """Restores a table, or some of its items, as it was at the end of one second.

    Into a new table by default. A moment that cannot be restored exactly is refused (exit code 4).

    \b
      stream-backup restore orders --at 2026-11-21T03:19:59Z --plan
      stream-backup restore orders --at 2026-11-21T03:19:59Z --into orders-before
      stream-backup restore orders --at '10 minutes ago' --in-place
      stream-backup restore orders --at 2026-11-21T03:19:59Z --in-place --key '{"id": "order-1"}'
      stream-backup restore orders --at 2026-11-21T03:19:59Z --to orders.json.gz
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
    )
    options.check()
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
    description = _description(connection, point, like)
    schema = KeySchema.of(description.table)
    chosen = chosen_items(connection, table, schema, keys, keys_from)
    if in_place and not plan_only:
        point = up_to_date(connection, point, progress, incomplete_ok=incomplete_ok)
    consumers = consumers_of(connection, point.state) if in_place else None
    if consumers:
        show_consumers(consumers)
    destination = options.destination(connection, point, chosen, description, ask=not yes)
    before = dict(connection.store.requests)
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        work = Work(connection.dynamodb, chosen, pool, Tally(), Event(), progress, incomplete_ok)
        plan = destination.planner(chosen, point, counting=plan_only)
        outcome = None
        if plan_only:
            work.count(plan)
        else:
            outcome = destination.execute(work, plan)
    requests = {
        kind: connection.store.requests[kind] - before.get(kind, 0)
        for kind in ("list", "get", "head")
    }
    report = keep(RestoreReport(point, work.tally, requests, outcome, consumers))
    report.show(as_json=as_json and to != "-")
    complain(work.tally, outcome, incomplete_ok=incomplete_ok)


def _description(connection: Connection, point: RestorePoint, like: str | None) -> TableDescription:
    if like:
        live, _ = require(connection.dynamodb, like)
        return describe(connection.dynamodb, live.description)
    catalog = Catalog(connection.archive(point.table))
    found = catalog.description(point.label) or catalog.description()
    if found is None:
        raise UsageError(
            f"The archive contains no description of table {point.table}.",
            "Name a table with the same settings: --like TABLE",
        )
    return found
