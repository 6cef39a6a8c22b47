"""`stream-backup status`."""

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.state import state_of
from stream_backup.cli.console import data, say
from stream_backup.cli.options import as_json, connected
from stream_backup.cli.status_report import record, show
from stream_backup.errors import UsageError


@click.command()
@click.argument("table", required=False)
@as_json
@connected
def status(connection: Connection, table: str | None, *, as_json: bool) -> None:
    """Shows which moments of a table can be restored exactly, how far behind the archive is, and
    what is missing.

    \b
      stream-backup status
      stream-backup status orders --json
    """
    if table and not Catalog(connection.archive(table)).streams():
        raise UsageError(
            f"The archive contains nothing of table {table!r}.",
            f"Run: stream-backup enable {table}",
        )
    names = [table] if table else connection.tables()
    states = [state_of(connection, name) for name in names]
    if as_json:
        data(record(states[0]) if table else [record(state) for state in states])
        return
    for state in states:
        show(state)
    if not states:
        say(f"There is no table in {connection.location} yet.")
