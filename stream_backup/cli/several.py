"""A command for one table, or for several: what becomes of each table, a summary of all, and one
JSON value.

The value for several tables is `{"exit_code": …, "tables": [{"table": …, "result": …, "exit_code":
…, "reason": …, "hint": …, "report": …}, …]}`, with one element for each table in the order of their
names. `report` is the value that the command prints for this table alone.
"""

from collections.abc import Callable, Sequence

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.aws.matching import archived_tables, live_tables
from stream_backup.aws.several import Several, TableOutcome, TableOutcomes, Work
from stream_backup.capture.left_alone import reason_to_skip
from stream_backup.cli.console import data, say
from stream_backup.cli.local import translate_local
from stream_backup.cli.options import Chosen
from stream_backup.errors import StreamBackupError

Skip = Callable[[str], str]


def run_live(connection: Connection, chosen: Chosen, work: Work, *, as_json: bool) -> None:
    """Runs a command that needs the live table: for the one that was named, or for those of the
    account that match, except those that are left alone unless they are named."""
    if chosen.table:
        run_one(chosen.table, work, as_json=as_json)
        return
    tables = live_tables(connection, chosen.pattern or "")
    _ = connection.store  # a missing bucket is one error, not one of each table

    def skip(table: str) -> str:
        return reason_to_skip(connection, table)

    run_several(tables, work, as_json=as_json, skip=skip)


def run_archived(connection: Connection, chosen: Chosen, work: Work, *, as_json: bool) -> None:
    """Runs a command that needs only the archive: for the table that was named, or for those in the
    archive that match."""
    if chosen.table:
        run_one(chosen.table, work, as_json=as_json)
    else:
        tables = archived_tables(connection, chosen.pattern or "")
        run_several(tables, work, as_json=as_json)


def run_one(table: str, work: Work, *, as_json: bool) -> None:
    """Runs a command for one table. Raises what `work` raises."""
    work(table, data if as_json else lambda _: None)


def run_several(
    tables: Sequence[str],
    work: Work,
    *,
    as_json: bool,
    skip: Skip = lambda _: "",
    at_once: int = 1,
    headed: bool = True,
    show: Callable[[TableOutcomes], None] = lambda found: summary(found),
) -> TableOutcomes:
    """Runs a command for each of these tables, prints a summary table, and with `as_json` the value
    for programs. `show` prints the summary. Raises SeveralError when a table failed, and
    what stopped the work, such as Ctrl-C, after the summary. With `headed`, the name of each table
    is printed before it is processed."""

    def begins(table: str, number: int) -> None:
        if headed and at_once == 1:
            say("", f"[{number}/{len(tables)}] {table}")

    def ended(outcome: TableOutcome) -> None:
        _tell(outcome)
        if at_once > 1 and outcome.result == "done":
            say(f"{outcome.table}: done.")

    several = Several(
        tables,
        work,
        skip=skip,
        begins=begins,
        ended=ended,
        known=_known,
        stops=(BrokenPipeError, click.Abort),
        at_once=at_once,
    )
    found = several.run()
    show(found)
    if as_json:
        data(found.record())
    found.complain()
    return found


def silent(found: TableOutcomes) -> None:
    """Prints no summary, for a command whose report is one. After Ctrl-C, it says what is left."""
    if found.stopped:
        summary(found)


def summary(found: TableOutcomes) -> None:
    """Prints one line for each table, and how many there are of each result."""
    width = max(len("table"), *(len(each.table) for each in found.every))
    say("", f"{'table':<{width}}  result")
    for each in found.every:
        said = f"{each.result:<11}  {each.reason}" if each.reason else each.result
        say(f"{each.table:<{width}}  {said}")
    counts = {each.result: len(found.named(each.result)) for each in found.every}
    told = ", ".join(f"{count:,} {result}" for result, count in counts.items())
    say(f"{len(found.every):,} tables: {told}.")


def _tell(outcome: TableOutcome) -> None:
    """Says at once what is wrong with a table, because others follow."""
    if outcome.result == "failed":
        hint = [f"  hint: {outcome.hint}"] if outcome.hint else []
        say(f"{outcome.table}: {outcome.reason}", *hint)
    elif outcome.result == "skipped":
        say(f"{outcome.table}: skipped, because {outcome.reason}.")


def _known(error: BaseException) -> StreamBackupError | None:
    return translate_local(error) or translate(error)
