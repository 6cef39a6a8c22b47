"""The records under `meta/` that are overwritten as work proceeds: how far a reader, a backfill,
the watcher, a walk, the checks and an enrolment have come."""

from typing import TYPE_CHECKING

from stream_backup.core.checkpoints import FollowCheckpoint, SegmentCheckpoint
from stream_backup.core.checks import CheckKind, CheckRound
from stream_backup.core.order import Walk
from stream_backup.core.records import Enrolment, Stream
from stream_backup.core.witness import Witness

if TYPE_CHECKING:
    from stream_backup.archive.layout import Archive


class Checkpoints:
    """Those of one table. Reading raises ArchiveError when a record is not one that this release
    can read."""

    def __init__(self, archive: "Archive") -> None:
        self._archive = archive
        self.table = archive.table

    def follow_checkpoint(self, label: str) -> FollowCheckpoint | None:
        """Returns how far `follow` has read the stream of this label, None when it never did."""
        return self._archive.meta.one(f"follow/{label}", FollowCheckpoint.of)

    def write_follow_checkpoint(self, label: str, checkpoint: FollowCheckpoint) -> None:
        """Stores how far `follow` has read the stream of this label."""
        self._archive.meta.write(f"follow/{label}", checkpoint.record())

    def last_read(self, stream: Stream) -> Witness | None:
        """Returns how far a stream had been read when the watcher last looked: before its first
        look, how far `follow` had come if a function took over from it, else None."""
        if found := self.witness(stream.label):
            return found
        kept = self.follow_checkpoint(stream.label)
        if kept is None:
            return None
        return Witness(stream.label, max(kept.caught_up, stream.recorded), kept.beat)

    def segment_checkpoints(self, run: str) -> dict[int, SegmentCheckpoint]:
        """Returns, by number, how far the segments of a backfill have been scanned."""
        found = self._archive.meta.named(f"segments/{run}", SegmentCheckpoint.of)
        return {int(number): checkpoint for number, checkpoint in found.items()}

    def segment_checkpoint(self, run: str, number: int) -> SegmentCheckpoint | None:
        """Returns how far one segment has been scanned, None before its first page."""
        return self._archive.meta.one(f"segments/{run}/{number}", SegmentCheckpoint.of)

    def write_segment_checkpoint(
        self, run: str, number: int, checkpoint: SegmentCheckpoint
    ) -> None:
        """Stores how far a segment of a backfill has been scanned."""
        self._archive.meta.write(f"segments/{run}/{number}", checkpoint.record())

    def witness(self, label: str) -> Witness | None:
        """Returns how far the watcher saw the stream of this label being read, None when it never
        looked at it."""
        return self._archive.meta.one(f"witness/{label}", Witness.of)

    def write_witness(self, witness: Witness) -> None:
        """Records how far a stream has certainly been read."""
        self._archive.meta.write(f"witness/{witness.stream}", witness.record())

    def walks(self) -> dict[str, Walk]:
        """Returns the walks through the items by kind: UNDER_WAY and ENDED."""
        return self._archive.meta.named("walks", Walk.of)

    def write_walk(self, kind: str, walk: Walk) -> None:
        """Records how far a walk has come."""
        self._archive.meta.write(f"walks/{kind}", walk.record())

    def enrolment(self, table_id: str) -> Enrolment | None:
        """Returns how the stack enabled the table with this TableId by itself, None when it did
        not."""
        return self._archive.meta.one(f"enrolments/{table_id or 'table'}", Enrolment.of)

    def write_enrolment(self, enrolment: Enrolment) -> None:
        """Records that the stack enables a table by itself, and that it did."""
        name = enrolment.table_id or "table"
        self._archive.meta.write(f"enrolments/{name}", enrolment.record())

    def check_round(self, kind: CheckKind) -> CheckRound | None:
        """Returns how far the checks of this kind have come, None when none looked at a part."""
        return self._archive.meta.one(f"checks/{kind}", CheckRound.of)

    def write_check_round(self, kind: CheckKind, found: CheckRound) -> None:
        """Records how far the checks of this kind have come."""
        self._archive.meta.write(f"checks/{kind}", found.record())
