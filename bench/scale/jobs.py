"""What a backfill, a restore, and a verification cost for each row, from measurements."""

from dataclasses import dataclass, replace

from stream_backup.estimate.rates import (
    BACKFILL_RATE,
    CPU,
    FILE_RATE,
    LISTED,
    MB,
    RATES,
    TABLE_RATE,
)
from stream_backup.estimate.sizes import KB, Sizes

SIZES = Sizes.of_mean(500)
"""Items of 500 bytes in the table, and about 650 in the archive, like those of the bench."""

VERSIONS = 5
"""Versions of each item in the archive, as in the bench."""

_PAGE = MB / SIZES.mean
"""Rows on a page of a scan."""

_READ = SIZES.mean / (4 * KB) + 0.5 / _PAGE
"""Read units of a row; a page is rounded up."""

_MICRO = 1e-6


@dataclass(frozen=True, slots=True)
class Job:
    """An operation, and what each row costs.

    `rate` is what one process does, in rows per second, where nothing else limits it, and `cpu` the
    CPU time of a row in seconds. For each row, `puts`, `gets`, and `lists` are requests to S3, and
    `read` and `write` are units of the table. `uneven` says that its slices are segments of a scan,
    which differ in size. The names of an archive's objects are hashes, so its slices do not.
    """

    name: str
    rate: float
    cpu: float
    puts: float = 0.0
    gets: float = 0.0
    lists: float = 0.0
    read: float = 0.0
    write: float = 0.0
    uneven: bool = False

    @property
    def priced(self) -> dict[str, float]:
        """What is paid for each row, by name of price."""
        return {
            "s3-put": self.puts,
            "s3-get": self.gets,
            "s3-list": self.lists,
            "dynamodb-read": self.read,
            "dynamodb-write": self.write,
        }


BACKFILL = Job(
    "backfill",
    rate=BACKFILL_RATE,
    cpu=CPU["backfill"] * _MICRO,
    puts=1 + 1 / _PAGE,  # a checkpoint for each page
    read=_READ,
    uneven=True,
)
RESTORE = Job(
    "restore",
    rate=TABLE_RATE,
    cpu=CPU["restore"] * _MICRO,
    gets=1,
    lists=VERSIONS / LISTED,
    write=SIZES.units,
)
VERIFY = Job(
    "verify",
    rate=200_200 / 17.7,
    cpu=17.7 / 200_200,
    lists=VERSIONS / LISTED,
    read=_READ,
    uneven=True,
)
EXPORT = Job(
    "restore to a file",
    rate=FILE_RATE,
    cpu=CPU["export"] * _MICRO,
    gets=1,
    lists=VERSIONS / LISTED,
)
JOBS = (BACKFILL, RESTORE, VERIFY)
"""Measured on 2026-11-21 (docs/performance.md): a backfill at 25 ms and a restore at 10 ms, as
`estimate` assumes; a verification without latency, and its CPU time is at most its duration."""

MEASURED = {BACKFILL: RATES["backfill"], RESTORE: RATES["restore"]}
"""The measured rates of one process, by the latency of each answer in ms."""


def at_latency(job: Job, latency: int) -> Job:
    """Returns the job at another latency of every answer, in ms, at which its rate was measured."""
    return replace(job, rate=MEASURED[job][latency])
