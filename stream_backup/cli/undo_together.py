"""`undo` of one window in several tables, with one plan and one question.

Every table is planned to the end before anything is written. If one is refused, all are. The tables
are then undone one after another, each with a receipt, and the failure of one stops no other.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from restore.receipt import require_writable
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.connection import Connection
from stream_backup.aws.several import Deliver, TableOutcomes
from stream_backup.cli.console import Terminal, data, say
from stream_backup.cli.consumers_report import show_consumers
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import chosen_items
from stream_backup.cli.options import ChosenTables
from stream_backup.cli.questions import confirm
from stream_backup.cli.several import run_several, summary
from stream_backup.cli.together import columns, for_each, refuser, states_of, tables_of
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.cli.undo_planned import PlannedUndo, planned_undo
from stream_backup.cli.undo_source import WindowSource
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.errors import NotConfirmedError
from stream_backup.undo.run import UndoCounts

COUNTED = ("update", "delete", "put", "unchanged", "conflicts")
"""The counts that the plan of several tables shows."""


def undo_together(
    connection: Connection, chosen: ChosenTables, options: UndoOptions, *, as_json: bool
) -> None:
    """Undoes a window in several tables. Raises SeveralError when a table is refused, before
    anything is written, and when one failed; NotConfirmedError when the plan is not confirmed."""
    options.check_together()
    tables = tables_of(connection, chosen)
    if not options.plan_only:
        require_writable(Path())
    options = _with_moments(options, connection.clock())
    sources, schemas = _resolved(connection, tables, options)
    with RequestPool() as pool, ExitStack() as stack:
        agreed = replace(options, yes=True)  # once for all, below

        def plan(table: str) -> PlannedUndo:
            state, schema = schemas[table]
            items = chosen_items(connection, table, schema, (), None)
            return planned_undo(connection, agreed, sources[table], state, items, pool, stack)

        every = for_each(tables, plan, refuser(tables, what="undone"))
        _show_plan(options, every)
        writes = sum(each.report.plan.writes for each in every.values())
        ask = not options.plan_only and writes and not options.yes
        if ask and not confirm(f"Undo this in these {len(every)} live tables?"):
            raise NotConfirmedError(
                "Not confirmed; nothing was written.", "--yes undoes without asking."
            )

        def work(table: str, deliver: Deliver) -> None:
            one = every[table]
            try:
                if not options.plan_only:
                    one.execute(connection, pool)
            finally:
                deliver(one.report.record())
            if not options.plan_only:
                one.report.show(as_json=False)
            one.report.complain()

        def show(found: TableOutcomes) -> None:
            if not options.plan_only or found.exit_code:
                summary(found)
            if as_json:
                data(_record(every, found))

        run_several(tables, work, as_json=False, headed=not options.plan_only, show=show)


def _with_moments(options: UndoOptions, now: int) -> UndoOptions:
    """Returns the options with moments that mean the same second for every table."""
    found = []
    for text in (options.since, options.until):
        moment, note = parse_when(text or "", now)
        if note:
            say(note)
        found.append(iso(moment))
    return replace(options, since=found[0], until=found[1])


def _resolved(
    connection: Connection, tables: Sequence[str], options: UndoOptions
) -> tuple[dict[str, WindowSource], dict[str, tuple[Any, KeySchema]]]:
    """Returns the window of each table, its state, and its key schema. Raises SeveralError when the
    window is not exact for one of them."""
    states = states_of(connection, tables)
    sources = {table: WindowSource(options) for table in tables}
    progress = Terminal()

    def resolve(table: str) -> tuple[Any, KeySchema]:
        return states[table], sources[table].resolve(connection, states[table], progress)

    window = f"undone exactly from {options.since} to {options.until}"
    return sources, for_each(tables, resolve, refuser(tables, states.values(), window))


def _show_plan(options: UndoOptions, every: dict[str, PlannedUndo]) -> None:
    heads = ["to update", "to delete", "to put back", "unchanged", "conflicts"]
    rows: list[list[Any]] = [["table", *heads]]
    rows += [[table, *_row(each.report.plan)] for table, each in every.items()]
    rows.append(["total", *map(sum, zip(*(row[1:] for row in rows[1:]), strict=True))])
    say(f"Plan: undo {options.since} to {options.until} in {len(every):,} tables:", *columns(rows))
    for table, each in every.items():
        if each.report.consumers.found or each.report.consumers.unseen:
            say(f"{table}:")
            show_consumers(each.report.consumers)


def _row(counts: UndoCounts) -> list[int]:
    return [getattr(counts, name) for name in COUNTED]


def _record(every: dict[str, PlannedUndo], found: TableOutcomes) -> dict[str, Any]:
    """Returns the plan, and what became of it, as a JSON object."""
    counts = [each.report.plan for each in every.values()]
    totals = {name: sum(getattr(each, name) for each in counts) for name in COUNTED}
    return {**found.record(), "totals": totals}
