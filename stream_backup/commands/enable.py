"""`stream-backup enable`"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from threading import Lock
from typing import Any

import click

from stream_backup.connection import Connection
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.mapping import attach, wait
from stream_backup.meta import Meta
from stream_backup.options import as_json, connected
from stream_backup.stack import Stack
from stream_backup.stream import enable as switch_on
from stream_backup.table import require
from stream_backup.talk import bar, data, say
from stream_backup.translate import translate

AT_ONCE = 8
"""Tables taken into use at once: a stream takes half a minute to come on, and AWS changes 500 tables at a time at most."""


@click.command()
@click.argument("table", required=False)
@click.option("--match", metavar="PATTERN", help="Every table whose name matches instead, like 'prod-*'.")
@click.option("--function", metavar="NAME", help="The deployed function that reads the stream.  [default: the stack's]")
@click.option("--stream-only", is_flag=True, help="No function: `follow` reads the stream.")
@as_json
@connected
def enable(
    connection: Connection, table: str | None, match: str | None, function: str | None, *, stream_only: bool, as_json: bool
) -> None:
    """Switches a table's stream on, and has it read into the archive.

    A stream that is on already is taken as it is, if it carries new images. Run a backfill next: coverage begins with it.

    \b
      stream-backup enable orders                    # by the stack that is deployed
      stream-backup enable --match 'prod-*'
      stream-backup enable orders --function my-function
      stream-backup enable orders --stream-only      # then: stream-backup follow orders
    """
    if bool(table) == bool(match):
        raise UsageError("Which table?", "stream-backup enable TABLE, or --match PATTERN for every one that matches.")
    if function and stream_only:
        raise UsageError("Who reads the stream: --function, or `follow` (--stream-only)?", "Choose one.")
    reader = Reader(connection, function, stream_only=stream_only)
    if table:
        report = reader.take(table)
        _tell(report, function=reader.name)
    else:
        report = _take_all(reader, _matching(connection, match or ""))
    if as_json:
        data(report)
    if failed := report.get("failed"):
        raise IncompleteError(
            f"{len(failed)} of {len(failed) + len(report['tables'])} tables are not enabled; they are listed above.",
            "Mend that and run it again: tables that are enabled are left as they are.",
        )


@dataclass(slots=False)
class Reader:
    """Who reads the streams: a function that was named, the stack's, or `follow`."""

    connection: Connection
    function: str | None
    stream_only: bool

    @cached_property
    def stack(self) -> Stack | None:
        """Only asked for when no function was named. Raises UsageError when there is none."""
        if self.function or self.stream_only:
            return None
        if found := self.connection.stack:
            return found
        raise UsageError(
            f"Who reads the stream? There is no stack {self.connection.stack_name!r} here.",
            "Name the deployed stack (--stack NAME) or a function (--function NAME); with --stream-only `follow` reads it.",
        )

    @property
    def name(self) -> str | None:
        """The function's name, None for `follow`."""
        return self.function or (self.stack.function if self.stack else None)

    @cached_property
    def client(self) -> Any:
        return self.connection.session.client("lambda")

    def take(self, table: str) -> dict[str, Any]:
        """Takes a table into use: what `--json` says of it."""
        connection, stack, function = self.connection, self.stack, self.name
        if stack:
            stack.require(table)
        archive = connection.archive(table)
        stream, was_off = switch_on(connection.dynamodb, archive, "function" if function else "follow")
        mapping = None
        if function:
            _, now = require(connection.dynamodb, table)
            mapping = attach(self.client, function, stream.arn, stream.label, stack, now)
            meta = Meta(archive)
            if mapping.uuid not in {known.uuid for known in meta.mappings() if known.failures == mapping.failures}:
                meta.write_mapping(mapping)  # before it may fail anything: readers look where its failed batches go
            wait(self.client, mapping, table)
        kept = {"mapping": mapping.uuid, "failures": mapping.failures} if mapping else {"mapping": None}
        return {"table": table, "was_off": was_off, **kept, **stream.record()}


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
        raise UsageError(f"No table here matches {pattern!r}.", "Check the pattern (in quotes), --region and --profile.")
    return found


def _take_all(reader: Reader, tables: list[str]) -> dict[str, Any]:
    """Each by itself: one that fails stops no other."""
    taken: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    lock = Lock()
    assert reader.name or reader.stream_only  # a stack that is not there is no failure of each table
    _ = reader.connection.store, reader.connection.dynamodb
    with ThreadPoolExecutor(AT_ONCE) as pool, bar("enable", "tables") as progress:

        def take(table: str) -> None:
            try:
                report = reader.take(table)
            except Exception as error:
                known = translate(error)
                if known is None:
                    raise
                with lock:
                    failed.append({"table": table, "reason": str(known), "hint": known.hint})
                say(f"{table}: {known}")
            else:
                with lock:
                    taken.append(report)
            progress.advance(1, (len(taken) + len(failed)) / len(tables))

        list(pool.map(take, tables))
    say(f"{len(taken)} tables enabled. Next, for each: stream-backup backfill TABLE")
    return {"tables": sorted(taken, key=lambda report: str(report["table"])), "failed": failed}


def _tell(report: dict[str, Any], *, function: str | None) -> None:
    table = report["table"]
    say(f"The stream of {table} {'is on now' if report['was_off'] else 'was on already'}, since {report['floor']}.")
    if report["mapping"]:
        say(f"Function {function} reads it (event source mapping {report['mapping']}).")
        if not report["failures"]:
            say(
                "What it fails to write in 24 hours is lost: the mapping has no failures bucket. The stack's would have one."
            )
    else:
        say(f"Keep this running: stream-backup follow {table}")
    say(f"Next: stream-backup backfill {table}")
