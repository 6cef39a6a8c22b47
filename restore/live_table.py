"""A restore of the live table in place: a rewind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

from restore.destination import Work
from restore.pace import Pace
from restore.plan import Planner, Rewind, Step
from restore.receipt import Receipt
from restore.rewind import rewind
from restore.spool import Spool
from stream_backup.archive.layout import Archive
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, run_slices
from stream_backup.capture.point import RestorePoint
from stream_backup.core.time_rule import FOREVER
from stream_backup.errors import ArchiveError, NotConfirmedError


@dataclass(frozen=True, slots=True)
class RewoundTable:
    """How many rows were rewound, and how many `already` matched the moment. `receipt` is the name
    of the file with what was written."""

    rewound: int
    already: int
    left: tuple[str, ...]
    receipt: str | None = None

    def record(self) -> dict[str, Any]:
        """Returns the outcome as members of a JSON object."""
        return {
            "rewound": self.rewound,
            "already": self.already,
            "left": list(self.left),
            "receipt": self.receipt,
        }

    def __str__(self) -> str:
        done = f"Done: {self.rewound:,} rows rewound, {self.already:,} already matched."
        return f"{done} Receipt: {self.receipt}" if self.receipt else done


@dataclass(frozen=True, slots=True)
class Copy:
    """Table `name`, which nobody else writes: it has the rows of `point`, and is rewound from there
    to another moment of the same epoch."""

    name: str
    point: RestorePoint


@dataclass(frozen=True, slots=True)
class LiveTable:
    """The table itself, or a `copy` of it. `confirm` is asked once the plan is complete, with the
    number of rows to put and to delete; None asks nobody. `receipts` opens the receipt of the run;
    None writes none. `rate` is a limit in rows a second."""

    confirm: Callable[[int, int], bool] | None
    receipts: Callable[[], Receipt] | None = None
    rate: float | None = None
    copy: Copy | None = None

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:  # noqa: ARG002
        """Returns the plan that compares the moment with the present."""
        archive, exact = chosen.archive, point.epoch is not None
        present = self.copy.point.moment if self.copy else FOREVER
        floors = point.floor, point.floor if self.copy else point.floor_now
        return Rewind(archive, point.moment, *floors, point.lateness, exact, present)

    def execute(self, work: Work, plan: Planner) -> RewoundTable:
        """Keeps the plan on disk until it is confirmed; nothing is written before it is complete.

        Raises ArchiveError when a version cannot be read, and NotConfirmedError when the plan is
        not confirmed.
        """
        with closing(self.planned(work, plan)) as planned:
            if self.confirm and not self.confirm(planned.puts, planned.deletes):
                raise NotConfirmedError(
                    "Not confirmed; nothing was written.", "--yes rewinds without asking."
                )
            return planned.write()

    def planned(self, work: Work, plan: Planner) -> "PlannedRewind":
        """Returns the complete plan, on disk. Raises ArchiveError when a version cannot be read."""
        planned = PlannedRewind(self, work, plan.archive, self._plan(work, plan))
        if not work.readable:
            planned.close()
            first = work.tally.unreadable[0]
            raise ArchiveError(f"{first} Nothing was written.", first.hint)
        return planned

    def _plan(self, work: Work, plan: Planner) -> list[Spool]:
        """Returns the steps that change a row, slice by slice, on disk."""
        with work.progress.task("plan", "items") as task:
            fraction = HashFraction(len(work.chosen.slices))

            def changes(part: str) -> Iterator[Step]:
                for step in work.steps(plan, part):
                    task.advance(1, fraction.reach(step.name))
                    if step.action in ("put", "delete"):
                        yield step

            made: list[Spool] = []

            def spool(part: str) -> Spool:
                found = Spool(changes(part))
                made.append(found)
                return found

            try:
                return run_slices(spool, work.chosen.slices, work.stop)
            except BaseException:
                for each in made:
                    each.close()
                raise


@dataclass(frozen=True, slots=True)
class PlannedRewind:
    """A rewind that is planned to the end and not confirmed yet. It takes space on disk until it is
    closed."""

    live: LiveTable
    work: Work
    archive: Archive
    spools: list[Spool]

    @property
    def puts(self) -> int:
        """The number of rows to put."""
        return self.work.tally.steps["put"]

    @property
    def deletes(self) -> int:
        """The number of rows to delete."""
        return self.work.tally.steps["delete"]

    def close(self) -> None:
        """Removes the plan from disk."""
        for spool in self.spools:
            spool.close()

    def write(self) -> RewoundTable:
        """Writes the planned rows that are still what was read. Raises what AWS answers; the
        receipt then names what was written."""
        live, work, count = self.live, self.work, self.puts + self.deletes
        steps = chain.from_iterable(self.spools)
        with ExitStack() as stack:
            receipt = stack.enter_context(live.receipts()) if live.receipts else None
            task = stack.enter_context(work.progress.task("rewind", "rows"))

            def tell() -> None:
                task.advance(1, (task.done + 1) / count)

            try:
                pace = Pace(live.rate, work.stop)
                rows = live.copy.name if live.copy else ""
                found = rewind(
                    work.dynamodb, self.archive, steps, work.pool, tell, receipt, pace, rows
                )
            except BaseException:
                if receipt and receipt.name:
                    work.progress.note(f"Receipt of what was written: {receipt.name}")
                raise
        left = tuple(f"{key}: {reason}" for key, reason in found.left)
        name = receipt.name if receipt else None
        return RewoundTable(found.done, found.already, left, name)
