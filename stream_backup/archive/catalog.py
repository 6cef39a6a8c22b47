"""The catalog of one table's archive: every record under `meta/`, read and written by this module
alone.

streams/LABEL        a stream that was enabled
ends/LABEL           the last exact moment of a stream that was switched off or replaced
runs/NAME            a backfill
segments/RUN/NUMBER  how far a segment of a backfill has been scanned (overwritten)
outages/LABEL-SINCE  changes that may be lost
mappings/UUID        an event source mapping of a stream, and where its failed batches are kept
redrives/NAME        failed batches that were redriven, and how late they were
follow/LABEL         how far `follow` has read (overwritten)
tables/LABEL         the table's description, for each stream's life of the table
"""

from collections.abc import Callable
from typing import Any, TypeVar

from stream_backup.archive.layout import Archive, foreign
from stream_backup.core.checkpoints import FollowCheckpoint, SegmentCheckpoint
from stream_backup.core.coverage import Stretch, stretches
from stream_backup.core.records import (
    End,
    Mapping,
    Outage,
    RedriveRecord,
    Run,
    Stream,
    TableDescription,
)

Found = TypeVar("Found")


class Catalog:
    """The records of one table. Reading raises ArchiveError when a record is not one that this
    release can read."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.table = archive.table

    def streams(self) -> list[Stream]:
        """Returns every stream that was enabled, in order of time."""
        return sorted(self._records("streams", Stream.of), key=lambda stream: stream.floor)

    def write_stream(self, stream: Stream) -> None:
        """Records a stream that was enabled."""
        self._archive.write_meta(f"streams/{stream.label}", stream.record())

    def runs(self) -> list[Run]:
        """Returns every backfill, in the order in which they were asked."""
        return sorted(self._records("runs", Run.of), key=lambda run: run.asked)

    def write_run(self, run: Run) -> None:
        """Records a backfill."""
        self._archive.write_meta(f"runs/{run.name}", run.record())

    def outages(self) -> list[Outage]:
        """Returns every outage, by stream and time."""
        return sorted(self._records("outages", Outage.of))

    def write_outage(self, outage: Outage) -> None:
        """Records an outage."""
        self._archive.write_meta(f"outages/{outage.stream}-{outage.since}", outage.record())

    def mappings(self) -> list[Mapping]:
        """Returns every mapping that ever read a stream of this table, in the order in which they
        were made."""
        return sorted(self._records("mappings", Mapping.of), key=lambda mapping: mapping.recorded)

    def write_mapping(self, mapping: Mapping) -> None:
        """Records a mapping."""
        self._archive.write_meta(f"mappings/{mapping.uuid}", mapping.record())

    def lateness(self) -> int:
        """Returns by how many seconds more than a stream's own delay a version may have been
        written late."""
        redrives = self._records("redrives", RedriveRecord.of)
        return max((redrive.lateness for redrive in redrives), default=0)

    def write_redrive(self, redrive: RedriveRecord) -> None:
        """Records a redrive."""
        self._archive.write_meta(f"redrives/{redrive.name}", redrive.record())

    def recorded_ends(self) -> dict[str, int]:
        """Returns, by label, the last second in which each stream that ended was certainly on."""
        return {name: end.end for name, end in self._named("ends", End.of).items()}

    def write_end(self, label: str, end: End) -> None:
        """Records the end of the stream of this label."""
        self._archive.write_meta(f"ends/{label}", end.record())

    def ends(self) -> dict[str, int]:
        """Returns, by label, the last exact moment of each stream that ended; of a stream that
        `follow` reads, no later than it has been read."""
        found = self.recorded_ends()
        read = {
            stream.label: self.as_far_as_read(stream, found[stream.label])
            for stream in self.streams()
            if stream.label in found
        }
        return found | read

    def as_far_as_read(self, stream: Stream, end: int) -> int:
        """Returns the last exact moment of a stream that was on until `end`."""
        if stream.reader != "follow":
            return end
        kept = self.follow_checkpoint(stream.label)
        if kept is None:
            return stream.floor
        return end if kept.drained else min(end, kept.caught_up)

    def stretches(self) -> list[Stretch]:
        """Returns the pieces of the table's streams without an outage, in order of time."""
        return stretches(self.streams(), self.ends(), self.outages())

    def follow_checkpoint(self, label: str) -> FollowCheckpoint | None:
        """Returns how far `follow` has read the stream of this label, None when it never did."""
        name = f"follow/{label}"
        found = self._archive.read_one_meta(name)
        return None if found is None else self._parse(name, FollowCheckpoint.of, found)

    def write_follow_checkpoint(self, label: str, checkpoint: FollowCheckpoint) -> None:
        """Stores how far `follow` has read the stream of this label."""
        self._archive.write_meta(f"follow/{label}", checkpoint.record())

    def segment_checkpoints(self, run: str) -> dict[int, SegmentCheckpoint]:
        """Returns, by number, how far the segments of a backfill have been scanned."""
        found = self._named(f"segments/{run}", SegmentCheckpoint.of)
        return {int(number): checkpoint for number, checkpoint in found.items()}

    def write_segment_checkpoint(
        self, run: str, number: int, checkpoint: SegmentCheckpoint
    ) -> None:
        """Stores how far a segment of a backfill has been scanned."""
        self._archive.write_meta(f"segments/{run}/{number}", checkpoint.record())

    def description(self, label: str | None = None) -> TableDescription | None:
        """Returns the table as it was described while the stream of this label was on; without a
        label, as it was described last."""
        found = self._named("tables", TableDescription.of)
        if label is None and found:
            label = max(found)
        return found.get(label or "")

    def write_description(self, label: str, description: TableDescription) -> None:
        """Stores the table's description for the stream of this label."""
        self._archive.write_meta(f"tables/{label}", description.record())

    def _records(self, under: str, of: Callable[[dict[str, Any]], Found]) -> list[Found]:
        return list(self._named(under, of).values())

    def _named(self, under: str, of: Callable[[dict[str, Any]], Found]) -> dict[str, Found]:
        found = self._archive.read_meta(under)
        return {name: self._parse(f"{under}/{name}", of, each) for name, each in found.items()}

    def _parse(
        self, name: str, of: Callable[[dict[str, Any]], Found], record: dict[str, Any]
    ) -> Found:
        try:
            return of(record)
        except KeyError as error:
            missing = ValueError(f"it has no {error.args[0]!r}")
            raise foreign(f"{self._archive.root}meta/{name}.json", missing) from error
        except (TypeError, ValueError) as error:
            raise foreign(f"{self._archive.root}meta/{name}.json", error) from error
