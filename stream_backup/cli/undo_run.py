"""Executes the plan of an undo: asks, undoes the canary first, and writes the receipt."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from restore.pace import Pace
from restore.receipt import Receipt, ReceiptHeader
from stream_backup.aws.connection import Connection
from stream_backup.capture.state import State
from stream_backup.cli.console import Terminal, say
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.cli.undo_report import UndoReport
from stream_backup.errors import IncompleteError, UsageError
from stream_backup.undo.damage import Damage, DamageSpool
from stream_backup.undo.rule import Rule
from stream_backup.undo.run import Listed, UndoCounts, planned, undo_rows
from stream_backup.undo.writer import RowUndone, RowWriter


@dataclass(frozen=True, slots=True)
class UndoRun:
    """A plan that is executed. `listed` receives the conflicts that remain."""

    connection: Connection
    state: State
    options: UndoOptions
    rule: Rule
    report: UndoReport
    listed: Listed

    def execute(self, spool: DamageSpool, pool: Executor) -> None:
        """Asks, and undoes the rows, first those of the canary. Raises UsageError when it is not
        confirmed."""
        report, options = self.report, self.options
        report.done = UndoCounts()
        if report.plan.writes and not options.yes and not report.confirm():
            raise UsageError("Not confirmed; nothing was written.", "--yes undoes without asking.")
        stop = Event()
        with Receipt(Path(), self._header(), self.connection.now) as receipt:
            table = self.state.table
            writer = RowWriter(self.connection.dynamodb, table, self.rule, receipt, stop)
            rows = iter(spool)
            try:
                if options.canary:
                    first = [*self._canary(rows, options.canary)]
                    self._require_good([*self._rows(writer, first, pool)])
                deque(self._rows(writer, rows, pool), maxlen=0)
            except BaseException:
                stop.set()
                assert report.done is not None
                say(*report.done.left)
                if receipt.name:
                    say(f"Receipt of what was written: {receipt.name}")
                raise
        report.receipt = receipt.name

    def _rows(
        self, writer: RowWriter, rows: Iterable[Damage], pool: Executor
    ) -> Iterator[RowUndone]:
        """Undoes rows, counts them, and yields what became of them."""
        done = self.report.done
        assert done is not None
        whole = self.report.plan.writes or 1
        pace = Pace(self.options.rate, writer.stop)
        with Terminal().task("undo", "rows") as task:
            for row in undo_rows(writer, rows, pool, pace):
                done.add(row)
                for conflict in row.conflicts:
                    self.listed(row.key, conflict)
                task.advance(1, min((task.done + 1) / whole, 1.0))
                yield row

    def _canary(self, rows: Iterator[Damage], count: int) -> Iterator[Damage]:
        """Yields rows up to the given number of rows that are written."""
        for row in rows:
            yield row
            count -= bool(planned(self.rule, row).written)
            if not count:
                return

    def _require_good(self, rows: list[RowUndone]) -> None:
        """Raises IncompleteError unless the run may go on after its canary."""
        if any(row.left for row in rows):
            self.report.complain()
        rest = self.report.plan.writes - sum(bool(row.written) for row in rows)
        if rest <= 0 or self.options.yes:
            return
        if not self.report.confirm_rest([row for row in rows if row.written], rest):
            raise IncompleteError(
                "Stopped after the canary; the other rows were not written.",
                "Run the same command again to resume, or undo the receipt.",
            )

    def _header(self) -> ReceiptHeader:
        arn, identity = self.state.identity
        mark = self.rule.mark
        return ReceiptHeader(
            "undo",
            self.state.table,
            arn,
            identity,
            int(self.connection.now()),
            self.report.undone.get("from"),
            self.report.undone.get("to"),
            self.options.record(),
            {mark.attribute: mark.name} if mark else None,
        )
