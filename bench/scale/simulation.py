"""Simulates a job step by step: workers start, slices end, rounds follow each other, limits grow.

A step lasts until something changes, so the rate is constant within it. Slices of one size that
start together are simulated as one group.
"""

from collections import defaultdict, deque
from math import inf

from bench.scale.fleets import Fleet
from bench.scale.jobs import Job
from bench.scale.outcome import Outcome
from bench.scale.quotas import Quotas
from bench.scale.services import Services, Start
from bench.scale.slices import Group, sizes

WAITING, CPU = "requests in flight", "CPU"
FUNCTIONS, STARTING = "number of functions", "starting functions"
TAIL, PAUSING = "uneven slices", "pauses between map runs"

_ROUNDING = 1e-6


class _Run:
    """The state of a job while it runs."""

    def __init__(self, job: Job, rows: float, fleet: Fleet, services: Services) -> None:
        self.job, self.fleet, self.services = job, fleet, services
        self.speed = min(job.rate, fleet.cpus / job.cpu)
        """Rows per second of one worker where nothing else limits it."""
        self.waiting = deque(sizes(rows, fleet.slices(rows), uneven=job.uneven))
        self.running: list[Group] = []
        self.unfinished: list[Group] = []
        self.now = self.began = self.written = self.busy = 0.0
        self.calls, self.rounds, self.started, self.environments = 0, 1, 0, 0
        self.bound: defaultdict[str, float] = defaultdict(float)

    def simulate(self) -> None:
        while self.waiting or self.running or self.unfinished:
            if not (self.waiting or self.running):
                self._next_round()
            self._start()
            self._step()

    def _next_round(self) -> None:
        """Lists what is left, in even slices if they can be split: a segment of a scan cannot."""
        left = self.unfinished
        if self.fleet.parts and not self.job.uneven:
            rows = sum(group.count * group.rows for group in left)
            left = list(sizes(rows, self.fleet.parts, uneven=False))
        self._pass(self.fleet.pause, 0.0, PAUSING)
        self.waiting, self.unfinished = deque(left), []
        self.began, self.started = self.now, 0
        self.rounds += 1

    def _start(self) -> None:
        """Starts as many workers as may start now."""
        running = self._workers()
        free = self.fleet.workers - running
        fleet = self.fleet
        if fleet.starts < inf:
            free = min(free, int(fleet.starts * self._ticks()) - self.started)
        while free > 0 and self.waiting:
            group, idle = self.waiting[0], self.environments - running
            count = min(free, group.count, idle or free)
            group.count -= count
            if not group.count:
                self.waiting.popleft()
            ready = self.now + (fleet.warm if idle else fleet.cold)
            self.running.append(Group(count, group.rows, ready, ready + fleet.call))
            free -= count
            running += count
            self.environments = max(self.environments, running)
            self.started += count
            self.calls += count

    def _ticks(self) -> int:
        """Returns in which second of this round the job is, counted from 1."""
        return int(self.now - self.began + _ROUNDING) + 1

    def _workers(self) -> int:
        return sum(group.count for group in self.running)

    def _step(self) -> None:
        """Works until something changes."""
        now = self.now
        active = [group for group in self.running if group.ready <= now + _ROUNDING]
        workers = sum(group.count for group in active)
        allowed = self.services.allowed(workers) if workers else {}
        allowed[self._own_limit(workers)] = workers * self.speed
        limit = min(allowed, key=lambda name: allowed[name])
        rate = allowed[limit]
        each = rate / workers if workers else 0.0
        seconds = min(
            [
                *(group.rows / each for group in active if each),
                *(group.ends - now for group in active),
                *(group.ready - now for group in self.running if group.ready > now + _ROUNDING),
                self._until_start(),
                self.services.until_growth(rate, limit),
            ]
        )
        self.busy += seconds * self._workers()
        for group in active:
            group.rows -= each * seconds
        self._pass(seconds, rate, limit)
        self._end()

    def _until_start(self) -> float:
        """Returns the seconds until more workers can start, inf if none waits for that."""
        if not self.waiting or self.fleet.starts == inf:
            return inf
        if self._workers() >= self.fleet.workers:
            return inf
        return self.began + self._ticks() - self.now

    def _own_limit(self, workers: int) -> str:
        """Names what limits the rate where S3 and DynamoDB do not."""
        fleet = self.fleet
        if workers < fleet.workers and not self.waiting:
            return TAIL
        if workers < fleet.workers:
            return STARTING
        if not fleet.cores:
            return FUNCTIONS
        return WAITING if self.speed == self.job.rate else CPU

    def _pass(self, seconds: float, rate: float, limit: str) -> None:
        self.services.spend(seconds, rate, limit)
        self.now += seconds
        self.written += seconds * rate
        self.bound[limit] += seconds

    def _end(self) -> None:
        """Ends the calls of slices that are done, and of those whose time is over."""
        running = []
        for group in self.running:
            if group.rows <= _ROUNDING:
                continue
            if group.ends <= self.now + _ROUNDING:
                self.unfinished.append(Group(group.count, group.rows))
            else:
                running.append(group)
        self.running = running


def simulate(
    job: Job, rows: float, fleet: Fleet, quotas: Quotas | None = None, start: Start | None = None
) -> Outcome:
    """Simulates `job` on a table of so many rows.

    Without `quotas`, the account has AWS's default ones. Without `start`, the table's capacity is
    that of a new on-demand table and the archive's prefix has one partition.
    """
    quotas, start = quotas or Quotas(), start or Start()
    run = _Run(job, rows, fleet, Services(job, rows, quotas, start))
    run.simulate()
    counts = {name: each * run.written for name, each in job.priced.items() if each}
    if start.write:
        counts["dynamodb-write-hours"] = max(0.0, start.write - quotas.new_write)
    counts |= fleet.priced(run.now, run.busy, run.calls, run.rounds)
    return Outcome(
        job=job.name,
        fleet=fleet.name,
        rows=rows,
        seconds=run.now,
        written=run.written,
        busy=run.busy,
        calls=run.calls,
        rounds=run.rounds,
        bound=dict(run.bound),
        counts=counts,
    )
