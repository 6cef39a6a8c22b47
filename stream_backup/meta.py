"""The records under `meta/` of one table's archive, read into coverage and written by the commands.

streams/LABEL        a stream that was taken into use
ends/LABEL           the last exact moment of a stream that was switched off or replaced
runs/NAME            a backfill
outages/LABEL-SINCE  changes that may be lost
mappings/UUID        an event source mapping that reads a stream, and where its failed batches go
redrives/NAME        failed batches put back, and how late they were
follow/LABEL         how far `follow` has read (overwritten as it goes)
tables/LABEL         the table's description, for each stream's life of it
"""

from collections.abc import Callable
from typing import Any, TypeVar

from stream_backup.archive import Archive, foreign
from stream_backup.coverage import Outage, Run, Stream, Stretch, stretches
from stream_backup.mapping import Mapping
from stream_backup.moment import from_iso, iso

Found = TypeVar("Found")


class Meta:
    """Raises ArchiveError when a record is none that this release can read."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.table = archive.table

    def streams(self) -> list[Stream]:
        """In order of time."""
        return sorted(self._records("streams", Stream.of).values(), key=lambda stream: stream.floor)

    def runs(self) -> list[Run]:
        """In the order they were asked."""
        return sorted(self._records("runs", Run.of).values(), key=lambda run: run.asked)

    def outages(self) -> list[Outage]:
        return sorted(self._records("outages", Outage.of).values())

    def mappings(self) -> list[Mapping]:
        """Every mapping that ever read a stream of this table, in the order they were made."""
        return sorted(map(Mapping.of, self._archive.read_meta("mappings").values()), key=lambda mapping: mapping.recorded)

    def lateness(self) -> int:
        """By how many seconds more than a stream's own delay a version may have been written late."""
        return max((record["lateness"] for record in self._archive.read_meta("redrives").values()), default=0)

    def recorded_ends(self) -> dict[str, int]:
        """The second up to which each stream that ended was on for certain."""
        return self._records("ends", lambda record: from_iso(record["end"]))

    def ends(self) -> dict[str, int]:
        """The last exact moment of each stream that ended: as far as `follow` has read it, where that is who reads."""
        found = self.recorded_ends()
        read = {
            stream.label: self.as_far_as_read(stream, found[stream.label])
            for stream in self.streams()
            if stream.label in found
        }
        return found | read

    def as_far_as_read(self, stream: Stream, end: int) -> int:
        """The last exact moment of a stream that was on until `end`."""
        if stream.reader != "follow":
            return end
        kept = self.checkpoint(stream.label)
        if kept is None:
            return stream.floor
        return end if kept["drained"] else min(end, from_iso(kept["caught_up"]))

    def stretches(self) -> list[Stretch]:
        return stretches(self.streams(), self.ends(), self.outages())

    def checkpoint(self, label: str) -> dict[str, Any] | None:
        """How far `follow` has read this stream: `caught_up`, `beat`, `running`, `drained`, and a position per shard."""
        return self._archive.read_one_meta(f"follow/{label}")

    def description(self, label: str | None = None) -> dict[str, Any] | None:
        """The table as it was described in the life this stream belongs to; without a label, the latest life's."""
        found = self._archive.read_meta("tables")
        if label is None and found:
            label = max(found)
        return found.get(label or "")

    def _records(self, under: str, of: Callable[[dict[str, Any]], Found]) -> dict[str, Found]:
        found = {}
        for name, record in self._archive.read_meta(under).items():
            try:
                found[name] = of(record)
            except (KeyError, TypeError, ValueError) as error:
                raise foreign(f"{self._archive.root}meta/{under}/{name}.json", error) from error
        return found

    def write_stream(self, stream: Stream) -> None:
        self._archive.write_meta(f"streams/{stream.label}", stream.record())

    def write_end(self, label: str, end: int, reason: str) -> None:
        self._archive.write_meta(f"ends/{label}", {"end": iso(end), "reason": reason})

    def write_run(self, run: Run) -> None:
        self._archive.write_meta(f"runs/{run.name}", run.record())

    def write_outage(self, outage: Outage) -> None:
        self._archive.write_meta(f"outages/{outage.stream}-{outage.since}", outage.record())

    def write_mapping(self, mapping: Mapping) -> None:
        self._archive.write_meta(f"mappings/{mapping.uuid}", mapping.record())

    def write_redrive(self, name: str, redrive: dict[str, Any]) -> None:
        self._archive.write_meta(f"redrives/{name}", redrive)

    def write_checkpoint(self, label: str, checkpoint: dict[str, Any]) -> None:
        self._archive.write_meta(f"follow/{label}", checkpoint)

    def write_description(self, label: str, description: dict[str, Any]) -> None:
        self._archive.write_meta(f"tables/{label}", description)
