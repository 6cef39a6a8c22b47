"""`stream-backup history`"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from stream_backup.change import Change
from stream_backup.connection import Connection
from stream_backup.difference import differences, plain
from stream_backup.errors import UsageError
from stream_backup.item import Item, Value, decode, digest
from stream_backup.key import KeySchema
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.table import look_up
from stream_backup.talk import data

READERS = 16
LONGEST = 80
"""Characters of a value that are shown; `--json` has all of it."""


@click.command()
@table_argument
@click.argument("key")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N versions.")
@as_json
@connected
def history(connection: Connection, table: str, key: str, last: int | None, *, as_json: bool) -> None:
    """Shows what happened to one item: when, what, by whom, and which attributes changed. The oldest comes first.

    KEY is plain JSON, or DynamoDB JSON.

    \b
      stream-backup history orders '{"id": "order-1"}' --last 5
      stream-backup history orders '{"pk": {"S": "user#1"}, "sk": {"N": "42"}}' --json
    """
    changes = _changes(connection, table, key)
    if not changes:
        raise UsageError(f"The archive has no version of {key} in table {table!r}.", "Check the key, and --archive.")
    told = _tell(changes)[-last if last else 0 :]
    if as_json:
        data({"table": table, "versions": told})
        return
    for version in told:
        by = f" by {version['by']}" if version["by"] else ""
        until = f" (seen until {version['seen']})" if version["kind"] == "scan" else ""
        click.echo(f"{version['at']}  {version['kind']}{by}{until}")
        if version["gap"]:
            click.echo("    (a change before this one is not in the archive)")
        if version["kind"] != "remove":
            for path, old, new in version["changed"]:
                click.echo(f"    {path}: {f'{_brief(old)} → ' if old else ''}{_brief(new)}")


def schema_of(connection: Connection, table: str, label: str | None = None) -> KeySchema:
    """The table's key, from the archive's own description; from the live table where there is none.

    Raises UsageError when neither knows it.
    """
    if found := Meta(connection.archive(table)).description(label):
        return KeySchema.of(found["Table"])
    live, _ = look_up(connection.dynamodb, table)
    if live is None:
        raise UsageError(f"Neither the archive nor AWS knows a table {table!r}.", "Check its name, --archive and --region.")
    return KeySchema.of(live.description)


def _changes(connection: Connection, table: str, text: str) -> list[Change]:
    """By rank, each stamp once however often it was written."""
    schema = schema_of(connection, table)
    archive = connection.archive(table, schema)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(archive.read, archive.history(schema.parse(text)).versions))
    unique = {(change.stamp.rank, change.stamp.seen, change.body): change for change in found}
    return sorted(unique.values(), key=lambda change: (change.stamp.rank, change.stamp.seen))


def _tell(changes: list[Change]) -> list[dict[str, Any]]:
    told = []
    before: Item = {}
    streamed: str | None = None  # the content the last streamed change left
    for change in changes:
        now = decode(change.body) if change.body else {}
        stamp = change.stamp
        told.append(
            {
                "at": iso(stamp.at),
                "kind": stamp.kind,
                "by": stamp.by,
                "sequence": str(stamp.sequence),
                "seen": iso(stamp.seen),
                "gap": bool(stamp.before and streamed and stamp.before != streamed),
                "changed": differences(before, now),
                "item": now or None,
            }
        )
        before = now
        if stamp.sequence:
            streamed = digest(change.body) if change.body else None
    return told


def _brief(value: Value | None) -> str:
    text = plain(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
