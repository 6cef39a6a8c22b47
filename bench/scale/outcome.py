"""What a simulated job comes to."""

from dataclasses import dataclass, field

from bench.scale.fleets import EVENTS


@dataclass(frozen=True, slots=True)
class Outcome:
    """How long a job of so many rows took, and what it cost.

    `seconds` is the duration and `bound` the seconds in which each limit was the one that bound, by
    name. `written` are the rows that were processed. `counts` are what is paid for, by name of
    price. `rounds` is the number of map runs, and `busy` the seconds of all workers together.
    """

    job: str
    fleet: str
    rows: float
    seconds: float
    written: float
    busy: float
    calls: int
    rounds: int
    bound: dict[str, float]
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def limit(self) -> str:
        """The name of the limit that bound for the longest time."""
        return max(self.bound, key=lambda name: self.bound[name])

    @property
    def events(self) -> int:
        """The events in the history of the execution."""
        return self.rounds * EVENTS

    def usd(self, prices: dict[str, float]) -> float:
        """Returns what the job costs in US dollars."""
        return sum(count * prices[name] for name, count in self.counts.items())
