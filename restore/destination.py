"""Where a restore goes: what every kind of destination needs, and what it returns.

`NewTable`, `LiveTable` and `File` each turn a plan into what they are named after. Which plan that
is, is theirs to say.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import takewhile
from threading import Event
from typing import Any, Protocol

from restore.plan import Planner, Step, Tally, steps
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, run_slices
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.point import RestorePoint
from stream_backup.progress import Progress


@dataclass(frozen=True, slots=True)
class Work:
    """A plan being executed: the selected items, the threads, what was counted so far. `stop` ends
    it early, at a point from which it can be resumed; with `incomplete_ok` items with an unreadable
    version are skipped."""

    dynamodb: DynamoDB
    chosen: Selection
    pool: Executor
    tally: Tally
    stop: Event
    progress: Progress
    incomplete_ok: bool = False

    @property
    def readable(self) -> bool:
        """Whether every item planned so far could be read, or may be skipped."""
        return self.incomplete_ok or not self.tally.unreadable

    def steps(self, plan: Planner, part: str) -> Iterator[Step]:
        """Yields what the plan has for this slice, cut short when `stop` is set."""
        found = steps(plan, self.chosen.histories(part), self.pool, self.tally)
        return takewhile(lambda _: not self.stop.is_set(), found)

    def count(self, plan: Planner) -> None:
        """Goes through the whole plan and writes nothing; the tally has the counts."""
        with self.progress.task("plan", "items") as task:
            fraction = HashFraction(len(self.chosen.slices))

            def count(part: str) -> None:
                for step in self.steps(plan, part):
                    task.advance(1, fraction.reach(step.name))

            run_slices(count, self.chosen.slices, self.stop)


class Outcome(Protocol):
    """What a destination did. `left` has a line for each item that is not as it was at the
    moment."""

    @property
    def left(self) -> tuple[str, ...]:
        """The items that could not be restored, each with its reason."""

    def record(self) -> dict[str, Any]:
        """Returns the outcome as members of a JSON object."""

    def __str__(self) -> str:
        """Returns one sentence about what was done."""


class Destination(Protocol):
    """A kind of place that a restore can go to."""

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:
        """Returns the plan for this destination; one that is only to be counted needs no bodies."""

    def execute(self, work: Work, plan: Planner) -> Outcome:
        """Executes the plan. Raises StreamBackupError when it cannot be started; what could not be
        written is in the outcome."""
