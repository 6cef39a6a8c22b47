"""`stream-backup check`."""

import time
from typing import NamedTuple

import click

from stream_backup.archive.audit import bad_records
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.connection import Connection
from stream_backup.aws.several import Deliver
from stream_backup.capture.known import unknown
from stream_backup.capture.state import State, state_of
from stream_backup.cli.check_report import CheckReport
from stream_backup.cli.console import Terminal, keep, say
from stream_backup.cli.input import parse_duration, parse_share
from stream_backup.cli.options import Chosen, as_json, connected, table_or_match
from stream_backup.cli.several import run_archived
from stream_backup.core.key import KeySchema
from stream_backup.errors import ArchiveError, UsageError
from stream_backup.inspect.history import schemas_of
from stream_backup.verify.check import Check, CheckPart
from stream_backup.verify.claims import Claims
from stream_backup.verify.faults import Faults
from stream_backup.verify.items import ItemCheck


@click.command()
@table_or_match("Check")
@click.option(
    "--repair",
    is_flag=True,
    help="Put the newest version of each item on top, and announce late versions.",
)
@click.option("--deep", is_flag=True, help="Read every version, and find lost changes.")
@click.option(
    "--sample", metavar="PERCENT", help="Check this share of the items, such as 5%, and go on next."
)
@click.option(
    "--max-duration", metavar="DURATION", help="Stop after so long, such as 10m, and go on next."
)
@as_json
@connected
def check(
    connection: Connection,
    chosen: Chosen,
    sample: str | None,
    max_duration: str | None,
    *,
    repair: bool,
    deep: bool,
    as_json: bool,
) -> None:
    """Checks the archive of a table against its own rules. It does not read the table.

    A listing finds objects that do not belong to the archive, and delete markers. Stamps are read
    only where the listing does not show which version of an item is the newest, and of a few other
    items. --deep reads every version. It finds each change that was lost, because a change says
    what the item was before it, and names the item and the seconds between which it was lost.

    --repair writes the newest version of an item again where an older one or a delete marker is on
    top, and announces late versions. It removes nothing.

    With --sample or --max-duration, a check looks at a part of the items. The next one goes on
    where it stopped, as a record in the archive says. The exit code is 5 when something is wrong
    that is neither repaired nor known. A check that ends at its time limit is no error.

    With --match, the tables are those in the archive, even those that were deleted. They are
    checked one after another, and --max-duration holds for each of them.

    \b
      stream-backup check orders
      stream-backup check orders --repair
      stream-backup check orders --deep --sample 5% --max-duration 10m --json
      stream-backup check --match 'prod-*' --sample 5%
    """
    share = parse_share(sample) if sample is not None else None
    seconds = parse_duration(max_duration) if max_duration is not None else None
    options = CheckOptions(share, seconds, deep, repair)

    def work(table: str, deliver: Deliver) -> None:
        _check(connection, table, options, deliver if as_json else None)

    run_archived(connection, chosen, work, as_json=as_json)


class CheckOptions(NamedTuple):
    """The options of a check, which hold for each table by itself."""

    share: float | None
    seconds: int | None
    deep: bool
    repair: bool


def _check(
    connection: Connection, table: str, options: CheckOptions, deliver: Deliver | None
) -> None:
    """Checks one table. Its report goes to `deliver` as a JSON object, otherwise to stderr."""
    seconds, deep, repair = options.seconds, options.deep, options.repair
    end = time.monotonic() + seconds if seconds is not None else None
    archive = connection.archive(table)
    if archive.is_empty() and not any(archive.meta.every()):
        raise unknown(connection, table)
    state = _state(connection, table)
    faults = Faults()
    claims = Claims(state.status, connection.now) if state else None
    items = ItemCheck(archive, claims, _schemas(connection, table), faults, deep, repair)
    part = CheckPart(
        options.share, lambda: end is not None and time.monotonic() >= end, end is not None
    )
    lifecycle = state.lifecycle if state else None
    found = keep(Check(items, lifecycle, connection.now, Terminal(), part).run())
    report = CheckReport(table, found, state, deep=deep, repair=repair)
    report.show(deliver)
    report.complain()


def _state(connection: Connection, table: str) -> State | None:
    """Returns the state of the archive, None where a record cannot be read, which is a finding."""
    try:
        state = state_of(connection, table)
    except ArchiveError as error:
        archive = connection.archive(table)
        with RequestPool() as pool:
            if not any(each.kind == "record" for each in bad_records(archive, pool)):
                raise
        say(f"It is unknown what the archive covers: {error}")
        return None
    for sentence in state.unseen:
        say(sentence)
    return state


def _schemas(connection: Connection, table: str) -> tuple[KeySchema, ...]:
    """Returns the key schemas that the table had, none where they are not known."""
    try:
        return tuple(schemas_of(connection, table))
    except (ArchiveError, UsageError):
        say("The key schema of the table is unknown: the keys of rows are not checked.")
        return ()
