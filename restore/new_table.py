"""A restore into a table: a new one, an empty one, or one that is made equal to the moment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restore.destination import Work
from restore.load import load
from restore.plan import Planner, Rebuild
from restore.target import prepare
from restore.writer import BatchWriter
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction
from stream_backup.capture.point import RestorePoint
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.moment import iso
from stream_backup.core.records import TableDescription

IDENTITY = 240
"""Characters of an identity at most: a tag's value has 256 (Amazon DynamoDB Developer Guide,
"Tagging restrictions"), and one that replaces a table is longer by a word."""


@dataclass(frozen=True, slots=True)
class Filled:
    """How many items were written into table `into`; `resumed` says that an interrupted restore was
    continued."""

    into: str
    written: int
    resumed: bool
    left: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Returns the outcome as members of a JSON object."""
        told: dict[str, Any] = {"into": self.into, "written": self.written}
        return told | {"resumed": self.resumed, "left": list(self.left)}

    def __str__(self) -> str:
        return f"Done: {self.written:,} items written to table {self.into}."


@dataclass(frozen=True, slots=True)
class NewTable:
    """Table `name`, created from `description` when it does not exist. `identity` says which
    restore this is, so that no other restore resumes it; `rate` is a limit in items a second;
    `stream` switches the new table's stream on; `warm_throughput` is what a new table takes at
    once, in write units a second."""

    name: str
    description: TableDescription
    identity: str
    rate: float | None
    overwrite: bool
    stream: bool
    warm_throughput: int | None = None

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:
        """Returns the plan that reads every item as it was."""
        archive, bodies = chosen.archive, not counting
        return Rebuild(archive, point.moment, point.floor, bodies, point.lateness)

    def execute(self, work: Work, plan: Planner) -> Filled:
        """Writes the items slice by slice. Raises UsageError when the table cannot be used."""
        name, chosen, slices = self.name, work.chosen, work.chosen.slices
        target = prepare(
            work.dynamodb,
            name,
            self.description,
            self.identity,
            overwrite=self.overwrite,
            stream=self.stream,
            warm_throughput=self.warm_throughput,
        )
        if target.resumed:
            done = f"{len(target.done)} of {len(slices)} parts are complete"
            work.progress.note(f"Resuming the restore into table {name}: {done}.")
        writer = BatchWriter(work.dynamodb, name, self.rate, stop=work.stop)
        with work.progress.task("restore", "items") as task:
            fraction = HashFraction(len(slices))
            for part in target.done:
                fraction.reach(part + "f" * 7)

            def tell(written: Sequence[str]) -> None:
                task.advance(len(written), fraction.reach(*written))

            failures = load(plan, chosen, target, writer, work.pool, work.tally, tell, work.stop)
        if not failures and work.readable:
            target.finish()
        schema = KeySchema.of(self.description.table)
        left = tuple(f"{key_json(each.key(schema))}: {each.reason}" for each in failures)
        return Filled(name, task.done - len(failures), target.resumed, left)


def identity_of(
    archive: str, chosen: Selection, point: RestorePoint, *, incomplete_ok: bool
) -> str:
    """Returns which restore this is, as the value of a tag (at most 256 characters): a digest of
    everything that decides which rows it writes, and then the moment and the table for people."""
    facts = [archive, point.table, point.moment, point.floor, chosen.fingerprint, incomplete_ok]
    known = digest(json.dumps(facts).encode())
    return f"{known} {iso(point.moment)} {point.table}"[:IDENTITY]
