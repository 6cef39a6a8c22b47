"""`stream-backup verify`."""

from threading import Event

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.capacity import ReadBudget, units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import require
from stream_backup.capture.known import unknown
from stream_backup.cli.console import Terminal, keep
from stream_backup.cli.options import as_json, connected, read_capacity, table_argument
from stream_backup.cli.verify_report import announce, complain, report
from stream_backup.core.key import KeySchema
from stream_backup.verify.run import Verification


@click.command()
@table_argument
@click.option(
    "--segments",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Segments to scan at once.",
)
@read_capacity
@as_json
@connected
def verify(
    connection: Connection,
    table: str,
    segments: int,
    read_share: float,
    read_units: float | None,
    *,
    as_json: bool,
) -> None:
    """Compares the live table with what the archive says it is now. It only reads.

    The table is scanned and the archive is listed. A row whose ETag in the listing is the MD5 of
    its content is equal and needs no request of its own. Rows that differ are compared again until
    it is clear that no change was merely on its way; a row that keeps changing is not compared.
    Where ETags are not MD5s (SSE-KMS), each row costs a GET. The exit code is 5 when something
    differs.

    \b
      stream-backup verify orders
      stream-backup verify orders --read-share 0.1 --json
    """
    live, _ = require(connection.dynamodb, table)
    archive = connection.archive(table, KeySchema.of(live.description))
    if not Catalog(archive).streams() and archive.is_empty():
        raise unknown(connection, table)
    budget = ReadBudget(read_units if read_units is not None else units_of(live, read_share))
    verification = Verification(connection, archive, live, segments, budget, Event(), Terminal())
    found = keep(verification.run(announce))
    report(found, as_json=as_json)
    complain(found)
