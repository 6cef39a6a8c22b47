"""What a restore was asked for, checked against coverage: refused when it cannot be exact, unless told otherwise."""

import time
from dataclasses import dataclass

from botocore.exceptions import ClientError

from stream_backup.archive import Archive
from stream_backup.commands.follow import open_follower, read
from stream_backup.connection import Connection
from stream_backup.coverage import Epoch
from stream_backup.errors import CoverageError, UsageError
from stream_backup.moment import iso, parse_when
from stream_backup.survey import Live, Survey, survey
from stream_backup.table import look_up
from stream_backup.talk import say
from stream_backup.timeline import NEVER

GRACE = 10
"""Seconds a function is given to write what was changed before a rewind: its batching window is one, its runs are short."""

PATIENCE = 60
"""Seconds to wait for a `follow` that comes no further."""


@dataclass(frozen=True, slots=True)
class Order:
    """`epoch` is None when the moment lies in none and was wanted all the same; `label` is of the stream whose table
    description goes with the moment."""

    table: str
    moment: int
    epoch: Epoch | None
    label: str | None
    survey: Survey

    @property
    def floor(self) -> int:
        return self.epoch.floor if self.epoch else NEVER

    @property
    def floor_now(self) -> int:
        """Floor of the epoch that holds the present."""
        epochs = self.survey.coverage.epochs
        return epochs[-1].floor if epochs and epochs[-1].end is None else NEVER

    def require_present(self) -> None:
        """Raises UsageError or CoverageError when the archive does not know what the table is like now: it could not say
        what changed since the moment."""
        epochs = self.survey.coverage.epochs
        if self.floor_now < 0:
            raise UsageError(
                f"The archive does not cover {self.table} as it is now, so it cannot say what changed since.",
                f"Restore into a new table (--into NAME), or run: stream-backup enable {self.table}, and a backfill.",
            )
        if self.survey.coverage.holes_in(epochs[-1]):
            raise CoverageError(
                f"Failed batches of {self.table} wait, so the archive cannot say all that changed since. {_span(self.survey)}",
                f"Run: stream-backup redrive {self.table}; or restore into a new table (--into NAME).",
            )

    @property
    def bounds(self) -> tuple[str | None, str | None]:
        """(earliest, latest) exact moments of the epoch restored from, else of the newest one."""
        coverage = self.survey.coverage
        if self.epoch:
            return iso(self.epoch.start), iso(coverage.end_of(self.epoch))
        return (iso(coverage.bounds[0]), iso(coverage.bounds[1])) if coverage.bounds else (None, None)


def take_order(connection: Connection, table: str, when: str, *, incomplete_ok: bool) -> Order:
    """Raises CoverageError outside coverage unless `incomplete_ok`; UsageError for what is no moment or not in the archive."""
    archive = connection.archive(table)
    live, now = _look(connection, table)
    moment, note = parse_when(when, now)
    if note:
        say(note)
    found = _survey(connection, archive, now, live)
    if not found.streams and archive.is_empty():
        raise UsageError(f"The archive {connection.location} holds nothing of {table!r}.", "Check its name, and --archive.")
    if moment >= now and not incomplete_ok:
        hint = "Restore to a second that is over."
        raise CoverageError(f"{iso(moment)} is not over yet: it is {iso(now)} now. {_span(found)}", hint)
    if moment > found.coverage.latest and found.following:
        found = _wait(connection, archive, moment)
    order = _within(table, moment, found, incomplete_ok=incomplete_ok)
    if order.epoch is None:
        say(f"{iso(moment)} is outside coverage. {_span(found)} What follows is what there is, and may not be exact.")
    elif order.epoch.end is None and found.lag is None:
        say("How far the function has read is not known here: what it has not written yet is not in this restore.")
    return order


def catch_up(connection: Connection, order: Order, *, incomplete_ok: bool) -> Order:
    """The order, once the archive has everything up to the moment this was called: it waits for the `follow` that is
    reading, or reads the stream itself where nobody is. A function that keeps up has written it after GRACE seconds; how far
    it has read is not known here."""
    archive = connection.archive(order.table)
    stream = order.survey.stream
    if stream and stream.reader == "follow":
        _, now = _look(connection, order.table)
        if _wait(connection, archive, now).coverage.latest < now:
            read(open_follower(connection, order.table), once=True)
    elif stream:
        say(f"Giving the function {GRACE} s to write what changed just now.")
        time.sleep(GRACE)
    live, now = _look(connection, order.table)
    found = _survey(connection, archive, now, live)
    return _within(order.table, order.moment, found, incomplete_ok=incomplete_ok)


def _survey(connection: Connection, archive: Archive, now: int, live: Live | None) -> Survey:
    failed = connection.failed_batches(archive.table)
    if failed is None:
        say("Whether failed batches wait is not known here: the failures bucket is out of sight.")
    return survey(archive, now, live, [batch.hole for batch in failed or ()], connection.behind(archive.table, now))


def _within(table: str, moment: int, found: Survey, *, incomplete_ok: bool) -> Order:
    epoch = found.coverage.epoch_at(moment) if incomplete_ok else found.coverage.require(moment, table)
    return Order(table, moment, epoch, epoch.stream if epoch else None, found)


def _wait(connection: Connection, archive: Archive, moment: int) -> Survey:
    """The survey once it reaches `moment`, or nobody follows any more, or who does has come no further for PATIENCE."""
    say(f"Waiting until the archive has caught up with {iso(moment)} …")
    reached, moved = 0, time.monotonic()
    while True:
        live, now = _look(connection, archive.table)
        found = _survey(connection, archive, now, live)
        if found.coverage.latest > reached:
            reached, moved = found.coverage.latest, time.monotonic()
        if found.coverage.latest >= moment or not found.following or time.monotonic() - moved > PATIENCE:
            return found
        time.sleep(0.5)


def _look(connection: Connection, table: str) -> tuple[Live | None, int]:
    try:
        return look_up(connection.dynamodb, table)
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        return None, connection.clock()  # a restorer need not be allowed to see the table


def _span(found: Survey) -> str:
    if not found.coverage.bounds:
        return "The archive covers no moment yet."
    earliest, latest = found.coverage.bounds
    return f"The archive is exact from {iso(earliest)} to {iso(latest)}."
