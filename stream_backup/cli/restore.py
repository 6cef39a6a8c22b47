"""`stream-backup restore`, also `python -m restore`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import click

from restore.destination import Work
from restore.plan import Tally
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import describe, require
from stream_backup.capture.point import RestorePoint, resolve, up_to_date
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, say
from stream_backup.cli.input import key_lines, parse_key, parse_when
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.cli.restore_report import RestoreReport, complain
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError


@click.command()
@table_argument
@click.option(
    "--at",
    "when",
    required=True,
    metavar="WHEN",
    help="ISO-8601 (no offset: UTC), '2h ago', or epoch seconds.",
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
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="Only the item with this key; may be repeated.",
)
@click.option(
    "--keys-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the keys in this file, one a line.",
)
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
    options = RestoreOptions(into, in_place, to, like, rate, overwrite, incomplete_ok, with_stream)
    options.check()
    progress = Terminal()
    state = state_of(connection, table)
    moment, note = parse_when(when, state.now)
    if note:
        say(note)
    point = resolve(connection, state, moment, progress, incomplete_ok=incomplete_ok)
    if in_place and not incomplete_ok:
        point.require_present()
    description = _description(connection, point, like)
    chosen = _selection(connection, table, description, keys, keys_from)
    if in_place and not plan_only:
        point = up_to_date(connection, point, progress, incomplete_ok=incomplete_ok)
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
    report = RestoreReport(point, work.tally, requests, outcome, in_place=in_place)
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


def _selection(
    connection: Connection,
    table: str,
    description: TableDescription,
    keys: Sequence[str],
    keys_from: Path | None,
) -> Selection:
    """The items with the keys that were given. A key that the archive does not know is most likely
    mistyped: it is named, and refused when there is no other."""
    schema = KeySchema.of(description.table)
    texts = [*keys, *(key_lines(keys_from) if keys_from else ())]
    chosen = Selection(
        connection.archive(table, schema), tuple(parse_key(text, schema) for text in texts)
    )
    if keys_from and not chosen.keys:
        raise UsageError(
            f"{keys_from} contains no key.", f"Write one a line, like {schema.example()}."
        )
    unknown = chosen.unknown()
    for key in unknown:
        say(f"The archive has no version of {key_json(key)}.")
    if unknown and len(unknown) == len(chosen.keys):
        raise UsageError(
            f"The archive of table {table} contains none of these items.",
            "Check the keys and their spelling.",
        )
    return chosen
