"""An undo that is planned to the end: what would be written is counted, and nothing is written."""

from concurrent.futures import Executor
from contextlib import ExitStack, closing
from dataclasses import dataclass

from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.consumers import consumers_of
from stream_backup.capture.state import State
from stream_backup.cli.console import Terminal
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.cli.undo_report import UndoReport
from stream_backup.cli.undo_run import UndoRun
from stream_backup.cli.undo_source import Source
from stream_backup.core.key import KeySchema
from stream_backup.undo.conflicts import ConflictFile
from stream_backup.undo.damage import DamageSpool
from stream_backup.undo.rule import Rule
from stream_backup.undo.run import Listed, counted, ignore


@dataclass(frozen=True, slots=True)
class PlannedUndo:
    """The plan of one table: its rows are on disk, and its counts in the report."""

    options: UndoOptions
    state: State
    rule: Rule
    report: UndoReport
    spool: DamageSpool
    listed: Listed

    def execute(self, connection: Connection, pool: Executor) -> None:
        """Asks, unless told not to, and undoes the rows. Raises what `UndoRun` raises."""
        run = UndoRun(connection, self.state, self.options, self.rule, self.report, self.listed)
        run.execute(self.spool, pool)


def planned_undo(
    connection: Connection,
    options: UndoOptions,
    source: Source,
    state: State,
    chosen: Selection,
    pool: Executor,
    stack: ExitStack,
) -> PlannedUndo:
    """Plans the undo of what `source` resolved for the table of `state`. `stack` closes the plan.
    Raises ArchiveError when a version cannot be read."""
    progress, table = Terminal(), state.table
    schema = chosen.archive.schema
    assert isinstance(schema, KeySchema)
    rule = options.rule(source.undone, schema)
    if not options.plan_only:
        state = source.catch_up(connection, progress)
    report = UndoReport(
        table, source.undone, consumers_of(connection, state), connection.store.requests
    )
    listed = (
        stack.enter_context(ConflictFile(options.conflicts)).add if options.conflicts else ignore
    )
    damages = source.damages(connection, chosen, pool, report.examined, progress)
    told = listed if options.plan_only else ignore
    spool = stack.enter_context(closing(DamageSpool(counted(rule, damages, report.plan, told))))
    report.require_readable()
    return PlannedUndo(options, state, rule, report, spool, listed)
