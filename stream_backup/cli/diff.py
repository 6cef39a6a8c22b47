"""`stream-backup diff`."""

from contextlib import closing
from pathlib import Path

import click

from stream_backup.archive.pool import RequestPool
from stream_backup.aws.connection import Connection
from stream_backup.capture.point import resolve_window
from stream_backup.capture.state import state_of
from stream_backup.cli.console import Terminal, data_line, is_terminal, keep, say, show
from stream_backup.cli.diff_report import DiffReport, item_lines, item_record
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import choosing, chosen_items, schema_at
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.errors import UsageError
from stream_backup.inspect.shapes import Shapes, differences_of, fate_of
from stream_backup.inspect.where import Where
from stream_backup.inspect.window import Examined, Window, changes
from stream_backup.progress import Silent


@click.command()
@table_argument
@click.option(
    "--from",
    "since",
    required=True,
    metavar="WHEN",
    help="The last second before the window: ISO-8601 (no offset: UTC), '2h ago', or epoch"
    " seconds.",
)
@click.option(
    "--to",
    "until",
    metavar="WHEN",
    help="The last second of the window.  [default: the latest exact moment]",
)
@click.option("--items", "each", is_flag=True, help="List each item with its attribute changes.")
@click.option(
    "--where", metavar="EXPR", help="Only items of which this JMESPath expression is true."
)
@choosing
@click.option(
    "--incomplete-ok",
    is_flag=True,
    help="Compare what exists, even outside coverage or with unreadable versions. Rely on no"
    " announcement of late changes.",
)
@as_json
@connected
def diff(
    connection: Connection,
    table: str,
    since: str,
    until: str | None,
    where: str | None,
    keys: tuple[str, ...],
    keys_from: Path | None,
    *,
    each: bool,
    incomplete_ok: bool,
    as_json: bool,
) -> None:
    """Shows what differs between two moments, without restoring anything.

    Items that changed alike are shown as one line: `state: * → "undefined"` are the items whose
    attribute state, and no other, became "undefined", whatever it was before. With --json, each
    item is one line: {key, before, after, first, last, kinds, by}. key, before and after are
    DynamoDB JSON.

    --where is a JMESPath expression, as in `aws --query`. It sees the same object, but key, before
    and after are plain JSON: after.state, not after.state.S.

    \b
      stream-backup diff orders --from 2026-11-21T02:10:00Z --to 2026-11-21T02:20:00Z
      stream-backup diff orders --from '2h ago' --items --key '{"id": "order-1"}'
      stream-backup diff orders --from '2h ago' --where "after.state == 'undefined'" --json
      stream-backup diff orders --from '2h ago' --where "contains(kinds, 'remove') && !after"
    """
    if each and as_json:
        raise UsageError("--items and --json exclude each other.", "--json lists each item too.")
    chooser = Where(where) if where is not None else None
    state = state_of(connection, table)
    begin, note = parse_when(since, state.now)
    end, other = parse_when(until, state.now) if until else (None, "")
    for text in filter(None, (note, other)):
        say(text)
    progress = Terminal()
    first, last = resolve_window(
        connection, state, begin, end, progress, incomplete_ok=incomplete_ok
    )
    schema = schema_at(connection, last)
    chosen = chosen_items(connection, table, schema, keys, keys_from)
    window = Window.between(chosen.archive, first, last)
    report = keep(DiffReport(first, last, chooser, connection.store.requests))
    listing = each or as_json
    busy = Silent() if listing and is_terminal() else progress
    examined = Examined()
    with closing(Shapes()) as shapes, RequestPool() as pool:
        for changed in changes(window, chosen, pool, examined, busy):
            if not report.counts(changed):
                continue
            if as_json:
                data_line(item_record(changed))
                continue
            found = differences_of(changed) if each or fate_of(changed) == "modify" else []
            if each:
                show(*item_lines(changed, found))
            else:
                shapes.add(changed, found)
        if not listing:
            report.show(shapes.found())
    report.summarize(examined)
    report.complain(examined, incomplete_ok=incomplete_ok)
