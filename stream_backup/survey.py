"""What the archive of a table can answer right now: its coverage, held against the live table where it can be seen.

A stream that was switched off or replaced behind our back ends its epoch at the last change it is known to have
delivered: nobody can say when exactly it went off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import Any, NamedTuple

from stream_backup.archive import Archive, Stat
from stream_backup.change import MARGIN
from stream_backup.coverage import Coverage, Hole, Outage, Run, Stream, Stretch, epochs, stretches
from stream_backup.meta import Meta
from stream_backup.moment import from_iso
from stream_backup.timeline import latest_at

FRESH = 30
"""Seconds without a beat after which a `follow` counts as gone."""

_WITNESSES = 10_000
"""How many of the versions written last are looked at for a stream's last change."""


class Live(NamedTuple):
    """The table as it is: `label` of the stream that is on, None when none is."""

    description: dict[str, Any]
    label: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    coverage: Coverage
    streams: list[Stream]
    runs: list[Run]
    outages: list[Outage]
    stretches: list[Stretch]
    checkpoint: dict[str, Any] | None
    """Of the newest stream, where `follow` reads it."""
    now: int
    lateness: int = 0
    """For `item_at`: how much later than a stream delivers something was put back by `redrive`."""

    behind: int | None = None

    @property
    def stream(self) -> Stream | None:
        """The newest stream, on or off."""
        return self.streams[-1] if self.streams else None

    @property
    def following(self) -> bool:
        """Whether a `follow` is reading right now, so that waiting helps."""
        return bool(self.checkpoint and self.checkpoint["running"] and self.now - from_iso(self.checkpoint["beat"]) < FRESH)

    @property
    def lag(self) -> int | None:
        """Seconds by which the archive is behind, where somebody says so; None where it is not known."""
        return self.now - from_iso(self.checkpoint["caught_up"]) if self.checkpoint else self.behind


def survey(
    archive: Archive, now: int, live: Live | None = None, holes: Iterable[Hole] = (), behind: int | None = None
) -> Survey:
    """`now` is AWS's clock; `live` the table, where it exists and may be described; `holes` what waits in failed batches;
    `behind` how many seconds the function is, where that is known."""
    meta = Meta(archive)
    streams, runs, outages, ends = meta.streams(), meta.runs(), meta.outages(), meta.ends()
    newest = streams[-1] if streams else None
    checkpoint = meta.checkpoint(newest.label) if newest and newest.reader == "follow" else None
    if newest and newest.label not in ends and live and live.label != newest.label:
        ends[newest.label] = meta.as_far_as_read(newest, last_moment(archive, newest, runs, checkpoint, now))
    pieces = stretches(streams, ends, outages)
    if newest and newest.reader == "follow":
        latest = from_iso(checkpoint["caught_up"]) if checkpoint else newest.floor
    else:
        latest = now - 1 - (behind or 0)  # the second that is not over yet is not exact
    coverage = Coverage(tuple(epochs(pieces, runs)), latest, tuple(holes))
    return Survey(coverage, streams, runs, outages, pieces, checkpoint, now, meta.lateness(), behind)


def last_moment(archive: Archive, stream: Stream, runs: list[Run], checkpoint: dict[str, Any] | None, before: int) -> int:
    """The last exact moment of a stream whose end nobody saw: the latest of what `follow` had read, the last second before
    a complete backfill saw it on, and the last archived change stamped before `before`."""
    # A run is on record as answered 1 + MARGIN seconds after it looked; as much again is for the skew of the clocks.
    witnessed = [run.answered - 2 * (1 + MARGIN) for run in runs if run.stream == stream.label and run.complete]
    best = max([from_iso(checkpoint["caught_up"]) if checkpoint else stream.floor, *witnessed])
    every = (version for history in archive.histories() for version in history.versions)
    for version in nlargest(_WITNESSES, every, key=lambda version: version.written):
        if latest_at(version) < best:
            break
        found: Stat = archive.stat(version)
        if found.stamp.sequence and stream.floor <= found.stamp.at < before:
            best = max(best, found.stamp.at)
    return best
