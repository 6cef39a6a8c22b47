"""Who does the work: one process, the processes of one machine, or the map's functions."""

from dataclasses import dataclass
from math import inf

from backfill.run import SEGMENTS
from bench.scale.quotas import Quotas
from stream_backup.estimate.sizes import KB
from stream_backup.workers.crew import SMALL

COLD = 2.0
"""Seconds until a new function works. An assumption: importing a worker takes 0.3 s of CPU time
here, and nothing was measured on AWS."""

WARM = 0.2
"""Seconds until a function that has run before works again. An assumption."""

MARGIN = 60.0
"""Seconds before the end of a call in which a function takes no more work."""

PAUSE = 10.0
"""Seconds from the end of one map run to the start of the next: adding up, and writing the list of
what is left. An assumption."""

STATES = 3
"""State transitions of a child, at most: its start, its task, and one retry."""

EVENTS = 20
"""Events that one map run adds to the history of the execution, with the steps around it."""

FEWEST, MOST = 16, 10_000
"""Slices of a map run. The results of all of them must fit into one state's output."""

PARTS = 2
"""Slices for each function that may run at once, where a later map run splits what is left. A
restore lists more where more is left than all of them do in their time (`core/rounds.py`), so it
needs fewer map runs than are simulated here, of tables that need many."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A way to do a job.

    At most `workers` run at once, each with `cpus` cores. `starts` workers are started per second.
    Each works after `cold` seconds, or after `warm` seconds in an environment that has run before,
    for at most `call` seconds. What is left then is divided into `parts` slices in the next round,
    after `pause` seconds. `memory` is that of a function in MB, 0 for a machine, which has `cores`
    cores.
    """

    name: str
    workers: int
    cpus: float
    starts: float = inf
    cold: float = 0.0
    warm: float = 0.0
    call: float = inf
    pause: float = 0.0
    parts: int = 0
    memory: float = 0.0
    cores: int = 0

    def slices(self, rows: float) -> int:
        """Returns the number of slices of a table with so many rows."""
        if self.cores:
            return SEGMENTS * self.workers
        return int(min(max(FEWEST, rows // SMALL), MOST))

    def priced(self, seconds: float, busy: float, calls: float, rounds: int) -> dict[str, float]:
        """Returns what the workers themselves cost, by name of price.

        `busy` are the seconds of all workers together, `calls` the number of their calls.
        """
        if self.cores:
            return {"ec2-vcpu-hours": self.cores * seconds / 3600}
        return {
            "lambda-seconds": busy * self.memory / KB,
            "lambda-requests": calls,
            "state-transitions": calls * STATES + rounds * EVENTS,
        }


def machine(workers: int, cores: int) -> Fleet:
    """Returns a machine with `cores` cores that runs `--workers` processes."""
    name = "one process" if workers == 1 else f"--workers {workers}, {cores} cores"
    return Fleet(name, workers, cores / workers, cores=cores)


def distributed(quotas: Quotas, most: int = 1000) -> Fleet:
    """Returns a Distributed Map with at most `most` functions of one vCPU at once."""
    workers = int(min(most, quotas.functions, quotas.children))
    return Fleet(
        f"map, {workers:,} functions",
        workers,
        cpus=1.0,
        starts=min(quotas.child_starts, quotas.function_burst / 10, quotas.transitions / STATES),
        cold=COLD,
        warm=WARM,
        call=quotas.call - MARGIN,
        pause=PAUSE,
        parts=min(PARTS * workers, MOST),
        memory=quotas.vcpu,
    )
