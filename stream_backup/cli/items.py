"""The items that a command is about, from what was typed: all of a table, or some keys."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.point import RestorePoint
from stream_backup.cli.console import say
from stream_backup.cli.input import key_lines, parse_key
from stream_backup.core.key import KeySchema, key_json
from stream_backup.errors import UsageError
from stream_backup.inspect.history import schemas_of


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--key` and `--keys-from`."""
    key = click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="KEY",
        help="Only the item with this key; may be repeated.",
    )
    keys_from = click.option(
        "--keys-from",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Only the keys in this file, one a line.",
    )
    return key(keys_from(command))


def schema_at(connection: Connection, point: RestorePoint) -> KeySchema:
    """Returns the key schema that the table had at a moment. Raises UsageError when neither the
    archive nor AWS knows it."""
    found = Catalog(connection.archive(point.table)).description(point.label)
    if found:
        return KeySchema.of(found.table)
    return schemas_of(connection, point.table)[0]


def chosen_items(
    connection: Connection,
    table: str,
    schema: KeySchema,
    keys: Sequence[str],
    keys_from: Path | None,
) -> Selection:
    """Returns the items with the keys that were given. A key that the archive does not know is most
    likely mistyped: it is named, and refused when there is no other."""
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
