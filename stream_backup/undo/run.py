"""Undoes many rows: counts what is to be done, then does it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from restore.pace import Pace
from stream_backup.core.edits import Conflict, Edit
from stream_backup.core.item import Item
from stream_backup.core.key import key_json
from stream_backup.undo.damage import Damage
from stream_backup.undo.plan import in_parallel
from stream_backup.undo.rule import Rule
from stream_backup.undo.writer import DOUBTFUL, RowUndone, RowWriter

Listed = Callable[[Item, Conflict], None]
"""Receives each conflict with the key of its row."""


def ignore(key: Item, conflict: Conflict) -> None:
    """Receives a conflict and does nothing."""


@dataclass(slots=True)
class UndoCounts:
    """How many rows are updated, deleted, put back, or left as they are, and how many `paths` are
    changed by updates. `conflicts` are paths, `conflicting` the rows that have them; of these,
    `expired` were removed by their time to live. `outside` are rows that the damage inserted or
    removed, where only some paths are undone. `left` has a line for each row that could not be
    undone."""

    update: int = 0
    delete: int = 0
    put: int = 0
    unchanged: int = 0
    paths: int = 0
    conflicts: int = 0
    conflicting: int = 0
    expired: int = 0
    outside: int = 0
    left: list[str] = field(default_factory=list)

    @property
    def writes(self) -> int:
        """The number of rows that are written."""
        return self.update + self.delete + self.put

    def add(self, row: RowUndone) -> None:
        """Counts a row."""
        kinds = Counter(map(_kind, row.written))
        self.update += bool(kinds["update"])
        self.delete += bool(kinds["delete"])
        self.put += bool(kinds["put"])
        self.paths += kinds["update"]
        self.unchanged += not row.written
        self.conflicts += len(row.conflicts)
        self.conflicting += bool(row.conflicts)
        self.expired += bool(row.conflicts) and row.expired
        self.outside += row.outside
        self.left += [f"{key_json(row.key)}: {reason}" for reason in row.left]

    def record(self) -> dict[str, Any]:
        """Returns the counts as members of a JSON object."""
        return {
            "update": self.update,
            "delete": self.delete,
            "put": self.put,
            "unchanged": self.unchanged,
            "paths": self.paths,
            "conflicts": {"paths": self.conflicts, "rows": self.conflicting},
            "expired": self.expired,
            "outside": self.outside,
            "left": self.left,
        }


def _kind(edit: Edit) -> str:
    if edit.path:
        return "update"
    return "delete" if edit.after is None else "put"


def planned(rule: Rule, damage: Damage) -> RowUndone:
    """Returns what would become of a row, given that it is what the archive says it is."""
    verdict = rule.judge(damage, damage.present)
    reasons = [verdict.refused] if verdict.refused else []
    reasons += [DOUBTFUL] if verdict.doubtful else []
    return RowUndone(
        damage.key, verdict.edits, verdict.conflicts, reasons, verdict.outside, damage.expired
    )


def counted(
    rule: Rule, damages: Iterable[Damage], counts: UndoCounts, listed: Listed
) -> Iterator[Damage]:
    """Yields the rows for which there is something to do or to report, and counts all."""
    for damage in damages:
        row = planned(rule, damage)
        counts.add(row)
        for conflict in row.conflicts:
            listed(row.key, conflict)
        if row.written or row.conflicts or row.left:
            yield damage


def undo_rows(
    writer: RowWriter, damages: Iterable[Damage], pool: Executor, pace: Pace
) -> Iterator[RowUndone]:
    """Undoes rows and yields what became of them, in their order. Once the writer's `stop` is set,
    no other row is begun; it is set when one raises an error."""

    def one(damage: Damage) -> RowUndone | None:
        pace.wait()
        if writer.stop.is_set():
            return None
        try:
            return writer.undo(damage)
        except BaseException:
            writer.stop.set()
            raise

    return (row for row in in_parallel(one, damages, pool) if row)
