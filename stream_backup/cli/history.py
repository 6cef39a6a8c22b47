"""`stream-backup history`."""

import click

from stream_backup.aws.connection import Connection
from stream_backup.cli.console import data, show
from stream_backup.cli.input import parse_key_of_any
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.core.difference import plain
from stream_backup.core.item import Value
from stream_backup.core.moment import iso
from stream_backup.errors import UsageError
from stream_backup.inspect.history import Event, schemas_of
from stream_backup.inspect.history import history as history_of

LONGEST = 80
"""Characters of a value that are shown; `--json` shows all of it."""


@click.command()
@table_argument
@click.argument("key")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N versions.")
@as_json
@connected
def history(
    connection: Connection, table: str, key: str, last: int | None, *, as_json: bool
) -> None:
    """Shows what happened to one item: when, what, by whom, and which attributes changed. The
    oldest version comes first.

    KEY is plain JSON, or DynamoDB JSON. If the table was recreated with another key, a key of the
    earlier table is accepted too.

    \b
      stream-backup history orders '{"id": "order-1"}' --last 5
      stream-backup history orders '{"pk": {"S": "user#1"}, "sk": {"N": "42"}}' --json
    """
    parsed, schema = parse_key_of_any(key, schemas_of(connection, table))
    events = history_of(connection.archive(table, schema), parsed)
    if not events:
        raise UsageError(
            f"The archive has no version of {key} in table {table!r}.",
            "Check the key, and --archive.",
        )
    shown = events[-last if last else 0 :]
    if as_json:
        data({"table": table, "versions": [event.record() for event in shown]})
        return
    for event in shown:
        _show(event)


def _show(event: Event) -> None:
    stamp = event.stamp
    by = f" by {stamp.by}" if stamp.by else ""
    until = "" if stamp.streamed else f" (seen until {iso(stamp.seen)})"
    kind = "found missing, removed at an unknown time" if stamp.kind == "missing" else stamp.kind
    last = f", the last of {stamp.merged} changes in this second" if stamp.merged > 1 else ""
    show(f"{iso(stamp.at)}  {kind}{by}{last}{until}")
    if event.gap:
        show("    (a change before this one is not in the archive)")
    if not stamp.removes:
        for path, old, new in event.changed:
            show(f"    {path}: {f'{_short(old)} → ' if old else ''}{_short(new)}")


def _short(value: Value | None) -> str:
    text = plain(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
