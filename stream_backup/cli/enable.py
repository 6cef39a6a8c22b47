"""`stream-backup enable`."""

from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.table import names
from stream_backup.capture.enabler import Enabler
from stream_backup.cli.console import bar, data
from stream_backup.cli.enable_report import Results, show_enabled
from stream_backup.cli.options import as_json, connected, optional_table
from stream_backup.errors import IncompleteError, UsageError

AT_ONCE = 8
"""Tables enabled at once: switching a stream on takes half a minute, and AWS changes at most 500
tables at a time."""


@click.command()
@optional_table
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

    A pattern skips tables that somebody disabled and tables that a restore made. To enable one of
    them, name it.

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
        show_enabled(found)
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


def _matching(connection: Connection, pattern: str) -> list[str]:
    found = [name for name in names(connection.dynamodb) if fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(
            f"No table in this account and Region matches {pattern!r}.",
            "Check the pattern (in quotes), --region and --profile.",
        )
    return found


def _enable_all(enabler: Enabler, tables: list[str]) -> Results:
    """Enables each table by itself: one that fails stops no other."""
    # A missing stack or bucket is one error, not one of each table.
    _ = enabler.name, enabler.connection.store, enabler.connection.dynamodb
    results = Results()
    with ThreadPoolExecutor(AT_ONCE) as pool, bar("enable", "tables") as progress:

        def enable_one(table: str) -> None:
            try:
                if reason := enabler.reason_to_skip(table):
                    results.skip(table, reason)
                else:
                    results.add(enabler.enable(table))
            except Exception as error:
                known = translate(error)
                if known is None:
                    raise
                enabler.fail(table, known)
                results.fail(table, known)
            progress.advance(1, results.count / len(tables))

        list(pool.map(enable_one, tables))
    results.show()
    return results
