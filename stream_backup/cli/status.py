"""`stream-backup status`."""

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.known import unknown
from stream_backup.capture.state import state_of
from stream_backup.cli.console import data, keep, say
from stream_backup.cli.options import as_json, connected, optional_table
from stream_backup.cli.status_report import record, show


@click.command()
@optional_table
@as_json
@connected
def status(connection: Connection, table: str | None, *, as_json: bool) -> None:
    """Shows which moments of a table can be restored exactly, how far behind the archive is, and
    what is missing.

    \b
      stream-backup status
      stream-backup status orders --json
    """
    catalog = Catalog(connection.archive(table)) if table else None
    if table and catalog and not catalog.streams() and not catalog.enable_attempt():
        raise unknown(connection, table, f"To back it up, run: stream-backup enable {table}")
    names = [table] if table else connection.tables()
    found = [
        (state_of(connection, name), Catalog(connection.archive(name)).enable_attempt())
        for name in names
    ]
    keep([state for state, _ in found])
    if as_json:
        reports = [record(*each) for each in found]
        data(reports[0] if table else reports)
        return
    for each in found:
        show(*each)
    if not found:
        say(f"There is no table in {connection.location} yet.")
