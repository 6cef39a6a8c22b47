"""The options of `undo`: which rows and paths, how conflicts are decided, and the mark."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_backup.core.edits import Path as AttributePath
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema
from stream_backup.core.merge import Choice
from stream_backup.errors import UsageError
from stream_backup.inspect.where import Where
from stream_backup.undo.conflicts import Decisions
from stream_backup.undo.rule import Decide, Mark, Rule

_INDEX = re.compile(r"\[\d+\]")
_PATH = 'Write it like total, or prices.net, or as JSON: ["name.with.dots", "net"].'


def parse_path(text: str) -> AttributePath:
    """Returns the path that was typed: names joined by periods, or a JSON array of names. Raises
    UsageError."""
    if text.startswith("["):
        try:
            names = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is not a JSON array of names: {error}.", _PATH) from error
    else:
        names = text.split(".")
        if _INDEX.search(text):
            raise UsageError(
                f"{text!r} is a path into a list, and a list is undone as a whole.",
                "Name the list. If the brackets belong to a name, write the path as JSON:"
                ' ["a[0]"].',
            )
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f"{text!r} is not a path of attribute names.", _PATH)
    return tuple(names)


@dataclass(frozen=True, slots=True)
class UndoOptions:
    """The options as they were typed."""

    since: str | None
    until: str | None
    receipt: Path | None
    where: str | None
    changed: tuple[str, ...]
    deltas: tuple[str, ...]
    mark: str | None
    conflicts: Path | None
    resolve: str | None
    canary: int | None
    rate: float | None
    plan_only: bool
    yes: bool

    def check(self) -> None:
        """Raises UsageError for options that contradict each other, or are not valid."""
        window = self.since is not None, self.until is not None
        if any(window) == bool(self.receipt) or (any(window) and not all(window)):
            raise UsageError(
                "undo needs a window or a receipt.",
                "Pass --from WHEN and --to WHEN, or --receipt FILE.",
            )
        if self.receipt and self.where is not None:
            raise UsageError(
                "--where has no meaning with --receipt.", "Choose items with --key or --keys-from."
            )
        if self.deltas and not self.mark:
            raise UsageError(
                "--as-delta needs --mark ATTR: without a mark, running the same undo again would"
                " subtract twice.",
                "Name an attribute that no item has, such as --mark undone_by.",
            )
        if self.mark == "":
            raise UsageError("--mark needs a name.", "Name an attribute that no item has.")
        if self.plan_only and self.canary:
            raise UsageError("--plan writes nothing, so it has no canary.", "Leave one out.")
        self.choice()

    def check_together(self) -> None:
        """Raises UsageError for options that name something of one table, where there are
        several."""
        decided = self.resolve if self.resolve not in (None, "before", "now") else None
        ones = {
            "--receipt": self.receipt,
            "--conflicts": self.conflicts,
            "--resolve FILE": decided,
            "--canary": self.canary,
        }
        for option, value in ones.items():
            if value:
                raise UsageError(
                    f"{option} is about one table, and there are several.", "Name one table."
                )

    def choice(self) -> Choice:
        """Returns which paths are undone, and which of them are counters."""
        return Choice(tuple(map(parse_path, self.changed)), frozenset(map(parse_path, self.deltas)))

    def chooser(self) -> Where | None:
        """Returns the expression that chooses items, None without one."""
        return None if self.where is None else Where(self.where)

    def rule(self, undone: dict[str, Any], schema: KeySchema) -> Rule:
        """Returns the rule that these options choose. `undone` says what is undone: it is part of
        the name that the mark has. Raises UsageError for a mark that is a key attribute."""
        if self.mark in {name for name, _ in schema.attributes}:
            raise UsageError(
                f"--mark {self.mark} is a key attribute.", "Name an attribute that no item has."
            )
        return Rule(self.choice(), self._mark(undone), self._decide())

    def record(self) -> dict[str, Any]:
        """Returns the options that decide what is undone, for the receipt."""
        return {
            "where": self.where,
            "changed": [list(parse_path(each)) for each in self.changed],
            "as_delta": [list(parse_path(each)) for each in self.deltas],
            "resolve": self.resolve,
            "receipt": str(self.receipt) if self.receipt else None,
        }

    def _mark(self, undone: dict[str, Any]) -> Mark | None:
        if self.mark is None:
            return None
        choice = self.choice()
        chosen = [undone, sorted(choice.changed), sorted(choice.deltas)]
        name = " ".join(str(each) for each in undone.values() if each)
        return Mark(self.mark, f"undo {name} {digest(json.dumps(chosen).encode())[:8]}")

    def _decide(self) -> Decide:
        match self.resolve:
            case None:
                return lambda _key, _conflict: None
            case "before":
                return lambda _key, _conflict: "before"
            case "now":
                return lambda _key, _conflict: "now"
        return Decisions(Path(self.resolve))
