"""The catalog of one table's archive: every record under `meta/`, read and written by this module
alone.

streams/LABEL        a stream that was enabled
ends/LABEL           the last exact moment of a stream that was switched off or replaced
runs/NAME            a backfill
segments/RUN/NUMBER  how far a segment of a backfill has been scanned (overwritten)
outages/LABEL-SINCE  changes that may be lost
mappings/UUID        an event source mapping of a stream, and where its failed batches are kept
mappings/UUID-BUCKET the same, since its failed batches are kept in another bucket
holes/ID             a failed batch that was seen in the failures bucket
closed-holes/ID      a failed batch that was redriven or given up
redrives/NAME        failed batches that were redriven
repairs/NAME         a comparison with the table that wrote what the archive had wrong
late/HOUR/SECONDS    versions written in this hour may be this late; the name says it all
follow/LABEL         how far `follow` has read (overwritten)
witness/LABEL        how far the watcher saw the stream being read (overwritten)
retention/DAYS       for how long the bucket kept superseded versions, and when it did last
ordered/BEGAN        a pass that put the versions of every item in order
walks/KIND           how far a walk through the items has come, UNDER_WAY or ENDED (overwritten)
drills/NAME          a drill: what was restored, how it was compared, and the result
checks/KIND          how far checks have come that look at a part each time (overwritten)
enrolments/TABLEID   the stack enabled this table by itself: who, when and why (overwritten)
attempts/enable      why the table could not be enabled, if it could not (overwritten)
tables/LABEL         the table's description, for each stream's life of the table
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Object
from typing import Any, TypeVar

from stream_backup.archive.announce import announced, record_of
from stream_backup.archive.checkpoints import Checkpoints
from stream_backup.core.coverage import Stretch, stretches
from stream_backup.core.drill import DrillRecord
from stream_backup.core.item import digest
from stream_backup.core.moment import iso
from stream_backup.core.order import Ordered
from stream_backup.core.records import (
    ClosedHole,
    EnableAttempt,
    End,
    HoleRecord,
    Mapping,
    Outage,
    RedriveRecord,
    Run,
    Stream,
    TableDescription,
)
from stream_backup.core.repair import Repair
from stream_backup.core.retention import Retention
from stream_backup.core.time_rule import Lateness
from stream_backup.core.witness import Evidence, read_to_end

Found = TypeVar("Found")

NOTHING: Object[str, Evidence] = {}
"""No report of AWS about any function."""


class Catalog(Checkpoints):
    """The records of one table. Reading raises ArchiveError when a record is not one that this
    release can read."""

    def streams(self) -> list[Stream]:
        """Returns every stream that was enabled, in order of time."""
        return sorted(self._records("streams", Stream.of), key=lambda stream: stream.floor)

    def write_stream(self, stream: Stream) -> None:
        """Records a stream that was enabled."""
        self._archive.meta.write(f"streams/{stream.label}", stream.record())

    def runs(self) -> list[Run]:
        """Returns every backfill, in the order in which they were asked."""
        return sorted(self._records("runs", Run.of), key=lambda run: run.asked)

    def write_run(self, run: Run) -> None:
        """Records a backfill."""
        self._archive.meta.write(f"runs/{run.name}", run.record())

    def outages(self) -> list[Outage]:
        """Returns every outage, by stream and time."""
        return sorted(self._records("outages", Outage.of))

    def write_outage(self, outage: Outage) -> None:
        """Records an outage."""
        self._archive.meta.write(f"outages/{outage.stream}-{outage.since}", outage.record())

    def mappings(self) -> list[Mapping]:
        """Returns every mapping that ever read a stream of this table, in the order in which they
        were made."""
        return sorted(self._records("mappings", Mapping.of), key=lambda mapping: mapping.recorded)

    def write_mapping(self, mapping: Mapping) -> None:
        """Records a mapping. When its failures bucket was replaced, batches may still wait in the
        former one, so the mapping has a record for each."""
        kept = self._archive.meta.named("mappings", Mapping.of).get(mapping.uuid)
        replaced = kept and kept.failures not in (None, mapping.failures)
        name = f"{mapping.uuid}-{mapping.failures}" if replaced else mapping.uuid
        self._archive.meta.write(f"mappings/{name}", mapping.record())

    def lateness(self, listed: int, redrives: Iterable[RedriveRecord] | None = None) -> Lateness:
        """Returns how late versions may have been written. Find out what is covered first: a change
        that counts as written was announced before. `listed` is a second of AWS's clock from before
        this call; `redrives` are read unless they are given."""
        found: dict[int, int] = {}
        for name in self._archive.meta.names("late"):
            hour, seconds = self._archive.meta.parse(f"late/{name}", announced, name)
            found[hour] = max(seconds, found.get(hour, 0))
        known = self.redrives() if redrives is None else redrives
        return Lateness(found, listed, max((each.lateness for each in known), default=0))

    def announce(self, hour: int, seconds: int) -> None:
        """Records that versions written in the hour that begins in this second may be so many
        seconds late."""
        name, record = record_of(hour, seconds)
        self._archive.meta.write(f"late/{name}", record)

    def redrives(self) -> list[RedriveRecord]:
        """Returns every redrive."""
        return self._records("redrives", RedriveRecord.of)

    def write_redrive(self, redrive: RedriveRecord) -> None:
        """Records a redrive."""
        self._archive.meta.write(f"redrives/{redrive.name}", redrive.record())

    def repairs(self) -> list[Repair]:
        """Returns every repair."""
        return self._records("repairs", Repair.of)

    def write_repair(self, repair: Repair) -> None:
        """Records a repair."""
        self._archive.meta.write(f"repairs/{repair.name}", repair.record())

    def open_holes(self) -> list[HoleRecord]:
        """Returns the failed batches that were seen and neither redriven nor given up. Closed ones
        are listed and not read."""
        names = self._archive.meta.names("holes") - self._archive.meta.names("closed-holes")
        found = (self._archive.meta.one(f"holes/{name}", HoleRecord.of) for name in sorted(names))
        return [each for each in found if each is not None]

    def is_closed(self, bucket: str, path: str) -> bool:
        """Returns whether a failed batch was redriven or given up."""
        return self._archive.meta.read_one(f"closed-holes/{_hole(bucket, path)}") is not None

    def write_holes(self, holes: Iterable[HoleRecord]) -> None:
        """Records failed batches, except those that are on record."""
        known: set[str] | None = None
        for hole in holes:
            known = self._archive.meta.names("holes") if known is None else known
            if (name := _hole(hole.bucket, hole.path)) not in known:
                self._archive.meta.write(f"holes/{name}", hole.record())

    def close_hole(self, closed: ClosedHole) -> None:
        """Records that a failed batch is no hole any more, whether or not it is on record."""
        name = _hole(closed.bucket, closed.path)
        self._archive.meta.write(f"closed-holes/{name}", closed.record())

    def recorded_ends(self) -> dict[str, End]:
        """Returns, by label, the last second in which each stream that ended was certainly on."""
        return self._archive.meta.named("ends", End.of)

    def write_end(self, label: str, end: End) -> None:
        """Records the end of the stream of this label."""
        self._archive.meta.write(f"ends/{label}", end.record())

    def ends(self, evidence: Object[str, Evidence] = NOTHING) -> dict[str, End]:
        """Returns, by label, the last exact moment of each stream that ended, no later than it has
        certainly been read. `evidence` is what AWS reports about the functions that read them."""
        found = self.recorded_ends()
        return found | {
            each.label: self.as_far_as_read(each, found[each.label], evidence.get(each.label))
            for each in self.streams()
            if each.label in found
        }

    def as_far_as_read(self, stream: Stream, end: End, evidence: Evidence | None = None) -> End:
        """Returns the last exact moment of a stream that was on until `end`."""
        if stream.reader == "function":
            return read_to_end(stream, end, evidence, self.witness(stream.label))
        kept = self.follow_checkpoint(stream.label)
        if kept is None:
            return End(stream.floor, "`follow` has not read it")
        if kept.drained or kept.caught_up >= end.end:
            return end
        return End(kept.caught_up, f"`follow` has not read further; {end.reason}")

    def stretches(self) -> list[Stretch]:
        """Returns the pieces of the table's streams without an outage, in order of time."""
        return stretches(self.streams(), self.ends(), self.outages())

    def enable_attempt(self) -> EnableAttempt | None:
        """Returns the last attempt to enable the table, if it failed."""
        attempt = self._archive.meta.one("attempts/enable", EnableAttempt.of)
        return attempt if attempt and attempt.reason else None

    def write_enable_attempt(self, attempt: EnableAttempt) -> None:
        """Records an attempt to enable the table that failed, or that succeeded after one that
        failed."""
        self._archive.meta.write("attempts/enable", attempt.record())

    def retentions(self) -> list[Retention]:
        """Returns every retention of superseded versions that was ever seen."""
        return self._records("retention", Retention.of)

    def write_retention(self, retention: Retention) -> None:
        """Records for how long the bucket keeps superseded versions."""
        self._archive.meta.write(f"retention/{retention.days}", retention.record())

    def passes(self) -> list[Ordered]:
        """Returns every pass that put the versions of every item in order."""
        return self._records("ordered", Ordered.of)

    def write_pass(self, ordered: Ordered) -> None:
        """Records a pass."""
        self._archive.meta.write(f"ordered/{iso(ordered.began)}", ordered.record())

    def drills(self) -> list[DrillRecord]:
        """Returns every drill, in order of time."""
        return sorted(self._records("drills", DrillRecord.of), key=lambda each: each.began)

    def drills_back(self) -> Iterator[DrillRecord]:
        """Yields the drills of the table, the newest first. Each is read when it is asked for, so
        whoever wants the last ones does not read all of them."""
        for name in sorted(self._archive.meta.names("drills"), reverse=True):
            if found := self._archive.meta.one(f"drills/{name}", DrillRecord.of):
                yield found

    def write_drill(self, drill: DrillRecord) -> None:
        """Records a drill."""
        self._archive.meta.write(f"drills/{drill.name}", drill.record())

    def description(self, label: str | None = None) -> TableDescription | None:
        """Returns the table as it was described while the stream of this label was on; without a
        label, as it was described last."""
        found = self._archive.meta.named("tables", TableDescription.of)
        if label is None and found:
            label = max(found)
        return found.get(label or "")

    def descriptions(self) -> list[TableDescription]:
        """Returns the table's descriptions, one for each stream, in order of time."""
        return [
            each
            for _, each in sorted(self._archive.meta.named("tables", TableDescription.of).items())
        ]

    def write_description(self, label: str, description: TableDescription) -> None:
        """Stores the table's description for the stream of this label."""
        self._archive.meta.write(f"tables/{label}", description.record())

    def _records(self, under: str, of: Callable[[dict[str, Any]], Found]) -> list[Found]:
        return list(self._archive.meta.named(under, of).values())


def _hole(bucket: str, path: str) -> str:
    return digest(f"{bucket}/{path}".encode())
