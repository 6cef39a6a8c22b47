"""What the archive of a table can answer: its coverage, compared with the live table where that can
be read.

A stream that was switched off or replaced without `disable` ends its epoch at the last change that
it certainly delivered: nobody knows when exactly it went off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, Stat
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.coverage import Coverage, Hole, Stretch, epochs, stretches
from stream_backup.core.records import Live, Outage, Run, Stream
from stream_backup.core.time_rule import NEVER, latest_stamp, seen_on

FRESH = 30
"""Seconds without a beat after which a `follow` counts as stopped."""

_WITNESSES = 10_000
"""How many of the versions written last are read to find a stream's last change."""


@dataclass(frozen=True, slots=True)
class Status:
    """`checkpoint` is that of the newest stream, where `follow` reads it; `behind` the seconds by
    which a function is, where that is known; `lateness` that of `item_at`; `now` AWS's clock."""

    coverage: Coverage
    streams: list[Stream]
    runs: list[Run]
    outages: list[Outage]
    stretches: list[Stretch]
    checkpoint: FollowCheckpoint | None
    now: int
    lateness: int = 0
    behind: int | None = None

    @property
    def stream(self) -> Stream | None:
        """The newest stream, on or off."""
        return self.streams[-1] if self.streams else None

    @property
    def following(self) -> bool:
        """Whether a `follow` is reading now, so that waiting helps."""
        kept = self.checkpoint
        return bool(kept and kept.running and self.now - kept.beat < FRESH)

    @property
    def lag(self) -> int | None:
        """Seconds by which the archive is behind, None where that is not known."""
        return self.now - self.checkpoint.caught_up if self.checkpoint else self.behind

    @property
    def floor_now(self) -> int:
        """The floor of the epoch that holds the present, NEVER when no epoch does."""
        found = self.coverage.epochs
        return found[-1].floor if found and found[-1].end is None else NEVER


def status_of(
    archive: Archive,
    now: int,
    live: Live | None = None,
    holes: Iterable[Hole] = (),
    behind: int | None = None,
) -> Status:
    """Returns the status of an archive. `now` is AWS's clock; `live` the table, where it exists and
    may be described; `holes` are what waits in failed batches; `behind` is how many seconds the
    function is, where that is known."""
    catalog = Catalog(archive)
    streams, runs, outages = catalog.streams(), catalog.runs(), catalog.outages()
    ends = catalog.ends()
    newest = streams[-1] if streams else None
    follows = newest is not None and newest.reader == "follow"
    checkpoint = catalog.follow_checkpoint(newest.label) if newest and follows else None
    if newest and newest.label not in ends and live and live.label != newest.label:
        last = last_moment(archive, newest, runs, checkpoint, now)
        ends[newest.label] = catalog.as_far_as_read(newest, last)
    pieces = stretches(streams, ends, outages)
    if newest and follows:
        latest = checkpoint.caught_up if checkpoint else newest.floor
    else:
        latest = now - 1 - (behind or 0)  # the current second is not over, so it is not exact
    coverage = Coverage(tuple(epochs(pieces, runs)), latest, tuple(holes))
    lateness = catalog.lateness()
    return Status(coverage, streams, runs, outages, pieces, checkpoint, now, lateness, behind)


def last_moment(
    archive: Archive,
    stream: Stream,
    runs: list[Run],
    checkpoint: FollowCheckpoint | None,
    before: int,
) -> int:
    """Returns the last exact moment of a stream whose end was not recorded: the latest of what
    `follow` had read, the last second in which a complete backfill saw it on, and the last archived
    change stamped before `before`."""
    complete = [run for run in runs if run.stream == stream.label and run.complete]
    witnessed = [seen_on(run.answered) for run in complete]
    best = max([checkpoint.caught_up if checkpoint else stream.floor, *witnessed])
    every = (version for history in archive.histories() for version in history.versions)
    for version in nlargest(_WITNESSES, every, key=lambda version: version.written):
        if latest_stamp(version) < best:
            break
        found: Stat = archive.stat(version)
        if found.stamp.sequence and stream.floor <= found.stamp.at < before:
            best = max(best, found.stamp.at)
    return best
