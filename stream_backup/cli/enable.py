"""`stream-backup enable`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.matching import live_tables
from stream_backup.aws.several import Deliver
from stream_backup.capture.enabler import Enabler
from stream_backup.capture.left_alone import reason_to_skip
from stream_backup.cli.enable_report import show_all_enabled, show_enabled
from stream_backup.cli.options import Chosen, as_json, connected, table_or_match
from stream_backup.cli.several import run_one, run_several
from stream_backup.errors import UsageError

AT_ONCE = 8
"""Tables enabled at once: switching a stream on takes half a minute, and AWS changes at most 500
tables at a time."""


@click.command()
@table_or_match("Enable")
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
    chosen: Chosen,
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
    if function and stream_only:
        raise UsageError("--function and --stream-only exclude each other.", "Choose one.")
    enabler = Enabler(connection, function, stream_only=stream_only)

    def work(table: str, deliver: Deliver) -> None:
        found = enabler.enable(table)
        if chosen.table:
            show_enabled(found)
        deliver(found.record())

    def work_recorded(table: str, deliver: Deliver) -> None:
        with _recorded(enabler, table):
            work(table, deliver)

    def skip(table: str) -> str:
        with _recorded(enabler, table):
            return reason_to_skip(connection, table)

    if chosen.table:
        run_one(chosen.table, work, as_json=as_json)
        return
    tables = live_tables(connection, chosen.pattern or "")
    # A missing stack or bucket is one error, not one of each table.
    _ = enabler.name, connection.store
    run_several(
        tables, work_recorded, as_json=as_json, skip=skip, at_once=AT_ONCE, show=show_all_enabled
    )


@contextmanager
def _recorded(enabler: Enabler, table: str) -> Iterator[None]:
    """Records why a table could not be enabled."""
    try:
        yield
    except Exception as error:
        if known := translate(error):
            enabler.fail(table, known)
        raise
