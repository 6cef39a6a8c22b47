"""`stream-backup restore`, also `python -m restore`"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import click

from restore.execute import Execution, rewind_live, to_file, to_table
from restore.order import Order, catch_up, take_order
from restore.plan import Rebuild, Rewind, Selection, Tally
from restore.report import complain, report
from stream_backup.archive import Archive
from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.key import KeySchema, key_json
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.table import describe, require
from stream_backup.talk import say

READERS = 64
"""Archive requests and row writes under way at once."""


@click.command()
@table_argument
@click.option("--at", "when", required=True, metavar="WHEN", help="ISO-8601 (no offset: UTC), '2h ago', or epoch seconds.")
@click.option("--into", metavar="NAME", help="Into a new table of this name.  [default: TABLE-restored-<moment>]")
@click.option("--in-place", is_flag=True, help="Rewind the live table: touches only what changed since.")
@click.option("--to", "to", metavar="FILE", help="Into a file of DynamoDB JSON lines, gzip if it ends in .gz; - is stdout.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Only the item with this key; may be repeated.")
@click.option(
    "--keys-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the keys in this file, one a line.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before rewinding the live table.")
@click.option("--overwrite", is_flag=True, help="Into a table (or file) that is there: make it equal to the moment.")
@click.option("--incomplete-ok", is_flag=True, help="Outside coverage too, or with unreadable versions: what there is.")
@click.option("--like", metavar="TABLE", help="Make the new table like this one instead of as it was described.")
@click.option("--with-stream", is_flag=True, help="Switch the new table's stream on.")
@click.option("--rate", type=click.FloatRange(1), metavar="ITEMS/S", help="Write no more items a second.")
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
    if sum(map(bool, (into, in_place, to))) > 1:
        raise UsageError("--into, --in-place and --to exclude each other.", "Choose one.")
    ignored = {"--overwrite": overwrite, "--like": like, "--with-stream": with_stream, "--rate": rate}
    if in_place and (given := [option for option, value in ignored.items() if value]):
        raise UsageError(f"{given[0]} has no meaning with --in-place.", "Leave it out.")
    if to and to.startswith("s3://"):
        raise UsageError("--to writes to a file on this machine, not to S3.", f"--to - | aws s3 cp - {to}")
    if "" in (into, to):
        raise UsageError("--into and --to need a name.", "An empty one may come of a variable that is not set.")
    order = take_order(connection, table, when, incomplete_ok=incomplete_ok)
    if in_place and not incomplete_ok:
        order.require_present()
    description = _description(connection, order, like)
    schema = KeySchema.of(description["Table"])
    archive = connection.archive(table, schema)
    texts = [*keys, *(_lines(keys_from) if keys_from else ())]
    chosen = Selection(archive, tuple(schema.parse(text) for text in texts))
    if keys_from and not chosen.keys:
        raise UsageError(f"{keys_from} holds no key.", f"Write one a line, like {schema.example()}.")
    _require_known(archive, chosen)
    stop = Event()
    if in_place and not plan_only:
        order = catch_up(connection, order, incomplete_ok=incomplete_ok)
    before = dict(connection.store.requests)
    with ThreadPoolExecutor(READERS) as pool:
        execution = Execution(connection.dynamodb, chosen, pool, Tally(), stop, incomplete_ok)
        if in_place:
            plan = Rewind(archive, order.moment, order.floor, order.floor_now, order.survey.lateness)
            confirm = None if yes else lambda: _confirm(order, execution.tally)
            result = rewind_live(execution, plan, confirm, plan_only=plan_only)
        else:
            rebuild = Rebuild(archive, order.moment, order.floor, bodies=not plan_only, lateness=order.survey.lateness)
            if plan_only:
                result = execution.count(rebuild)
            elif to:
                result = to_file(execution, rebuild, to, overwrite=overwrite)
            else:
                name = into or f"{table}-restored-{iso(order.moment).replace(':', '').replace('-', '')}"
                result = to_table(execution, rebuild, name, description, rate, overwrite=overwrite, stream=with_stream)
    requests = {kind: connection.store.requests[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}
    quiet = as_json and to != "-"
    report(order, execution.tally, requests, result, in_place=in_place, plan_only=plan_only, as_json=quiet)
    complain(execution.tally, result, incomplete_ok=incomplete_ok)


def _description(connection: Connection, order: Order, like: str | None) -> dict[str, Any]:
    if like:
        live, _ = require(connection.dynamodb, like)
        return describe(connection.dynamodb, live.description)
    meta = Meta(connection.archive(order.table))
    found = meta.description(order.label) or meta.description()
    if found is None:
        raise UsageError(
            f"The archive holds no description of table {order.table}.", "Name a table that is like it: --like TABLE"
        )
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text.", "Write one key a line, as JSON.") from error


def _require_known(archive: Archive, chosen: Selection) -> None:
    """A key the archive never saw is most likely mistyped: named, and refused when there is no other."""
    unknown = [key for key in chosen.keys if not archive.history(key).versions]
    for key in unknown:
        say(f"The archive has no version of {key_json(key)}.")
    if unknown and len(unknown) == len(chosen.keys):
        raise UsageError(f"None of these items was ever in table {archive.table}.", "Check the keys, and their spelling.")


def _confirm(order: Order, tally: Tally) -> bool:
    steps = tally.steps
    say(f"{order.table} as it was at {iso(order.moment)}: {steps['put']:,} to put, {steps['delete']:,} to delete.")
    try:
        return click.confirm(f"Rewind the live table {order.table}?", err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):  # nobody is there to answer
            say("")
            return False
        raise
