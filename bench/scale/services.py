"""What S3 and DynamoDB accept now, which grows while it is used."""

from dataclasses import dataclass
from math import ceil, inf

from bench.scale.jobs import SIZES, Job
from bench.scale.quotas import Quotas

PUTS, GETS = "PUT rate of S3", "GET rate of S3"
PARTITION = "reads per partition of the table"
READ_WARM, READ = "warm read throughput", "read quota of the table"
WRITE_WARM, WRITE = "warm write throughput", "write quota of the table"


@dataclass(frozen=True, slots=True)
class Start:
    """What S3 and DynamoDB accept when the job starts.

    `partitions` are those of the archive's prefix. `read` and `write` are the units per second of
    the table, None for those of a new on-demand table.
    """

    partitions: int = 1
    read: float | None = None
    write: float | None = None


class OnDemand:
    """The capacity of an on-demand table. In each period of `growth` seconds, it grows to twice the
    peak of the last one, up to `quota`."""

    def __init__(self, capacity: float, quota: float, growth: float) -> None:
        self.capacity, self._quota, self._growth = min(capacity, quota), quota, growth
        self._peak = self._used = 0.0

    @property
    def warm(self) -> bool:
        """Whether the quota of the table is reached."""
        return self.capacity >= self._quota

    def until_growth(self, units: float) -> float:
        """Returns the seconds until the capacity grows, if it is used so much until then."""
        grows = max(self._peak, units) * 2 > self.capacity and not self.warm
        return self._growth - self._used if grows else inf

    def spend(self, seconds: float, units: float) -> None:
        """Uses `units` per second for some seconds, at most until the capacity grows."""
        self._peak = max(self._peak, units)
        self._used += seconds
        if self._used >= self._growth - 1e-6:
            self.capacity = min(self._quota, max(self.capacity, 2 * self._peak))
            self._peak = self._used = 0.0


class Prefix:
    """The partitions of the archive's prefix. The names of the objects are hashes, so all of them
    are equally busy, and divide at the same time, after `split` seconds at their limit."""

    def __init__(self, partitions: int, split: float) -> None:
        self.partitions, self._split, self._full = partitions, split, 0.0

    def until_growth(self, *, full: bool) -> float:
        """Returns the seconds until the partitions divide, if they stay at their limit."""
        return self._split - self._full if full else inf

    def spend(self, seconds: float, *, full: bool) -> None:
        """Lets some seconds pass, in which the partitions are at their limit or not."""
        self._full += seconds * full
        if self._full >= self._split - 1e-6:
            self.partitions, self._full = 2 * self.partitions, 0.0


class Services:
    """The limits of S3 and DynamoDB on one job of so many rows."""

    def __init__(self, job: Job, rows: float, quotas: Quotas, start: Start) -> None:
        self._job, self._quotas = job, quotas
        self.prefix = Prefix(start.partitions, quotas.s3_split)
        self._read = OnDemand(start.read or quotas.new_read, quotas.table_read, quotas.growth)
        self._write = OnDemand(start.write or quotas.new_write, quotas.table_write, quotas.growth)
        self._partitions = max(
            ceil(rows * SIZES.mean / quotas.partition_bytes),
            ceil(quotas.new_write / quotas.partition_write),
        )

    def allowed(self, active: float) -> dict[str, float]:
        """Returns the rows per second that each limit allows to `active` slices, by its name."""
        job, quotas, prefix = self._job, self._quotas, self.prefix.partitions
        touched = min(active, self._partitions)
        every = {
            PUTS: (quotas.s3_puts * prefix, job.puts),
            GETS: (quotas.s3_gets * prefix, job.gets + job.lists),
            READ if self._read.warm else READ_WARM: (self._read.capacity, job.read),
            WRITE if self._write.warm else WRITE_WARM: (self._write.capacity, job.write),
            PARTITION: (quotas.partition_read * touched, job.read),
        }
        return {name: units / each for name, (units, each) in every.items() if each}

    def until_growth(self, rate: float, limit: str) -> float:
        """Returns the seconds until one of the limits grows, at `rate` rows per second, if the name
        of what limits the rate is `limit`."""
        job = self._job
        return min(
            self.prefix.until_growth(full=limit in (PUTS, GETS)),
            self._read.until_growth(rate * job.read),
            self._write.until_growth(rate * job.write),
        )

    def spend(self, seconds: float, rate: float, limit: str) -> None:
        """Does `rate` rows per second for some seconds, at most until a limit grows."""
        self.prefix.spend(seconds, full=limit in (PUTS, GETS))
        self._read.spend(seconds, rate * self._job.read)
        self._write.spend(seconds, rate * self._job.write)
