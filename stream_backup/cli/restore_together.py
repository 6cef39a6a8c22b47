"""`restore` of several tables to one moment, with one plan.

Every table is checked before anything is written: that the moment is exact, that the target can be
used, and for a rewind the whole plan. If one table is refused, all are. The tables are then
restored one after another, and the failure of one stops no other.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from restore.destination import Destination, Outcome, Work
from restore.live_table import LiveTable, PlannedRewind
from restore.new_table import NewTable
from restore.plan import Planner, Tally
from restore.receipt import require_writable
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.connection import Connection
from stream_backup.aws.several import Deliver, TableOutcomes
from stream_backup.capture.consumers import Consumers, consumers_of
from stream_backup.capture.point import RestorePoint, resolve, up_to_date
from stream_backup.cli.console import Terminal, data, say
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import chosen_items
from stream_backup.cli.options import ChosenTables
from stream_backup.cli.questions import confirm
from stream_backup.cli.restore_options import RestoreOptions, description_of
from stream_backup.cli.restore_report import RequestCount, RestoreReport, complain, facts_of
from stream_backup.cli.several import run_several, summary
from stream_backup.cli.together import columns, for_each, refuser, states_of, tables_of, totals
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.errors import NotConfirmedError

SUMMED = ("put", "delete", "unchanged", "absent", "unknown", "unreadable", "versions_listed")
"""The members of a plan that are added up."""


@dataclass(slots=True)
class _One:
    """One of the tables. `earlier` is the name of the new table if an earlier run has restored it,
    and `planned` the plan of a rewind that is to be executed."""

    point: RestorePoint
    destination: Destination
    consumers: Consumers | None
    work: Work
    plan: Planner
    counted: RequestCount
    earlier: str = ""
    planned: PlannedRewind | None = None

    @property
    def tally(self) -> Tally:
        """What was counted so far."""
        return self.work.tally

    def execute(self, *, plan_only: bool) -> Outcome | None:
        """Executes the plan, or counts it."""
        with self.counted:
            if plan_only:
                self.work.count(self.plan)
                return None
            if self.planned:
                return self.planned.write()
            return self.destination.execute(self.work, self.plan)


def restore_together(
    connection: Connection,
    chosen: ChosenTables,
    options: RestoreOptions,
    when: str,
    *,
    plan_only: bool,
    ask: bool,
    as_json: bool,
) -> None:
    """Restores several tables. Raises SeveralError when a table is refused, before anything is
    written, and when one failed; NotConfirmedError when a rewind is not confirmed."""
    options.check_together()
    tables = tables_of(connection, chosen)
    if options.in_place and not plan_only:
        require_writable(Path())
    moment, note = parse_when(when, connection.clock())  # once: the same second for all tables
    if note:
        say(note)
    points = _points(connection, tables, moment, options)
    with RequestPool() as pool, ExitStack() as stack:
        every = for_each(
            tables,
            lambda table: _prepared(connection, points[table], options, pool, plan_only=plan_only),
            refuser(tables, what=f"restored to {iso(moment)}"),
        )
        for table, one in every.items():
            if one.consumers and (one.consumers.found or one.consumers.unseen):
                say(f"{table}:")
                show_consumers(one.consumers)
        if options.in_place and not plan_only:
            _plan_all(every, moment, stack)
            if ask and not confirm(f"Rewind these {len(every)} live tables?"):
                raise NotConfirmedError(
                    "Not confirmed; nothing was written.", "--yes rewinds without asking."
                )

        def work(table: str, deliver: Deliver) -> None:
            one = every[table]
            outcome = one.execute(plan_only=plan_only)
            facts = facts_of(one.point)
            report = RestoreReport(facts, one.tally, one.counted.found, outcome, one.consumers)
            deliver(report.record())
            if outcome:
                say(str(outcome))
            complain(one.tally, outcome, incomplete_ok=options.incomplete_ok)

        def skip(table: str) -> str:
            name = every[table].earlier
            return f"an earlier run restored it to this moment, into table {name}" if name else ""

        def show(found: TableOutcomes) -> None:
            if plan_only and not as_json and not found.stopped:
                say(*plan_lines(moment, _counts(every), in_place=options.in_place))
            else:
                summary(found)
            if as_json:
                data(_record(moment, found))

        run_several(tables, work, as_json=False, skip=skip, headed=not plan_only, show=show)


def _points(
    connection: Connection, tables: Sequence[str], moment: int, options: RestoreOptions
) -> dict[str, RestorePoint]:
    """Returns the moment of each table. Raises SeveralError when it is not exact for one."""
    states = states_of(connection, tables)
    progress, incomplete_ok = Terminal(), options.incomplete_ok

    def point_of(table: str) -> RestorePoint:
        point = resolve(connection, states[table], moment, progress, incomplete_ok=incomplete_ok)
        if options.in_place and not incomplete_ok:
            point.require_present()
        return point

    refused = refuser(tables, states.values(), f"restored exactly to {iso(moment)}")
    return for_each(tables, point_of, refused)


def _prepared(
    connection: Connection,
    point: RestorePoint,
    options: RestoreOptions,
    pool: Executor,
    *,
    plan_only: bool,
) -> _One:
    """Checks everything about a table that can be known before the plan."""
    progress, incomplete_ok = Terminal(), options.incomplete_ok
    description = description_of(connection, point)
    schema = KeySchema.of(description.table)
    chosen = chosen_items(connection, point.table, schema, (), None)
    if options.in_place and not plan_only:
        point = up_to_date(connection, point, progress, incomplete_ok=incomplete_ok)
    consumers = consumers_of(connection, point.state) if options.in_place else None
    destination = options.destination(connection, point, chosen, description, ask=False)
    work = Work(connection.dynamodb, chosen, pool, Tally(), Event(), progress, incomplete_ok)
    plan = destination.planner(chosen, point, counting=plan_only)
    counted = RequestCount(connection.store.requests)
    one = _One(point, destination, consumers, work, plan, counted)
    if isinstance(destination, NewTable) and not plan_only:
        one.earlier = destination.name if destination.is_complete(connection.dynamodb) else ""
    return one


def _plan_all(every: dict[str, _One], moment: int, stack: ExitStack) -> None:
    """Plans every rewind to the end and shows the plan. Raises SeveralError when one cannot be
    planned."""

    def plan(table: str) -> None:
        one = every[table]
        assert isinstance(one.destination, LiveTable)
        with one.counted:
            one.planned = one.destination.planned(one.work, one.plan)
        stack.callback(one.planned.close)

    for_each(every, plan, refuser([*every], what=f"restored to {iso(moment)}"))
    say(*plan_lines(moment, _counts(every), in_place=True))


def _counts(every: dict[str, _One]) -> dict[str, Tally]:
    return {table: one.tally for table, one in every.items()}


def plan_lines(moment: int, counts: dict[str, Tally], *, in_place: bool) -> list[str]:
    """Returns the plan of several tables, one line for each, and their sum."""
    kinds = ("put", "delete", "unchanged", "absent", "unknown") if in_place else ("put", "absent")
    absent = "neither then nor now" if in_place else "did not exist then"
    heads = {"put": "to put", "delete": "to delete", "absent": absent, "unknown": "too old to know"}
    rows: list[list[Any]] = [["table", *(heads.get(kind, kind) for kind in kinds), "versions"]]
    rows += [[table, *_row(tally, kinds)] for table, tally in counts.items()]
    rows.append(["total", *map(sum, zip(*(row[1:] for row in rows[1:]), strict=True))])
    return [f"Plan: {len(counts):,} tables at {iso(moment)}:", *columns(rows)]


def _row(tally: Tally, kinds: Iterable[str]) -> list[int]:
    return [*(tally.steps[kind] for kind in kinds), tally.versions]


def _record(moment: int, found: TableOutcomes) -> dict[str, Any]:
    """Returns the plan, or what became of it, as a JSON object."""
    return {"moment": iso(moment), **found.record(), "totals": totals(found, SUMMED)}
