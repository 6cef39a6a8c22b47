"""The ways of an incident that restore everything as it was before the damage: the live table, or a
new one."""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from restore.new_table import Filled
from stream_backup.cli.console import say
from stream_backup.cli.diff import diff
from stream_backup.cli.incident_ways import CANARY, IncidentDamage
from stream_backup.cli.questions import ask, yes_or_no
from stream_backup.cli.restore import restore
from stream_backup.cli.restore_report import RestoreReport
from stream_backup.cli.steps import Ran, Steps
from stream_backup.core.moment import iso
from stream_backup.errors import IncompleteError, NotConfirmedError, UsageError

_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


@dataclass(slots=True)
class RewindWay:
    """Makes the live table what it was before the damage."""

    steps: Steps
    damage: IncidentDamage
    name: ClassVar[str] = "rewind"
    live: ClassVar[bool] = True

    def plan(self) -> str:
        """Plans the rewind."""
        put, delete = self._planned()
        return f"{put:,} rows to put, {delete:,} to delete. Everything since then is taken back."

    def prepare(self) -> None:
        """Asks nothing: the rewind asks."""

    def run(self) -> Ran:
        """Rewinds some items first, then the rest. Each is shown before, and asks."""
        canary = tuple(word for key in self.damage.keys[:CANARY] for word in ("--key", key))
        if canary:
            say("", "First only these items, as a canary. They will lose these changes:")
            self.steps.run(diff, "--from", iso(self.damage.before), "--items", *canary)
            ran = self.steps.run(restore, *self._words, *canary)
            if ran.left:
                raise ran.left
            say("Look at these items in your application before you go on.")
        try:
            return self.steps.run(restore, *self._words)
        except NotConfirmedError as error:
            if not canary:
                raise
            raise IncompleteError(
                "Stopped after the canary; the other rows were not written.",
                "The commands above resume it, or take it back.",
            ) from error

    def resume(self) -> str:
        """The same rewind."""
        return self.steps.text("restore", *self._words)

    def recheck(self) -> str:
        """Its plan."""
        return self.steps.text("restore", *self._words, "--plan")

    def result(self, ran: Ran) -> list[str]:
        """The sentence of the rewind."""
        return [str(ran.report.outcome)]

    def check(self) -> str:
        """Plans the rewind again: rows differ only if somebody has written since."""
        put, delete = self._planned()
        if put or delete:
            return (
                f"A new plan of the same rewind has {put:,} rows to put and {delete:,} to delete:"
                " these changed again since, or were left."
            )
        return "A new plan of the same rewind has nothing to write."

    def _planned(self) -> tuple[int, int]:
        report: RestoreReport = self.steps.run(restore, *self._words, "--plan").report
        return report.tally.steps["put"], report.tally.steps["delete"]

    @property
    def _words(self) -> tuple[str, ...]:
        return ("--at", iso(self.damage.before), "--in-place")


@dataclass(slots=True)
class TableWay:
    """Restores a new table, and leaves the live one as it is."""

    steps: Steps
    damage: IncidentDamage
    name: ClassVar[str] = "table"
    live: ClassVar[bool] = False
    _into: tuple[str, ...] = ()
    _items: int = 0
    _filled: list[Filled] = field(default_factory=list)

    def plan(self) -> str:
        """Plans the restore."""
        report: RestoreReport = self.steps.run(restore, *self._at, "--plan").report
        self._items = report.tally.steps["put"]
        return f"{self._items:,} items to put into a new table. The live table is not touched."

    def prepare(self) -> None:
        """Asks for the name of the table, and whether it is to be created. Raises
        NotConfirmedError when it is not."""
        moment = iso(self.damage.before).replace(":", "").replace("-", "")
        name = ask("Name of the new table", self._named, f"{self.steps.table}-restored-{moment}")
        self._into = ("--into", name)
        if not ask(f"Create table {name} and write {self._items:,} items? [y/n]", yes_or_no):
            raise NotConfirmedError(
                "Not confirmed; nothing was written.", f"To go on: {self.resume()}"
            )

    def run(self) -> Ran:
        """Restores the table."""
        ran = self.steps.run(restore, *self._at, *self._into)
        self._filled.append(ran.report.outcome)
        return ran

    def resume(self) -> str:
        """The same restore."""
        return self.steps.text("restore", *self._at, *self._into)

    def recheck(self) -> str:
        """Its plan, which has the number of items."""
        return self.steps.text("restore", *self._at, "--plan")

    def result(self, ran: Ran) -> list[str]:
        """The sentence of the restore."""
        return [str(ran.report.outcome)]

    def check(self) -> str:
        """Compares what was written with what was planned."""
        filled = self._filled[-1]
        if filled.written != self._items and not filled.resumed:
            raise IncompleteError(
                f"{filled.written:,} of {self._items:,} items were written.",
                f"To resume: {self.resume()}",
            )
        return f"{filled.written:,} items were written, and {self._items:,} were planned."

    def _named(self, typed: str) -> str:
        if not _NAME.fullmatch(typed) or typed == self.steps.table:
            raise UsageError(
                f"{typed!r} cannot be the name of the new table.",
                "Type 3 to 255 letters, digits, '_', '-' and '.', and another name than that of"
                " the live table.",
            )
        return typed

    @property
    def _at(self) -> tuple[str, ...]:
        return ("--at", iso(self.damage.before))
