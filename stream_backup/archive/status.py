"""What the archive of a table can answer: its coverage, compared with the live table where that can
be read.

A stream that was switched off or replaced without `disable` ends its epoch at the last change that
it certainly delivered: nobody knows when exactly it went off. While a restore fills a new table
under the name of a deleted one, the archive answers as it did before that table was created, so
that the restore can be resumed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest

from stream_backup.archive.catalog import NOTHING, Catalog
from stream_backup.archive.layout import Archive, Stat
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.coverage import Coverage, Epoch, Hole, Stretch, epochs, stretches
from stream_backup.core.moment import from_iso
from stream_backup.core.order import Walk, disorders
from stream_backup.core.records import End, Live, Outage, Run, Stream
from stream_backup.core.repair import Repair, standing
from stream_backup.core.retention import ALL, Bound
from stream_backup.core.time_rule import NEVER, Lateness, first_stamp, latest_stamp, seen_on
from stream_backup.core.witness import Evidence, latest_read

FRESH = 30
"""Seconds without a beat after which a `follow` counts as stopped."""

_WITNESSES = 10_000
"""How many of the versions written last are read to find a stream's last change."""


@dataclass(frozen=True, slots=True)
class Status:
    """`checkpoint` is that of the newest stream, where `follow` reads it; `now` is AWS's clock.
    `lateness` is how late versions may have been written, by the bound that holds for every
    stream; `walks` are what the watcher found in the items; `ends` are the ends of the streams that
    are not on, by label."""

    coverage: Coverage
    streams: list[Stream]
    runs: list[Run]
    outages: list[Outage]
    stretches: list[Stretch]
    checkpoint: FollowCheckpoint | None
    now: int
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen
    walks: Mapping[str, Walk] = field(default_factory=dict)
    ends: Mapping[str, End] = field(default_factory=dict)
    repairs: Sequence[Repair] = ()

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
        """Seconds by which the archive may be behind the table, None where no stream is on."""
        return max(0, self.now - self.coverage.latest) if self.streams else None

    def coverage_after(self, outages: Iterable[Outage]) -> Coverage:
        """The coverage that is left once these outages are on record too."""
        pieces = stretches(self.streams, self.ends, [*self.outages, *outages])
        return replace(self.coverage, epochs=tuple(epochs(pieces, self.runs, self.standing)))

    @property
    def standing(self) -> list[Repair]:
        """The repairs that count."""
        return standing(self.repairs, self.lateness.announced)

    @property
    def floor_now(self) -> int:
        """The floor of the epoch that holds the present, NEVER when no epoch does."""
        found = self.coverage.epochs
        return found[-1].floor if found and found[-1].end is None else NEVER

    def lateness_in(self, epoch: Epoch | None) -> Lateness:
        """How late versions may have been written that count in an epoch: narrowly where every
        writer of its stream announces."""
        label = epoch.stream if epoch else None
        stream = next((stream for stream in self.streams if stream.label == label), None)
        return self.lateness.of_stream(announces=stream is not None and stream.announces)

    def lateness_before(self, floor: int) -> Lateness | None:
        """How late changes may have been written that are of older lives than the one with this
        floor: narrowly where every writer announces. None when there are none, because the archive
        was empty when the stream of this floor was enabled."""
        if any(stream.empty and stream.floor == floor for stream in self.streams):
            return None
        announces = all(stream.announces for stream in self.streams)
        return self.lateness.of_stream(announces=announces)

    @property
    def lateness_now(self) -> Lateness:
        """`lateness_in` the epoch that holds the present."""
        return self.lateness_in(self.coverage.epochs[-1] if self.floor_now != NEVER else None)


