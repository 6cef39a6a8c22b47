"""What limits the work of one worker: its time, its share of the rates, and that the job may be
stopped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic

from stream_backup.aws.capacity import ReadBudget, WriteBudget
from stream_backup.core.rounds import rate_of
from stream_backup.distributed.records import DistributedJob
from stream_backup.distributed.work_bucket import WorkBucket

POLL = 20.0
"""Seconds after which a worker looks again whether others have ended, and whether the job was
stopped."""


class Allowance(ReadBudget, WriteBudget):
    """A budget of one process whose `units` may change while it is used.

    Other budgets are shared by processes through a semaphore, which AWS Lambda does not have: its
    functions have no /dev/shm, and `multiprocessing.Value` fails there with "Function not
    implemented".
    """

    def __init__(self, units: float | None, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(None, clock)
        self.units = units
        self._free, self._lock = clock(), Lock()

    def spend(self, consumed: float) -> float:
        """Books what a page consumed and returns the seconds to wait before the next one."""
        if not self.units:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now) + consumed / self.units
            return self._free - now

    def alone(self, consumed: float) -> float:
        """Returns the seconds that the budget needs for so much."""
        units = self.units
        return consumed / units if units else 0.0


@dataclass(frozen=True, slots=True)
class WorkTime:
    """The time of a worker: once it is `over`, no page is begun, and what was read is written; once
    it is to `stop`, nothing more is written."""

    over: Event = field(default_factory=Event)
    stop: Event = field(default_factory=Event)


@dataclass(frozen=True, slots=True)
class Limits:
    """`time` is to stop as well when the job was stopped, or the round has ended. `reading` and
    `writing` are its shares of the rates."""

    time: WorkTime
    reading: Allowance
    writing: Allowance


@contextmanager
def limited(
    bucket: WorkBucket, job: DistributedJob, number: int, slices: int, time: WorkTime
) -> Iterator[Limits]:
    """Yields the limits of a worker in the round of this number, which has so many slices. They are
    brought up to date for as long as the block runs. A worker whose round has ended is to stop as
    well: another one was called in its place, and the next stage may change what it writes. Raises
    ClientError."""
    over, finished = Event(), 0
    shares = [_share(total, job, slices, finished) for total in (job.read_units, job.write_units)]
    limits = Limits(time, *map(Allowance, shares))

    def look() -> None:
        if bucket.is_stopped(job.name) or bucket.is_closed(job.name, number):
            time.stop.set()
        if job.read_units is not None or job.write_units is not None:
            finished = len(bucket.finished(job.name, number))
            limits.reading.units = _share(job.read_units, job, slices, finished)
            limits.writing.units = _share(job.write_units, job, slices, finished)

    def watch() -> None:
        while not over.wait(POLL):
            look()

    look()
    thread = Thread(target=watch, name="limits", daemon=True)
    thread.start()
    try:
        yield limits
    finally:
        over.set()
        thread.join()


def _share(total: float | None, job: DistributedJob, slices: int, finished: int) -> float | None:
    return rate_of(total, job.at_once, slices, finished)
