"""A restore of the live table in place: a rewind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from restore.destination import Work
from restore.plan import Planner, Rewind, Step
from restore.rewind import rewind
from restore.spool import Spool
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, run_slices
from stream_backup.capture.point import RestorePoint
from stream_backup.errors import ArchiveError, UsageError


@dataclass(frozen=True, slots=True)
class RewoundTable:
    """How many rows were rewound, and how many `already` matched the moment."""

    rewound: int
    already: int
    left: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Returns the outcome as members of a JSON object."""
        return {"rewound": self.rewound, "already": self.already, "left": list(self.left)}

    def __str__(self) -> str:
        return f"Done: {self.rewound:,} rows rewound, {self.already:,} already matched."


@dataclass(frozen=True, slots=True)
class LiveTable:
    """The table itself. `confirm` is asked once the plan is complete, with the number of rows to
    put and to delete; None asks nobody."""

    confirm: Callable[[int, int], bool] | None

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:  # noqa: ARG002
        """Returns the plan that compares the moment with the present."""
        archive, floors = chosen.archive, (point.floor, point.floor_now)
        exact = point.epoch is not None
        return Rewind(archive, point.moment, *floors, point.lateness, exact)

    def execute(self, work: Work, plan: Planner) -> RewoundTable:
        """Keeps the plan on disk until it is confirmed; nothing is written before it is complete.

        Raises ArchiveError when a version cannot be read, and UsageError when the plan is not
        confirmed.
        """
        spools = self._plan(work, plan)
        try:
            if not work.readable:
                first = work.tally.unreadable[0]
                raise ArchiveError(f"{first} Nothing was written.", first.hint)
            puts, deletes = (work.tally.steps[action] for action in ("put", "delete"))
            if self.confirm and not self.confirm(puts, deletes):
                raise UsageError(
                    "Not confirmed; nothing was written.", "--yes rewinds without asking."
                )
            with work.progress.task("rewind", "rows") as task:

                def tell() -> None:
                    task.advance(1, (task.done + 1) / (puts + deletes))

                steps = chain.from_iterable(spools)
                found = rewind(work.dynamodb, plan.archive, steps, work.pool, tell)
        finally:
            for spool in spools:
                spool.close()
        left = tuple(f"{key}: {reason}" for key, reason in found.left)
        return RewoundTable(found.done, found.already, left)

    def _plan(self, work: Work, plan: Planner) -> list[Spool]:
        """Returns the steps that change a row, slice by slice, on disk."""
        with work.progress.task("plan", "items") as task:
            fraction = HashFraction(len(work.chosen.slices))

            def changes(part: str) -> Iterator[Step]:
                for step in work.steps(plan, part):
                    task.advance(1, fraction.reach(step.name))
                    if step.action in ("put", "delete"):
                        yield step

            return run_slices(lambda part: Spool(changes(part)), work.chosen.slices, work.stop)
