"""Executing a plan: into a table, into a file, on the live table; or only counting it. Each answers what it did."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain, takewhile
from threading import Event
from typing import Any

from restore.export import open_lines
from restore.load import load, run_shards
from restore.plan import Planner, Rebuild, Rewind, Selection, Step, Tally, steps
from restore.rewind import rewind
from restore.spool import Spool
from restore.target import prepare
from restore.writer import BatchWriter
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import ArchiveError, UsageError
from stream_backup.item import digest
from stream_backup.key import KeySchema, key_json
from stream_backup.moment import iso
from stream_backup.talk import HashFraction, bar, say

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """What every way of executing needs. `stop` ends it early, at a point from which it can go on; with `incomplete_ok`
    items with an unreadable version are done without."""

    dynamodb: DynamoDB
    chosen: Selection
    pool: Executor
    tally: Tally
    stop: Event
    incomplete_ok: bool = False

    @property
    def readable(self) -> bool:
        """Whether every item planned so far could be read, or need not be."""
        return self.incomplete_ok or not self.tally.unreadable

    def steps(self, plan: Planner, shard: str) -> Iterator[Step]:
        """What the plan has for this shard, cut short when `stop` is set."""
        found = steps(plan, self.chosen.histories(shard), self.pool, self.tally)
        return takewhile(lambda _: not self.stop.is_set(), found)

    def count(self, plan: Planner) -> Result:
        """Goes through the plan and does nothing; the tally has it."""
        with bar("plan", "items") as progress:
            fraction = HashFraction(len(self.chosen.shards))

            def count(shard: str) -> None:
                for step in self.steps(plan, shard):
                    progress.advance(1, fraction.reach(step.name))

            run_shards(count, self.chosen.shards, self.stop)
        return {}


def to_table(
    execution: Execution,
    plan: Rebuild,
    name: str,
    description: dict[str, Any],
    rate: float | None,
    *,
    overwrite: bool,
    stream: bool,
) -> Result:
    """Into table `name`, made by `description` where it is not there."""
    chosen = execution.chosen
    order = f"{plan.archive.table} {iso(plan.moment)} {_hash_of(chosen)}".strip()
    target = prepare(execution.dynamodb, name, description, order, overwrite=overwrite, stream=stream)
    if target.goes_on:
        say(f"Going on with table {name}: {len(target.done)} of {len(chosen.shards)} parts are there.")
    writer = BatchWriter(execution.dynamodb, name, rate, stop=execution.stop)
    with bar("restore", "items") as progress:
        fraction = HashFraction(len(chosen.shards))
        for shard in target.done:
            fraction.reach(shard + "f" * 7)

        def tell(written: Sequence[str]) -> None:
            progress.advance(len(written), fraction.reach(*written))

        failures = load(plan, chosen, target, writer, execution.pool, execution.tally, tell, execution.stop)
    if not failures and execution.readable:
        target.finish()
    schema = KeySchema.of(description["Table"])
    left = [f"{key_json(failure.key(schema))}: {failure.reason}" for failure in failures]
    return {"into": name, "written": progress.done - len(failures), "went_on": target.goes_on, "left": left}


def to_file(execution: Execution, plan: Rebuild, name: str, *, overwrite: bool) -> Result:
    """Into a file of DynamoDB JSON lines."""
    with open_lines(name, overwrite=overwrite) as lines, bar("restore", "items") as progress:
        fraction = HashFraction(len(execution.chosen.shards))

        def write(shard: str) -> None:
            for step in execution.steps(plan, shard):
                lines.write(step)
                progress.advance(step.action == "put", fraction.reach(step.name))

        run_shards(write, execution.chosen.shards, execution.stop)
    return {"to": name, "written": execution.tally.steps["put"]}


def rewind_live(
    execution: Execution,
    plan: Rewind,
    confirm: Callable[[], bool] | None,
    *,
    plan_only: bool,
) -> Result:
    """On the live table. The plan is kept on disk until it is confirmed; nothing is written before it is whole."""
    with bar("plan", "items") as progress:
        fraction = HashFraction(len(execution.chosen.shards))

        def needed(shard: str) -> Spool:
            def found() -> Iterator[Step]:
                for step in execution.steps(plan, shard):
                    progress.advance(1, fraction.reach(step.name))
                    if step.action in ("put", "delete"):
                        yield step

            return Spool(found())

        spools = run_shards(needed, execution.chosen.shards, execution.stop)
    try:
        if plan_only:
            return {}
        if not execution.readable:
            raise ArchiveError(
                f"{execution.tally.unreadable[0]} Nothing was written.",
                execution.tally.unreadable[0].hint,
            )
        if confirm and not confirm():
            raise UsageError("Not confirmed; nothing was written.", "--yes rewinds without asking.")
        total = sum(execution.tally.steps[action] for action in ("put", "delete"))
        with bar("rewind", "rows") as progress:

            def tell() -> None:
                progress.advance(1, (progress.done + 1) / total)

            found = rewind(execution.dynamodb, plan.archive, chain.from_iterable(spools), execution.pool, tell)
    finally:
        for spool in spools:
            spool.close()
    return {"rewound": found.done, "already": found.already, "left": [f"{key}: {reason}" for key, reason in found.left]}


def _hash_of(chosen: Selection) -> str:
    """Which items a restore is about, in a few characters; empty for all."""
    return digest(",".join(sorted(map(key_json, chosen.keys))).encode())[:12] if chosen.keys else ""
