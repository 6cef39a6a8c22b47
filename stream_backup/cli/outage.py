"""`stream-backup outage`."""

import click

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.known import unknown
from stream_backup.capture.known_gap import KnownGap, known_gap
from stream_backup.capture.state import state_of
from stream_backup.cli.console import data, say
from stream_backup.cli.input import parse_when
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.cli.questions import confirm
from stream_backup.core.moment import iso
from stream_backup.core.spans import spoken
from stream_backup.errors import UsageError


@click.command()
@table_argument
@click.option(
    "--since",
    "since_text",
    required=True,
    metavar="WHEN",
    help="The first second whose changes may be missing.",
)
@click.option(
    "--until",
    "until_text",
    required=True,
    metavar="WHEN",
    help="The last second whose changes may be missing.",
)
@click.option("--yes", is_flag=True, help="Record the gap without asking.")
@as_json
@connected
def outage(
    connection: Connection,
    table: str,
    since_text: str,
    until_text: str,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Records a known gap: changes from --since to --until may be missing from the archive.

    Use it if you know of changes that the archive never received, for example because somebody
    deleted versions of it. No moment from the gap on is exact until a backfill is complete that
    begins after this command. Moments before the gap stay exact. The command shows which moments
    stop being exact, and asks before it writes. A recorded gap cannot be removed.

    WHEN is ISO-8601 (no offset: UTC), a time before now (5m, '2h ago'), or epoch seconds.

    \b
      stream-backup outage orders --since 2026-11-21T03:00:00Z --until 2026-11-21T03:20:00Z
    """
    catalog = Catalog(connection.archive(table))
    if not catalog.streams():
        raise unknown(connection, table)
    state = state_of(connection, table)
    since, until = (_moment(text, state.now) for text in (since_text, until_text))
    gap = known_gap(table, state.status, since, until)
    if gap.outages:
        _warn(gap)
        if not yes and not confirm("Record this gap? It cannot be removed."):
            raise UsageError(
                "Not confirmed; nothing was recorded.", "--yes records without asking."
            )
        gap.write(catalog)
        say("The gap is on record.")
    else:
        say(f"This gap was already on record. Exact: {spoken(gap.exact) or 'no moment'}.")
    if gap.backfill:
        say(f"New moments become exact with the next backfill: stream-backup backfill {table}")
    if as_json:
        data(gap.record())


def _moment(text: str, now: int) -> int:
    moment, note = parse_when(text, now)
    if note:
        say(note)
    return moment


def _warn(gap: KnownGap) -> None:
    say(
        f"Changes of {gap.table} from {iso(gap.since)} to {iso(gap.until)} may be missing from the"
        " archive.",
        f"No longer exact: {spoken(gap.lost) or 'no moment; none of these was exact before'}.",
        f"Still exact: {spoken(gap.exact) or 'no moment'}.",
    )
