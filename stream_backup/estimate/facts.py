"""The input of an estimate: a table, the function that reads its stream, and a retention time."""

from dataclasses import dataclass

from stream_backup.estimate.sizes import Sizes

WARMEST = 40_000
"""Write units per second that a table may have unless AWS raised the quota (Amazon DynamoDB
Developer Guide, "Service, account, and table quotas")."""


@dataclass(frozen=True, slots=True)
class TableCapacity:
    """The read and write units per second that a backfill and a restore can use.

    `read` and `write` are None if no limit is known. `hourly_read` and `hourly_write` are the
    provisioned units of a table with the same settings, its indexes included, which are billed
    by the hour; 0 for an on-demand table. `warmest` are the write units that a new on-demand table
    can support at once if it is asked for.
    """

    on_demand: bool
    read: float | None
    write: float | None
    hourly_read: float = 0.0
    hourly_write: float = 0.0
    warmest: int = WARMEST


@dataclass(frozen=True, slots=True)
class Function:
    """The settings of the function that reads the stream.

    `batch` is the largest number of records in a call, `window` the batching window in seconds,
    `factor` the number of concurrent batches per shard, and `memory` is in MB. `keep_every_change`
    is False if several changes of an item in one second of a batch become one version.
    """

    batch: int
    window: int
    factor: int
    memory: int
    keep_every_change: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything an estimate is calculated from.

    `changes` are the changes per month, None if unknown. `shards` are the shards of the stream.
    `overhead` is the number of bytes that S3 adds to the body of a version, for its name and its
    metadata. `index_units` are the write units that an item consumes in the table's indexes.
    `indexes` is the number of global indexes. `months` is how long history is kept. `workers` are
    the processes of a backfill.
    """

    items: int
    sizes: Sizes
    changes: float | None
    capacity: TableCapacity
    function: Function
    shards: int
    overhead: int
    index_units: float = 0.0
    indexes: int = 0
    months: int = 12
    versions_per_item: float | None = None
    workers: int = 1

    @property
    def version(self) -> float:
        """The billed size of a version in S3, in bytes."""
        return self.sizes.body + self.overhead

    @property
    def versions(self) -> float:
        """The versions in the archive after `months`: one for each item and each change."""
        if self.versions_per_item is not None:
            return self.items * self.versions_per_item
        return self.items + (self.changes or 0) * self.months