def status_of(
    archive: Archive,
    now: int,
    live: Live | None = None,
    holes: Iterable[Hole] = (),
    evidence: Mapping[str, Evidence] = NOTHING,
    kept: Bound = ALL,
) -> Status:
    """Returns the status of an archive. `now` is AWS's clock; `live` the table, where it exists and
    may be described; `holes` are what waits in failed batches; `evidence` is what AWS reports about
    the functions that read its streams, by label; `kept` is how far back the bucket keeps
    versions."""
    catalog = Catalog(archive)
    # Before what they put in order, so that no pass is believed to have come after it.
    passes, walks = catalog.passes(), catalog.walks()
    streams, runs, outages = catalog.streams(), catalog.runs(), catalog.outages()
    ends = catalog.ends(evidence)
    newest = streams[-1] if streams else None
    follows = newest is not None and newest.reader == "follow"
    checkpoint = catalog.follow_checkpoint(newest.label) if newest and follows else None
    if live and live.label in ends:
        del ends[live.label]  # `disable` of an earlier release recorded it, and then failed
    if newest is None:
        witness = Bound(now - 1, "")
    elif follows:
        read = checkpoint.caught_up if checkpoint else newest.floor
        witness = Bound(read, "`follow` has read the stream up to then.")
    else:
        witness = latest_read(newest, evidence.get(newest.label), catalog.witness(newest.label))
    if newest and newest.label not in ends and live and live.label != newest.label:
        if live.filling:
            made = "the table was deleted, and a restore is filling a new one"
            ends[newest.label] = End(min(witness.moment, live.created - 1), made)
        else:
            end = unrecorded_end(archive, newest, live, now)
            reported = evidence.get(newest.label)
            ends[newest.label] = catalog.as_far_as_read(newest, end, reported)
    pieces = stretches(streams, ends, outages)
    # After everything that says what is covered: what was counted as written was announced before.
    redrives = catalog.redrives()
    lateness = catalog.lateness(now, redrives)
    repairs = catalog.repairs()
    found = tuple(epochs(pieces, runs, standing(repairs, lateness.announced)))
    causes = (runs, redrives, lateness.announced)
    wrong = disorders(found, streams, *causes, passes, walks.values(), repairs)
    being_read = newest.label if newest and newest.label not in ends else ""
    coverage = Coverage(found, witness, tuple(holes), kept, tuple(wrong), being_read)
    return Status(
        coverage, streams, runs, outages, pieces, checkpoint, now, lateness, walks, ends, repairs
    )


def unrecorded_end(archive: Archive, stream: Stream, live: Live, now: int) -> End:
    """Returns the end of the archive's newest stream, which is off or was replaced, although nobody
    recorded it: the last second in which it was certainly on."""
    latest = live.description.get("LatestStreamLabel")
    before = now if latest in (None, stream.label) else first_stamp(from_iso(latest))
    return End(last_moment(archive, stream, before), "it went off without `disable`")


def last_moment(archive: Archive, stream: Stream, before: int) -> int:
    """Returns the last exact moment of a stream whose end was not recorded: the latest of what
    `follow` had read, the last second in which a complete backfill saw it on, and the second before
    the last archived change stamped before `before`: another change of the same second may be
    missing. Records of a newer stream prove nothing of this one, so `before` is at most the first
    second that they can have."""
    catalog = Catalog(archive)
    checkpoint = catalog.follow_checkpoint(stream.label) if stream.reader == "follow" else None
    complete = [run for run in catalog.runs() if run.stream == stream.label and run.complete]
    witnessed = [max(seen_on(run.answered), run.witness) for run in complete]
    best = max([checkpoint.caught_up if checkpoint else stream.floor, *witnessed])
    every = (version for history in archive.histories() for version in history.versions)
    for version in nlargest(_WITNESSES, every, key=lambda version: version.written):
        if latest_stamp(version) < best:
            break
        found: Stat = archive.stat(version)
        possible = found.stamp.at <= latest_stamp(version)  # a false stamp proves nothing
        if found.stamp.sequence and possible and stream.floor <= found.stamp.at < before:
            best = max(best, found.stamp.at - 1)
    return best
