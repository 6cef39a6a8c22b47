"""`stream-backup timeline`."""

from contextlib import closing
from pathlib import Path

import click

from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.point import RestorePoint, resolve
from stream_backup.capture.state import State, state_of
from stream_backup.cli.console import Terminal, data, keep, say
from stream_backup.cli.input import parse_every, parse_when
from stream_backup.cli.items import schema_at
from stream_backup.cli.options import as_json, connected, table_argument
from stream_backup.cli.timeline_page import require_page, write_page
from stream_backup.cli.timeline_report import TimelineReport, regrouped, step_for
from stream_backup.core.moment import iso
from stream_backup.core.time_rule import NEVER
from stream_backup.errors import UsageError
from stream_backup.inspect.placing import Range
from stream_backup.inspect.shapes import Shape, Shapes, differences_of
from stream_backup.inspect.timeline import Timeline
from stream_backup.inspect.timeline import timeline as timeline_of
from stream_backup.inspect.window import Examined, Window, changes
from stream_backup.progress import Silent

DAY = 24 * 3600
"""Seconds that are shown by default."""

ROWS = 48
"""Intervals into which a range is divided by default."""

SHAPED = 50_000
"""Changes of the busiest stretch up to which a page shows what they did."""

INTERVALS = 100_000
"""Intervals that a range may have. A page has one for each second of a day."""


@click.command()
@table_argument
@click.option(
    "--since",
    metavar="WHEN",
    help="The first second: ISO-8601 (no offset: UTC), '2h ago', or epoch seconds.  [default: a day"
    " before the last]",
)
@click.option(
    "--until", metavar="WHEN", help="The last second.  [default: the latest exact moment]"
)
@click.option(
    "--every", metavar="LENGTH", help="Length of an interval: 30s, 5m, 1h, 1d.  [default: as fits]"
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a page that shows every second, and needs no network.",
)
@click.option(
    "--incomplete-ok",
    is_flag=True,
    help="Show what exists, even outside coverage or with unreadable versions. Rely on no"
    " announcement of late changes.",
)
@as_json
@connected
def timeline(
    connection: Connection,
    table: str,
    since: str | None,
    until: str | None,
    every: str | None,
    page: Path | None,
    *,
    incomplete_ok: bool,
    as_json: bool,
) -> None:
    """Shows how many items were inserted, modified, removed and expired, interval by interval, so
    that the moment of damage is seen.

    The listing of the archive places most changes. Where it leaves doubt (near the edges of an
    interval, and for removals, which may be expiries), the stamps are read: one HEAD each. Shorter
    intervals need more of them. With --html, every stamp of the range is read.

    \b
      stream-backup timeline orders
      stream-backup timeline orders --since '2h ago' --every 1m
      stream-backup timeline orders --since 2026-11-21T02:00:00Z --until 2026-11-21T03:00:00Z
      stream-backup timeline orders --html orders.html
    """
    length = parse_every(every) if every else None
    if page:
        require_page(page)
    state = state_of(connection, table)
    point, begin = _range(connection, state, since, until, incomplete_ok=incomplete_ok)
    seconds = point.moment - begin + 1
    length = length or step_for(seconds, ROWS)
    finest = step_for(seconds, DAY) if page else length
    if seconds // finest > INTERVALS or seconds // length > INTERVALS:
        raise UsageError(
            f"{iso(begin)} to {iso(point.moment)} has more than {INTERVALS:,} intervals of that"
            " length.",
            "Choose longer intervals (--every), or a shorter range (--since, --until).",
        )
    floor = NEVER if point.epoch and begin < point.epoch.start else point.floor
    span = Range(
        connection.archive(table),
        begin,
        point.moment,
        finest if length % finest == 0 else 1,
        floor,
        [*state.status.runs, *state.status.repairs],
        point.lateness,
    )
    requests = connection.store.requests
    before = dict(requests)
    examined = Examined()
    with RequestPool() as pool:
        found = timeline_of(span, Selection(span.archive), pool, examined, Terminal())
    spent = {kind: requests[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}
    earliest = point.bounds[0].moment if point.bounds else begin
    shown = regrouped(found, length)
    report = keep(TimelineReport(table, earliest, connection.archive_url, shown, spent))
    if as_json:
        data(report.record(examined))
    else:
        report.show()
    if page:
        burst = shown.busiest()
        shapes = _shapes(connection, point, found, burst, earliest) if burst else None
        write_page(page, report, found, burst, shapes)
        say(f"The page is {page}.")
    report.summarize(examined, incomplete_ok=incomplete_ok)


def _shapes(
    connection: Connection,
    point: RestorePoint,
    found: Timeline,
    burst: tuple[int, int],
    earliest: int,
) -> list[Shape] | None:
    """The shapes of what changed in the busiest stretch, None where that is too much to read for a
    page, or where the stretch begins with what is known."""
    first, last = burst
    inside = [counts.total for start, counts in found.intervals.items() if first <= start <= last]
    if sum(inside) > SHAPED or first <= earliest:
        return None
    archive = connection.archive(point.table, schema_at(connection, point))
    window = Window(archive, first - 1, last, point.floor, point.floor, point.lateness)
    with closing(Shapes()) as shapes, RequestPool() as pool:
        for changed in changes(window, Selection(archive), pool, Examined(), Silent()):
            if changed.differs:
                shapes.add(changed, differences_of(changed))
        return shapes.found()


def _range(
    connection: Connection,
    state: State,
    since: str | None,
    until: str | None,
    *,
    incomplete_ok: bool,
) -> tuple[RestorePoint, int]:
    """The last second, and the first one: no earlier than the archive is exact."""
    bounds = state.status.coverage.bounds
    end, note = parse_when(until, state.now) if until else (None, "")
    if end is None:
        end = bounds[1].moment if bounds else state.now - 1
    begin, other = parse_when(since, state.now) if since else (end - DAY + 1, "")
    for text in filter(None, (other, note)):
        say(text)
    if begin > end:
        raise UsageError(
            f"The range from {iso(begin)} to {iso(end)} contains no second.",
            "--since is the first second of the range, --until the last.",
        )
    point = resolve(connection, state, end, Terminal(), incomplete_ok=incomplete_ok)
    if point.epoch and not incomplete_ok and point.bounds:
        first = point.bounds[0]
        if begin < first.moment:
            begin = first.moment
            if since:
                say(f"The range begins at {iso(begin)}. {first.why}")
    return point, begin
