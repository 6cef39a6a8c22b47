"""A restore into a table: a new one, an empty one, or one that is made equal to the moment."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from restore.destination import Work
from restore.kept import grid
from restore.load import BatchWritten, Loader, SliceLoaded, load_with
from restore.order import RestoreOrder
from restore.others import Names, delete_others
from restore.plan import Planner, Rebuild
from restore.target import Target, prepare
from restore.usable import is_complete, usable
from restore.writer import BatchWriter
from stream_backup.archive.selection import Selection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.point import RestorePoint
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.moment import iso
from stream_backup.core.records import TableDescription
from stream_backup.core.slice import NameSlice
from stream_backup.workers.crew import Workers

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
    once, in write units a second. Without `workers` this process loads it."""

    name: str
    description: TableDescription
    identity: str
    rate: float | None
    overwrite: bool
    stream: bool
    warm_throughput: int | None = None
    workers: Workers | None = None

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:
        """Returns the plan that reads every item as it was."""
        archive, bodies = chosen.archive, not counting
        return Rebuild(archive, point.moment, point.floor, bodies, point.lateness)

    def is_complete(self, dynamodb: DynamoDB) -> bool:
        """Returns whether an earlier run has done all of this. Raises UsageError when the table
        cannot be used. It only reads."""
        if not self.overwrite and is_complete(dynamodb, self.name, self.identity):
            return True
        usable(
            dynamodb,
            self.name,
            self.description,
            self.identity,
            overwrite=self.overwrite,
            warm_throughput=self.warm_throughput,
        )
        return False

    def execute(self, work: Work, plan: Planner) -> Filled:
        """Writes the items slice by slice. Raises UsageError when the table cannot be used."""
        name, chosen = self.name, work.chosen
        target = prepare(
            work.dynamodb,
            name,
            self.description,
            self.identity,
            overwrite=self.overwrite,
            stream=self.stream,
            warm_throughput=self.warm_throughput,
        )
        parts = [part for part in target.done.left(self._grid) if chosen.holds_any(part)]
        if target.resumed:
            share = 1 - sum(part.left for part in parts)
            work.progress.note(
                f"Resuming the restore into table {name}: {share:.0%} of the names are complete."
            )
        with (
            closing(Names()) as names,
            work.progress.task("restore", "items") as task,
        ):
            whole = {part.range: part.left for part in parts}
            left = dict(whole)

            def heard(written: BatchWritten) -> None:
                left.update({part.range: part.left for part in written.parts})
                share = 1 - sum([*left.values()]) / (sum(whole.values()) or 1)
                task.advance(len(written.names), share)
                if target.had_rows:
                    names.add(written.names)
                target.record(written.parts)

            found = self._load(work, plan, parts, heard)
            failures = [line for each in found for line in each.failures]
            for each in found:
                work.tally.add(each.counted)
            if target.had_rows and not failures and not work.tally.unreadable:
                failures += self._delete_others(work, target, names)
        if not failures and work.readable and not work.stop.is_set():
            target.finish()
        written = sum(each.written for each in found)
        return Filled(name, written, target.resumed, tuple(failures))

    @property
    def _grid(self) -> int:
        return grid(self.workers.number if self.workers else 1)

    def _load(
        self,
        work: Work,
        plan: Planner,
        parts: Sequence[NameSlice],
        heard: Callable[[BatchWritten], None],
    ) -> list[SliceLoaded]:
        """Loads these slices in this process, or in several."""
        schema, chosen = KeySchema.of(self.description.table), work.chosen
        if self.workers is None:
            writer = BatchWriter(work.dynamodb, self.name, self.rate, stop=work.stop)
            return Loader(plan, chosen, schema, writer, work.pool, work.stop, heard).load(parts)
        assert isinstance(plan, Rebuild)
        order = RestoreOrder(self.name, plan.moment, plan.floor, plan.lateness, chosen.keys)
        return load_with(self.workers, order, parts, self.rate, heard)

    def _delete_others(self, work: Work, target: Target, names: Names) -> list[str]:
        if work.stop.is_set():
            return []
        schema = KeySchema.of(self.description.table)
        writer = BatchWriter(work.dynamodb, self.name, self.rate, stop=work.stop)
        failures = delete_others(work.chosen, target, writer, names, work.stop)
        return [f"{key_json(each.key(schema))}: {each.reason}" for each in failures]


def identity_of(
    archive: str, chosen: Selection, point: RestorePoint, *, incomplete_ok: bool
) -> str:
    """Returns which restore this is, as the value of a tag (at most 256 characters): a digest of
    everything that decides which rows it writes, and then the moment and the table for people."""
    facts = [archive, point.table, point.moment, point.floor, chosen.fingerprint, incomplete_ok]
    known = digest(json.dumps(facts).encode())
    return f"{known} {iso(point.moment)} {point.table}"[:IDENTITY]
