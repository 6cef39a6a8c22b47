"""What can be done about damage: the ways that an incident offers. Each is plain commands: its
plan, its questions, its run, and the check of what it did. An undo is one; `incident_restores.py`
has the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from stream_backup.cli.questions import ask
from stream_backup.cli.steps import Ran, Steps
from stream_backup.cli.undo import undo
from stream_backup.cli.undo_report import UndoReport, rest, writes
from stream_backup.core.moment import iso
from stream_backup.errors import IncompleteError, UsageError

CANARY = 5
"""Rows that are written first."""


@dataclass(frozen=True, slots=True)
class IncidentDamage:
    """What is to be taken back: what changed after second `before` and not after `until`, of the
    items of which `where` is true. `keys` are those of some of these items, as they can be
    typed."""

    before: int
    until: int
    where: str | None = None
    keys: Sequence[str] = ()

    @property
    def window(self) -> tuple[str, ...]:
        """The options of `diff` and `undo`."""
        return ("--from", iso(self.before), "--to", iso(self.until))

    @property
    def items(self) -> tuple[str, ...]:
        """The options that choose the items."""
        return ("--where", self.where) if self.where else ()


class Way(Protocol):
    """Something that can be done about damage."""

    name: ClassVar[str]
    live: ClassVar[bool]
    """Whether it writes to the live table."""

    def plan(self) -> str:
        """Prints the plan, and returns what would be written, in words. Writes nothing."""

    def prepare(self) -> None:
        """Asks what must be known before it is run. Writes nothing."""

    def run(self) -> Ran:
        """Runs it, which asks before it writes."""

    def resume(self) -> str:
        """Returns the command that resumes it."""

    def recheck(self) -> str:
        """Returns the command that checks it."""

    def result(self, ran: Ran) -> list[str]:
        """Returns what was done, in sentences."""

    def check(self) -> str:
        """Checks what was done, and returns a sentence. Raises IncompleteError when it is not
        complete. The archive must have what was written."""


@dataclass(slots=True)
class UndoWay:
    """Takes back only the damage."""

    steps: Steps
    damage: IncidentDamage
    name: ClassVar[str] = "undo"
    live: ClassVar[bool] = True
    _canary: tuple[str, ...] = ()
    _rows: int = 0

    def plan(self) -> str:
        """Plans the undo."""
        report = self._planned()
        self._rows = report.plan.writes
        return f"{writes(report.plan)}. {' '.join(rest(report.plan))}".rstrip()

    def prepare(self) -> None:
        """Asks for the number of rows of the canary."""
        if self._rows:
            question = "How many rows are to be undone first, and shown to you?"
            self._canary = ("--canary", str(ask(question, _number, str(CANARY))))

    def run(self) -> Ran:
        """Runs the undo, which asks before the canary and before the rest."""
        return self.steps.run(undo, *self._words, *self._canary)

    def resume(self) -> str:
        """The same undo without a canary."""
        return self.steps.text("undo", *self._words)

    def recheck(self) -> str:
        """Its plan."""
        return self.steps.text("undo", *self._words, "--plan")

    def result(self, ran: Ran) -> list[str]:
        """The counts of the undo."""
        report: UndoReport = ran.report
        assert report.done is not None
        return [f"{writes(report.done, done=True)}.", *rest(report.done)]

    def check(self) -> str:
        """Plans the undo again: it must have nothing left to write."""
        counts = self._planned().plan
        if counts.writes:
            raise IncompleteError(
                f"The undo is not complete: {writes(counts)}.", f"To resume: {self.resume()}"
            )
        return " ".join(["A new plan of the same undo has nothing to write.", *rest(counts)])

    def _planned(self) -> UndoReport:
        report: UndoReport = self.steps.run(undo, *self._words, "--plan").report
        return report

    @property
    def _words(self) -> tuple[str, ...]:
        return (*self.damage.window, *self.damage.items)


def receipts_of(table: str) -> set[Path]:
    """Returns the receipts of a table in the current folder."""
    return set(Path().glob(f"{table}-*.receipt.jsonl.gz"))


def _number(typed: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", typed):
        raise UsageError(f"{typed!r} is not a number of rows.", "Type a number, such as 5.")
    return int(typed)
