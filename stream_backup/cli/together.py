"""Several tables with one plan: each is checked before anything is written, and if one of them must
be refused, all are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.matching import archived_tables
from stream_backup.aws.several import SeveralError, TableOutcomes, worst
from stream_backup.capture.state import State, state_of
from stream_backup.cli.console import say
from stream_backup.cli.local import translate_local
from stream_backup.cli.options import ChosenTables
from stream_backup.core.coverage import OVERRIDE
from stream_backup.core.spans import common, spoken
from stream_backup.errors import CoverageError, StreamBackupError, UsageError

Found = TypeVar("Found")

Refusals = Sequence[tuple[str, StreamBackupError]]


def tables_of(connection: Connection, chosen: ChosenTables) -> tuple[str, ...]:
    """Returns the names of the chosen tables. Raises UsageError when no table matches."""
    if chosen.pattern is None:
        return chosen.names
    return tuple(archived_tables(connection, chosen.pattern))


def for_each(
    tables: Iterable[str], check: Callable[[str], Found], refused: Callable[[Refusals], None]
) -> dict[str, Found]:
    """Returns what `check` returns for each table. Every table is checked, so that all refusals are
    known at once. They are printed, and `refused` then raises the error for all; without it, the
    first of them."""
    found, refusals = dict[str, Found](), list[tuple[str, StreamBackupError]]()
    for table in tables:
        try:
            found[table] = check(table)
        except Exception as error:
            known = translate_local(error) or translate(error)
            if known is None:
                raise
            refusals.append((table, known))
    if refusals:
        for table, known in refusals:
            hint = known.hint.removesuffix(f"; {OVERRIDE}")
            say(f"{table}: {known}", *([f"  hint: {hint}"] if hint else []))
        refused(refusals)
    return found


def states_of(connection: Connection, tables: Sequence[str]) -> dict[str, State]:
    """Returns the state of each table. Raises SeveralError, after it has named every table whose
    state cannot be known."""
    return for_each(tables, lambda table: state_of(connection, table), refuser(tables))


def refuser(
    tables: Sequence[str], states: Iterable[State] = (), what: str = "can be used"
) -> Callable[[Refusals], None]:
    """Returns what raises the error for all tables when some are refused. With the `states` of all
    of them, its hint says which moments are exact for all."""
    spans = [state.status.coverage.spans for state in states]

    def refuse(refusals: Refusals) -> None:
        outside = all(isinstance(error, CoverageError) for _, error in refusals)
        only_usage = all(error.exit_code == UsageError.exit_code for _, error in refusals)
        codes = [error.exit_code for _, error in refusals]
        hint = "Fix the cause, or name the other tables."
        if outside and spans:
            exact = spoken(common(spans))
            hint = (
                f"All of these tables are exact {exact}. Choose such a moment."
                if exact
                else "No moment is exact for all of these tables. Name those that belong together."
            )
        raise SeveralError(
            f"{len(refusals)} of {len(tables)} tables cannot be {what}, so nothing was written to"
            " any table.",
            hint,
            UsageError.exit_code if only_usage else worst(codes),
        )

    return refuse


def totals(found: TableOutcomes, names: Sequence[str]) -> dict[str, int]:
    """Returns the sum of each of these members of the tables' reports."""
    reports = [each.report for each in found.every if each.report]
    return {name: sum(int(report.get(name) or 0) for report in reports) for name in names}


def columns(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Returns rows as lines of a table: the first column to the left, the others to the right.
    Numbers have separators."""
    texts = [[f"{each:,}" if isinstance(each, int) else str(each) for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if not index else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]
