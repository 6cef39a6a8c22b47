"""`stream-backup history`"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from stream_backup.change import Change
from stream_backup.connection import Connection
from stream_backup.errors import UsageError
from stream_backup.item import Item, decode
from stream_backup.key import KeySchema
from stream_backup.meta import Meta
from stream_backup.moment import iso
from stream_backup.options import as_json, connected, table_argument
from stream_backup.table import look_up
from stream_backup.talk import data

READERS = 16


@click.command()
@table_argument
@click.argument("key")
@as_json
@connected
def history(connection: Connection, table: str, key: str, *, as_json: bool) -> None:
    """Shows what happened to one item: when, what, by whom, and which attributes changed. The oldest comes first.

    KEY is plain JSON, or DynamoDB JSON.

    \b
      stream-backup history orders '{"id": "order-1"}'
      stream-backup history orders '{"pk": {"S": "user#1"}, "sk": {"N": "42"}}' --json
    """
    changes = _changes(connection, table, key)
    if not changes:
        raise UsageError(f"The archive has no version of {key} in table {table!r}.", "Check the key, and --archive.")
    told = _tell(changes)
    if as_json:
        data({"table": table, "versions": told})
        return
    for version in told:
        by = f" by {version['by']}" if version["by"] else ""
        until = f" (seen until {version['seen']})" if version["kind"] == "scan" else ""
        click.echo(f"{version['at']}  {version['kind']}{by}{until}")
        for name, (old, new) in version["changed"].items():
            click.echo(f"    {name}: {_brief(old)} → {_brief(new)}")


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
    for change in changes:
        now = decode(change.body) if change.body else {}
        stamp = change.stamp
        changed = {
            name: (before.get(name), now.get(name)) for name in sorted({*before, *now}) if before.get(name) != now.get(name)
        }
        told.append(
            {
                "at": iso(stamp.at),
                "kind": stamp.kind,
                "by": stamp.by,
                "sequence": str(stamp.sequence),
                "seen": iso(stamp.seen),
                "changed": changed,
                "item": now or None,
            }
        )
        before = now
    return told


def _brief(value: Any) -> str:
    text = "—" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
