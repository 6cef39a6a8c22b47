"""`stream-backup enable`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.capture.enabler import Enabled, Enabler
from stream_backup.cli.console import bar, data, say
from stream_backup.cli.options import as_json, connected
from stream_backup.core.moment import from_iso, iso
from stream_backup.errors import IncompleteError, StreamBackupError, UsageError

AT_ONCE = 8
"""Tables enabled at once: switching a stream on takes half a minute, and AWS changes at most 500
tables at a time."""


@click.command()
@click.argument("table", required=False)
@click.option(
    "--match", metavar="PATTERN", help="Enable every table whose name matches, like 'prod-*'."
)
@click.option(
    "--function",
    metavar="NAME",
    help="The deployed function that reads the stream.  [default: the stack's]",
)
@click.option("--stream-only", is_flag=True, help="Use no function: `follow` reads the stream.")
@as_json
@connected
def enable(
    connection: Connection,
    table: str | None,
    match: str | None,
    function: str | None,
    *,
    stream_only: bool,
    as_json: bool,
) -> None:
    """Switches a table's stream on and starts writing its changes to the archive.

    A stream that is already on is used as it is, if it contains new images. Run a backfill next:
    coverage begins with it.

    \b
      stream-backup enable orders                    # with the deployed stack
      stream-backup enable --match 'prod-*'
      stream-backup enable orders --function my-function
      stream-backup enable orders --stream-only      # then: stream-backup follow orders
    """
    if bool(table) == bool(match):
        raise UsageError(
            "Name one table, or a pattern.",
            "stream-backup enable TABLE, or --match PATTERN for every table that matches.",
        )
    if function and stream_only:
        raise UsageError("--function and --stream-only exclude each other.", "Choose one.")
    enabler = Enabler(connection, function, stream_only=stream_only)
    if table:
        found = enabler.enable(table)
        _show(found)
        if as_json:
            data(found.record())
        return
    results = _enable_all(enabler, _matching(connection, match or ""))
    if as_json:
        data(results.record())
    if failed := len(results.failed):
        raise IncompleteError(
            f"{failed} of {results.count} tables are not enabled; they are listed above.",
            "Fix the cause and run the same command again. Tables that are already enabled stay as"
            " they are.",
        )


@dataclass(slots=True)
class _Results:
    """What became of many tables. Thread-safe."""

    enabled: list[Enabled] = field(default_factory=list)
    failed: dict[str, StreamBackupError] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def count(self) -> int:
        return len(self.enabled) + len(self.failed)

    def add(self, found: Enabled) -> None:
        with self._lock:
            self.enabled.append(found)

    def fail(self, table: str, error: StreamBackupError) -> None:
        with self._lock:
            self.failed[table] = error

    def record(self) -> dict[str, Any]:
        tables = [each.record() for each in sorted(self.enabled, key=lambda each: each.table)]
        failed = [
            {"table": table, "reason": str(error), "hint": error.hint}
            for table, error in sorted(self.failed.items())
        ]
        return {"tables": tables, "failed": failed}


def _matching(connection: Connection, pattern: str) -> list[str]:
    found: list[str] = []
    request: dict[str, Any] = {}
    while True:
        page = connection.dynamodb.call("list_tables", request).data
        found += (name for name in page["TableNames"] if fnmatchcase(name, pattern))
        if "LastEvaluatedTableName" not in page:
            break
        request = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}
    if not found:
        raise UsageError(
            f"No table in this account and Region matches {pattern!r}.",
            "Check the pattern (in quotes), --region and --profile.",
        )
    return found


def _enable_all(enabler: Enabler, tables: list[str]) -> _Results:
    """Enables each table by itself: one that fails stops no other."""
    # A missing stack or bucket is one error, not one of each table.
    _ = enabler.name, enabler.connection.store, enabler.connection.dynamodb
    results = _Results()
    with ThreadPoolExecutor(AT_ONCE) as pool, bar("enable", "tables") as progress:

        def enable_one(table: str) -> None:
            try:
                results.add(enabler.enable(table))
            except Exception as error:
                known = translate(error)
                if known is None:
                    raise
                results.fail(table, known)
                say(f"{table}: {known}")
            progress.advance(1, results.count / len(tables))

        list(pool.map(enable_one, tables))
    say(f"{len(results.enabled)} tables enabled. Next, for each: stream-backup backfill TABLE")
    return results


def _show(found: Enabled) -> None:
    table, mapping = found.table, found.mapping
    state = "is now on" if found.was_off else "was already on"
    say(f"The stream of {table} {state}, since {iso(from_iso(found.stream.label))}.")
    if mapping:
        say(f"Function {mapping.function} reads it (event source mapping {mapping.uuid}).")
        if found.filtered:
            say("The mapping had a filter, which skips changes. It was removed; this is a gap.")
        if not mapping.failures:
            say(
                "The mapping has no failures bucket: changes that the function cannot write within"
                " 24 hours are lost. The function of the stack has one."
            )
    else:
        say(f"Keep this running: stream-backup follow {table}")
    say(f"Next: stream-backup backfill {table}")
