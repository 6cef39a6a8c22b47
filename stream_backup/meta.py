"""The records under `meta/` of one table's archive, read into coverage and written by the commands.

streams/LABEL        a stream that was taken into use
ends/LABEL           the last exact moment of a stream that was switched off or replaced
runs/NAME            a backfill
outages/LABEL-SINCE  changes that may be lost
follow/LABEL         how far `follow` has read (overwritten as it goes)
tables/LABEL         the table's description, for each stream's life of it
"""

from typing import Any

from stream_backup.archive import Archive
from stream_backup.coverage import Outage, Run, Stream, Stretch, stretches
from stream_backup.moment import from_iso, iso


class Meta:
    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.table = archive.table

    def streams(self) -> list[Stream]:
        """In order of time."""
        found = [Stream.of(record) for record in self._archive.read_meta("streams").values()]
        return sorted(found, key=lambda stream: stream.floor)

    def runs(self) -> list[Run]:
        """In the order they were asked."""
        return sorted(map(Run.of, self._archive.read_meta("runs").values()), key=lambda run: run.asked)

    def outages(self) -> list[Outage]:
        return sorted(map(Outage.of, self._archive.read_meta("outages").values()))

    def recorded_ends(self) -> dict[str, int]:
        """The second up to which each stream that ended was on for certain."""
        return {label: from_iso(record["end"]) for label, record in self._archive.read_meta("ends").items()}

    def ends(self) -> dict[str, int]:
        """The last exact moment of each stream that ended: as far as `follow` has read it, where that is who reads."""
        found = self.recorded_ends()
        for stream in self.streams():
            if stream.label in found and stream.reader == "follow":
                kept = self.checkpoint(stream.label)
                if kept is None:
                    found[stream.label] = stream.floor
                elif not kept["drained"]:
                    found[stream.label] = min(found[stream.label], from_iso(kept["caught_up"]))
        return found

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

    def write_stream(self, stream: Stream) -> None:
        self._archive.write_meta(f"streams/{stream.label}", stream.record())

    def write_end(self, label: str, end: int, reason: str) -> None:
        self._archive.write_meta(f"ends/{label}", {"end": iso(end), "reason": reason})

    def write_run(self, run: Run) -> None:
        self._archive.write_meta(f"runs/{run.name}", run.record())

    def write_outage(self, outage: Outage) -> None:
        self._archive.write_meta(f"outages/{outage.stream}-{outage.since}", outage.record())

    def write_checkpoint(self, label: str, checkpoint: dict[str, Any]) -> None:
        self._archive.write_meta(f"follow/{label}", checkpoint)

    def write_description(self, label: str, description: dict[str, Any]) -> None:
        self._archive.write_meta(f"tables/{label}", description)
