"""What an estimate starts from: facts about a table, about what reads its stream, and about how long history is kept."""

from dataclasses import dataclass

from stream_backup.estimate.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the table takes in a second. `read` and `write` are None where nothing is known to limit it; provisioned units
    are paid by the hour, `hourly_read` and `hourly_write` of a table made like this one."""

    on_demand: bool
    read: float | None
    write: float | None
    hourly_read: float = 0.0
    hourly_write: float = 0.0


@dataclass(frozen=True, slots=True)
class Function:
    """How the function is called: records a call, seconds they are gathered, batches of a shard at once, megabytes."""

    batch: int
    window: int
    factor: int
    memory: int


@dataclass(frozen=True, slots=True)
class Facts:
    """`changes` a month, None where nobody knows; `index_units` are write units that an item takes in the indexes; `shards`
    of the stream; `overhead` bytes of name and metadata that S3 counts for a version; `months` that history is kept;
    `workers` are the processes of a backfill."""

    items: int
    sizes: Sizes
    changes: float | None
    capacity: Capacity
    function: Function
    shards: int
    overhead: int
    index_units: float = 0.0
    months: int = 12
    versions_per_item: float | None = None
    workers: int = 1

    @property
    def version(self) -> float:
        """Bytes S3 counts for a version."""
        return self.sizes.body + self.overhead

    @property
    def versions(self) -> float:
        """In the archive when the months are over: one of the backfill for each item, and one for each change."""
        if self.versions_per_item is not None:
            return self.items * self.versions_per_item
        return self.items + (self.changes or 0) * self.months
