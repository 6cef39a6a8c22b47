"""Which items of which moment a drill restores."""

from random import Random
from threading import Event
from typing import NamedTuple

from stream_backup.archive.layout import Archive
from stream_backup.archive.sample import share, some


class DrillChoice(NamedTuple):
    """What was asked for: see DrillRequest."""

    at: int | None
    rows: int | None
    sample: float | None
    present: bool

    @property
    def part(self) -> str:
        """Which items are restored, in words."""
        if self.rows is not None:
            return f"at most {self.rows:,} items"
        if self.sample is not None:
            return f"{100 * self.sample:g}% of the items"
        return "all items"

    def of(self, archive: Archive, random: Random, stop: Event) -> Archive:
        """Returns the archive with only these items."""
        if self.rows is not None:
            return some(archive, self.rows, random, stop)
        if self.sample is not None:
            return share(archive, self.sample, random, stop)
        return archive
