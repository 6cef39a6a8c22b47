"""One distributed drill, as each of its workers knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.core.slice import Slice
from stream_backup.distributed.drill_order import DrillOrder
from stream_backup.distributed.records import DistributedJob, JobFailure, Report
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.drill.run import GRACE
from stream_backup.drill.scratch import OnlyScratch, Scratch
from stream_backup.errors import IncompleteError

SCANNED, COMPARED, REWOUND, SCANNED_AGAIN, COMPARED_AGAIN = range(1, 6)
"""The numbers of the stages after the restore. One that has begun has all of those before it."""

OVER = "The time of the drill was over."


@dataclass(frozen=True, slots=True)
class OneDrill:
    """One drill, as each of its workers knows it. Every request of its engines passes through
    `dynamodb`, which writes to no table but the scratch table."""

    connection: Connection
    job: DistributedJob
    bucket: WorkBucket
    order: DrillOrder
    dynamodb: OnlyScratch
    archive: Archive

    @property
    def scratch(self) -> Scratch:
        """The scratch table."""
        return self.order.scratch

    @classmethod
    def of(cls, connection: Connection, job: DistributedJob, bucket: WorkBucket) -> Self:
        """Reads the drill of a job."""
        order = DrillOrder.of(job.settings)
        dynamodb = OnlyScratch(connection.dynamodb, order.scratch.name)
        return cls(connection, job, bucket, order, dynamodb, order.archive(connection))

    def late(self, piece: Slice) -> Report | None:
        """Returns the report of a worker that may do nothing any more, because another drill may
        remove the scratch table; None while it may."""
        if self.connection.clock() <= self.order.until - GRACE:
            return None
        failure = JobFailure.of_error(IncompleteError(OVER))
        return Report(piece, {}, advanced=False, failures=(failure,))

    def kept_for(self, stage: int) -> Sequence[Mapping[str, Any]]:
        """Returns what the stage before this one has kept."""
        found = self.bucket.stage(self.job.name, stage)
        return found.kept if found else ()

    def is_begun(self, stage: int) -> bool:
        """Returns whether the beginning of a stage is on record."""
        return self.bucket.stage(self.job.name, stage) is not None


def report_of(
    stage: str, before: Slice, after: Slice, counts: Mapping[str, int], **kept: Sequence[str]
) -> Report:
    """Returns the report of a worker of a stage, whose counts get names that no other stage uses.
    `kept` is what is kept of it, where that is not empty."""
    named = {f"{stage} {name}": count for name, count in counts.items()}
    found = {name: list(value) for name, value in kept.items() if value}
    return Report(after, named, advanced=after != before, kept=[found] if found else [])
