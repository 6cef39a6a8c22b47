"""What `undo` reports: its plan, the question before it writes, and what became of it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stream_backup.capture.consumers import Consumers
from stream_backup.cli.console import data, say
from stream_backup.cli.questions import confirm
from stream_backup.core.difference import plain
from stream_backup.core.item import Value
from stream_backup.core.key import key_json
from stream_backup.core.plain import plain_text
from stream_backup.errors import ArchiveError, IncompleteError
from stream_backup.inspect.window import Examined
from stream_backup.undo.run import UndoCounts
from stream_backup.undo.writer import RowUndone

LISTED = 20
"""How many rows are named."""

LONGEST = 60
"""Characters of a value that are shown."""


@dataclass(slots=True)
class UndoReport:
    """`undone` says what is undone, as members of a JSON object. `requests` are those of the
    archive, counted from now on. `done` is None for a plan, and `receipt` is the file that was
    written."""

    table: str
    undone: dict[str, Any]
    consumers: Consumers
    requests: Counter[str]
    plan: UndoCounts = field(default_factory=UndoCounts)
    examined: Examined = field(default_factory=Examined)
    done: UndoCounts | None = None
    receipt: str | None = None
    _before: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = dict(self.requests)

    def show_plan(self) -> None:
        """Prints what would be written, with exact counts."""
        say(f"Plan: undo {self._what()} in {self.table}: {writes(self.plan)}.")
        for sentence in rest(self.plan):
            say(sentence)

    def confirm(self) -> bool:
        """Asks whether the live table is to be changed."""
        return confirm(f"Undo this in the live table {self.table}?")

    def confirm_rest(self, rows: Sequence[RowUndone], rest: int) -> bool:
        """Shows the rows of a canary, and asks whether to undo the rest."""
        show_rows(rows)
        return confirm(f"Undo the other {_counted(rest, 'row')} too?")

    def show(self, *, as_json: bool) -> None:
        """Prints the report: sentences on stderr, or JSON on stdout."""
        if as_json:
            data(self.record())
            return
        if self.done:
            say(f"Done: {writes(self.done, done=True)}.")
            for sentence in rest(self.done):
                say(sentence)
        requests = (f"{count:,} {kind.upper()}" for kind, count in self._requests().items())
        say(f"{self.examined.versions:,} versions listed; {', '.join(requests)}.")
        if self.receipt:
            say(f"Receipt: {self.receipt}")
            say(f"To take this back: stream-backup undo {self.table} --receipt {self.receipt}")

    def record(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        return {
            "table": self.table,
            **self.undone,
            "plan": self.plan.record(),
            "done": self.done.record() if self.done else None,
            "receipt": self.receipt,
            **self.consumers.record(),
            "versions_listed": self.examined.versions,
            "requests": self._requests(),
        }

    def require_readable(self) -> None:
        """Raises ArchiveError when a version could not be read."""
        for error in self.examined.unreadable[:LISTED]:
            say(f"  {error}")
        if self.examined.unreadable:
            raise ArchiveError(
                f"{len(self.examined.unreadable):,} items have a version in the archive that"
                " cannot be read. Nothing was written.",
                "They are listed above. To undo other items, choose them with --key or --where.",
            )

    def complain(self) -> None:
        """Raises IncompleteError when something was left."""
        counts = self.done
        if counts is None:
            return
        for line in counts.left[:LISTED]:
            say(f"  {line}")
        if len(counts.left) > LISTED:
            say(f"  … and {len(counts.left) - LISTED:,} more.")
        if counts.left:
            raise IncompleteError(
                f"{_counted(len(counts.left), 'row')} could not be undone.",
                "They are listed above with the reason. Run the same command again to resume.",
            )
        if counts.conflicts:
            raise IncompleteError(
                f"{_conflicts(counts)} left as they are.",
                "To see them, add --plan --conflicts FILE. To decide them, add --resolve before,"
                " --resolve now, or --resolve FILE.",
            )

    def _what(self) -> str:
        undone = self.undone
        if "from" in undone:
            return f"{undone['from']} to {undone['to']}"
        return str(undone["undone"])

    def _requests(self) -> dict[str, int]:
        kinds = ("list", "get", "head")
        return {kind: self.requests[kind] - self._before.get(kind, 0) for kind in kinds}


def show_rows(rows: Sequence[RowUndone]) -> None:
    """Prints what was written to some rows."""
    for row in rows[:LISTED]:
        say(f"  {key_json(row.key)}")
        for edit in row.written:
            path = ".".join(edit.path)
            if path:
                say(f"    {plain_text(path)}: {_short(edit.now)} → {_short(edit.after)}")
            else:
                say("    deleted" if edit.after is None else "    put back")
        for conflict in row.conflicts:
            path = json.dumps(conflict.path, ensure_ascii=False)
            say(f"    conflict at {path}: left as it is")
        for reason in row.left:
            say(f"    {reason}")


def _short(value: Value | None) -> str:
    text = plain_text(plain(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def writes(counts: UndoCounts, *, done: bool = False) -> str:
    """Returns how many rows are written, or were, in words."""
    paths = f" ({_counted(counts.paths, 'path')})" if counts.paths else ""
    verbs = (
        ("updated", "deleted", "put back") if done else ("to update", "to delete", "to put back")
    )
    return (
        f"{_counted(counts.update, 'row')} {verbs[0]}{paths}, {counts.delete:,} {verbs[1]},"
        f" {counts.put:,} {verbs[2]}, {counts.unchanged:,} unchanged"
    )


def rest(counts: UndoCounts) -> list[str]:
    """Returns sentences about what is left as it is."""
    found = []
    if counts.conflicts:
        found.append(f"{_conflicts(counts)} left: they changed again since.")
    if counts.expired:
        found.append(f"{_counted(counts.expired, 'of these rows', 'of these rows')} expired since.")
    if counts.outside:
        found.append(
            f"{_counted(counts.outside, 'row')} {'is' if counts.outside == 1 else 'are'} left: the"
            " damage inserted, removed or replaced what contains the path."
        )
    return found


def _conflicts(counts: UndoCounts) -> str:
    paths, rows = _counted(counts.conflicts, "conflict"), _counted(counts.conflicting, "row")
    return f"{paths} in {rows} {'is' if counts.conflicts == 1 else 'are'}"


def _counted(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
