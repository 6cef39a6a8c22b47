"""The present: the rows of the live table, compared with what the archive says that they are now.

It is the comparison of `verify`, which compares again what differs until no change can be merely on
its way: another process may write meanwhile. Of a part of an archive only the rows are read that
the copy of that part has; a row that the archive does not have at all is found by a comparison of
the whole table.
"""

import json
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from threading import Event

from stream_backup.archive.layout import Archive
from stream_backup.archive.sample import Sample
from stream_backup.aws.capacity import READ_SHARE, ReadBudget, units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.row import read_row
from stream_backup.aws.scan import TableScan
from stream_backup.aws.table import require
from stream_backup.capture.state import state_of
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema
from stream_backup.core.slice import cut_scan
from stream_backup.drill.compare import CHUNK, chunks
from stream_backup.drill.copy import SEGMENTS
from stream_backup.progress import Progress
from stream_backup.verify.findings import WRONG, Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rounds import Rounds
from stream_backup.verify.rows import Rows
from stream_backup.verify.run import grace
from stream_backup.verify.shares import row_of, scan_slices


@dataclass(frozen=True, slots=True)
class LiveComparer:
    """Compares the live table of `archive` with it; `copy` is a table that has the keys of a
    sample. It reads a share of a provisioned table's capacity, as `verify` does."""

    connection: Connection
    archive: Archive
    copy: str
    schema: KeySchema
    pool: Executor
    stop: Event
    progress: Progress

    def compare(self) -> tuple[int, list[str]]:
        """Returns how many rows differ, and the keys of some."""
        dynamodb = self.connection.dynamodb
        live, _ = require(dynamodb, self.archive.table)
        budget, findings = ReadBudget(units_of(live, READ_SHARE)), Findings()
        with closing(Rows()) as rows:
            with self.progress.task("scan live table", "rows") as task:
                if isinstance(self.archive, Sample):
                    self._rows_of_copy(rows, budget)
                else:
                    name = self.archive.table
                    work = self.schema, budget, self.stop, rows, task.advance
                    scan_slices(cut_scan(SEGMENTS), dynamodb, name, *work)
            state = state_of(self.connection, self.archive.table)  # after the rows, as `verify`
            status, floor = state.status, state.status.floor_now
            looks = Looks(
                dynamodb,
                self.archive,
                self.pool,
                budget,
                self.stop,
                findings,
                floor,
                status.lateness_now,
                older=status.lateness_before(floor),
            )
            with self.progress.task("compare live table", "items") as task:
                left = looks.compare(rows, lambda _: task.advance(1))
                Rounds(looks).settle(left, rows.count, grace(state), lambda: None)
        wrong = [each for each in findings.examples if each.kind in WRONG]
        return findings.wrong, [each.key or each.reason for each in wrong]

    def _rows_of_copy(self, rows: Rows, budget: ReadBudget) -> None:
        """Reads the rows of the live table that have the keys of the copy."""

        dynamodb = self.connection.dynamodb

        def read(key: Item) -> Item | None:
            return read_row(dynamodb, self.archive.table, key)

        names = tuple(name for name, _ in self.schema.attributes)
        scan = TableScan(dynamodb, self.copy, names=names)
        for page in scan.pages(ReadBudget(None), self.stop):
            for keys in chunks(iter(page.items), CHUNK):
                found = list(filter(None, self.pool.map(read, keys)))
                rows.add(row_of(item, self.schema) for item in found)
                size = sum(-(-len(json.dumps(item)) // 4096) for item in found)
                self.stop.wait(budget.spend(size))
