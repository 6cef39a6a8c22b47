"""`stream-backup verify`."""

from threading import Event

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.capacity import ReadBudget, units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import require
from stream_backup.capture.known import unknown
from stream_backup.cli.console import Terminal, keep, say
from stream_backup.cli.input import parse_when
from stream_backup.cli.options import as_json, connected, read_capacity, table_argument
from stream_backup.cli.questions import confirm, is_answered
from stream_backup.cli.repair_report import complain_of_repair, report_repair, warn
from stream_backup.cli.verify_report import announce, complain, report
from stream_backup.core.key import KeySchema
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import UsageError
from stream_backup.verify.gap import Gap
from stream_backup.verify.repair import RepairRun
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
@click.option(
    "--repair",
    is_flag=True,
    help="Write to the archive what it has wrong, record what was lost, and begin a new epoch.",
)
@click.option(
    "--lost-since",
    "lost_since",
    metavar="WHEN",
    help="With --repair: you know that no change was lost before then. Moments before it can stay "
    "exact.",
)
@click.option("--yes", is_flag=True, help="With --repair: do not ask before writing.")
@as_json
@connected
def verify(
    connection: Connection,
    table: str,
    segments: int,
    read_share: float,
    read_units: float | None,
    lost_since: str | None,
    *,
    repair: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Compares the live table with what the archive says it is now. It only reads, unless --repair
    is passed.

    The table is scanned and the archive is listed. A row whose ETag in the listing is the MD5 of
    its content is equal and needs no request of its own. Rows that differ are compared again until
    it is clear that no change was merely on its way; a row that keeps changing is not compared.
    Where ETags are not MD5s (SSE-KMS), each row costs a GET. The exit code is 5 when something
    differs.

    With --repair, rows that are wrong get a new version, and rows that are gone a tombstone that
    says that they were found missing. Nothing is overwritten or deleted. Changes must have been
    lost, so the gap is put on record: no moment in it is exact. It begins at the newest version of
    the wrong rows, and new moments become exact from the end of the repair on. Before anything is
    written, the command waits for five minutes, compares again, shows which moments stop being
    exact, and asks if it runs in a terminal. The exit code is 3 when some rows could not be
    written; run it again.

    \b
      stream-backup verify orders
      stream-backup verify orders --read-share 0.1 --json
      stream-backup verify orders --repair
    """
    if not repair and (lost_since or yes):
        raise UsageError("--lost-since and --yes need --repair.", "Add --repair.")
    live, _ = require(connection.dynamodb, table)
    archive = connection.archive(table, KeySchema.of(live.description))
    if not Catalog(archive).streams() and archive.is_empty():
        raise unknown(connection, table)
    budget = ReadBudget(read_units if read_units is not None else units_of(live, read_share))
    verification = Verification(connection, archive, live, segments, budget, Event(), Terminal())
    if repair:
        known = _moment(lost_since, connection.clock()) if lost_since else NEVER
        done = keep(RepairRun(verification, lambda gap: _agree(gap, yes=yes), known).run(announce))
        report_repair(done, as_json=as_json)
        complain_of_repair(done)
        return
    found = keep(verification.run(announce))
    report(found, as_json=as_json)
    complain(found)


def _agree(gap: Gap, *, yes: bool) -> bool:
    warn(gap)
    if yes or not is_answered():
        return True
    return confirm("Repair these rows? The gap cannot be removed from the record.")


def _moment(text: str, now: int) -> int:
    moment, note = parse_when(text, now)
    if note:
        say(note)
    return moment
