"""`stream-backup verify`."""

from threading import Event
from typing import NamedTuple

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.capacity import ReadBudget, units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.several import Deliver
from stream_backup.aws.table import require
from stream_backup.capture.known import unknown
from stream_backup.cli import distributed_verify
from stream_backup.cli.console import Terminal, keep, say
from stream_backup.cli.distribution import distribution
from stream_backup.cli.input import parse_when
from stream_backup.cli.options import Chosen, as_json, connected, read_capacity, table_or_match
from stream_backup.cli.questions import confirm, is_answered
from stream_backup.cli.repair_report import complain_of_repair, report_repair, warn
from stream_backup.cli.several import run_live
from stream_backup.cli.verify_report import announce, complain, report
from stream_backup.cli.workers import workers_of, workers_option
from stream_backup.core.key import KeySchema
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import UsageError
from stream_backup.verify.gap import Gap
from stream_backup.verify.repair import RepairRun
from stream_backup.verify.run import SEGMENTS, Verification
from stream_backup.workers.crew import default_workers


@click.command()
@table_or_match("Compare")
@click.option(
    "--segments",
    type=click.IntRange(1, 256),
    help=f"Segments to scan at once.  [default: {SEGMENTS} a worker]",
)
@workers_option(
    "Processes to compare with; with --distributed, functions of the stack. One does a repair."
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
@distribution
@as_json
@connected
def verify(
    connection: Connection,
    chosen: Chosen,
    segments: int | None,
    workers: int | None,
    read_share: float,
    read_units: float | None,
    lost_since: str | None,
    *,
    repair: bool,
    yes: bool,
    distributed: bool,
    detach: bool,
    attach: bool,
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

    With --distributed, workers of the stack scan the table and list the archive. This command then
    compares again what differs, because it must wait for changes on their way; after --detach,
    --attach does that. A run that was stopped is not resumed: the next one begins again.

    With --match, the tables are compared one after another, and the options hold for each of them.
    Tables that somebody disabled and tables that a restore made are skipped; a table that was never
    enabled counts as failed.

    \b
      stream-backup verify orders
      stream-backup verify orders --read-share 0.1 --json
      stream-backup verify orders --repair
      stream-backup verify orders --distributed
      stream-backup verify --match 'prod-*'
    """
    if not repair and (lost_since or yes):
        raise UsageError("--lost-since and --yes need --repair.", "Add --repair.")
    if repair and workers:
        raise UsageError(
            "--workers has no meaning with --repair: a repair is done by one process.",
            "Leave it out.",
        )
    if repair and (distributed or attach):
        option = "--distributed" if distributed else "--attach"
        raise UsageError(
            f"{option} has no meaning with --repair: a repair is done by one process.",
            "Leave it out.",
        )
    options = VerifyOptions(
        segments,
        workers,
        read_share,
        read_units,
        lost_since,
        repair,
        yes,
        distributed,
        detach,
        attach,
    )

    def work(table: str, deliver: Deliver) -> None:
        _verify(connection, table, options, deliver if as_json else None)

    run_live(connection, chosen, work, as_json=as_json)


class VerifyOptions(NamedTuple):
    """The options of a comparison, which hold for each table by itself."""

    segments: int | None
    workers: int | None
    read_share: float
    read_units: float | None
    lost_since: str | None
    repair: bool
    yes: bool
    distributed: bool
    detach: bool
    attach: bool


def _verify(
    connection: Connection, table: str, options: VerifyOptions, deliver: Deliver | None
) -> None:
    """Compares one table. Its report goes to `deliver` as a JSON object, otherwise to stderr."""
    live, _ = require(connection.dynamodb, table)
    schema = KeySchema.of(live.description)
    archive = connection.archive(table, schema)
    if not Catalog(archive).streams() and archive.is_empty():
        raise unknown(connection, table)
    units = options.read_units
    if units is None:
        units = units_of(live, options.read_share)
    rows = int(live.description.get("ItemCount") or 0)
    one = options.repair or options.distributed or options.attach
    number = 1 if one else options.workers or default_workers(rows)
    verification = Verification(
        connection,
        archive,
        live,
        options.segments or SEGMENTS * number,
        ReadBudget(units),
        Event(),
        Terminal(),
        workers_of(number, connection, table, schema, hint="Run the same command again."),
    )
    if options.attach:
        distributed_verify.follow_last(verification, deliver)
        return
    if options.distributed:
        given = options.segments, options.workers, units, deliver
        distributed_verify.distribute(verification, *given, detach=options.detach)
        return
    if options.repair:
        known = _moment(options.lost_since, connection.clock()) if options.lost_since else NEVER
        done = keep(
            RepairRun(verification, lambda gap: _agree(gap, yes=options.yes), known).run(announce)
        )
        report_repair(done, deliver)
        complain_of_repair(done)
        return
    found = keep(verification.run(announce))
    report(found, deliver)
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
