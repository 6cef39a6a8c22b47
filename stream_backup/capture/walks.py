"""When the items of an archive are walked through, and for how long: by the watcher, or by `follow`
where there is no watcher."""

import time

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.status import Status
from stream_backup.aws.connection import Connection
from stream_backup.aws.lifecycle import lifecycle_of
from stream_backup.capture.order import Walker
from stream_backup.core.order import ENDED, UNDER_WAY, Walk
from stream_backup.core.retention import DAY, Bound, kept_since

PAGES = 64
"""How many pages one part of a walk lists when nothing has to be put in order."""

AGAIN = 3600
"""Seconds after which a walk that found delete markers is repeated."""


def next_walk(status: Status) -> Walk | None:
    """Returns the walk to go on with: the one that has items left, unless it does not put in order
    what must be by now, or a new one when something must be put in order, or every day. None when
    there is nothing to do."""
    due = [each for each in status.coverage.disorders if each.is_due(status.now)]
    since = min((each.since for each in due), default=status.now)
    under_way = status.walks.get(UNDER_WAY)
    if under_way and not under_way.ended and under_way.since <= since:
        return under_way
    last = status.walks.get(ENDED)
    pause = AGAIN if last and last.hidden else DAY
    if status.streams and (due or last is None or status.now - last.began >= pause):
        return Walk(began=status.now, since=max(since, 0))
    return None


def go_on(
    connection: Connection, archive: Archive, status: Status, walk: Walk, seconds: float
) -> Walk:
    """Goes on with a walk through the items of an archive for so many seconds, and not for long
    when nothing has to be put in order. Returns how far it has come."""
    requests, end = connection.store.requests, time.monotonic() + seconds
    pages = requests["list"] + PAGES

    def over() -> bool:
        slow = walk.since == walk.began and requests["list"] > pages
        return slow or time.monotonic() >= end

    def kept() -> Bound:
        rules = lifecycle_of(connection.s3, connection.store.bucket, archive.root)
        days = rules.noncurrent_days if rules else None
        now = int(connection.now())
        return kept_since(days, rules is not None, Catalog(archive).retentions(), now)

    return Walker(archive, status, connection.now, over, kept).go_on(walk)
