"""What one worker of a verification does. It takes two passes, because a table can be read only by
segments and an archive only by names: first the segments are scanned, and their rows are put into
files by name; then each slice of names is compared, in the listing, with its rows from all files.

Comparing a segment without the first pass would cost a request for each row instead of one for
1,000: where a row is in the archive is known only by its name, which is a hash of its key.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple, Protocol, Self

from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.slices import never, run_slices
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.scan import TableScan
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash, key_json
from stream_backup.core.lateness_record import lateness_of, lateness_record
from stream_backup.core.slice import NameSlice, ScanSlice
from stream_backup.core.time_rule import Lateness
from stream_backup.verify.compare import Row
from stream_backup.verify.findings import Findings, Found
from stream_backup.verify.looks import Looked, Looks
from stream_backup.verify.rows import RowFiles, Rows


@dataclass(frozen=True, slots=True)
class VerifyOrder:
    """What every worker that compares must know besides its slices: the rule of time of the epoch
    that holds the present, and of older lives of the table (None: there are none)."""

    floor: int
    lateness: Lateness
    older: Lateness | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Reads an order from its JSON object. Raises KeyError, TypeError or ValueError when the
        object is none."""
        older = record["older"]
        return cls(
            int(record["floor"]),
            lateness_of(record["lateness"]),
            None if older is None else lateness_of(older),
        )

    def record(self) -> dict[str, Any]:
        """Returns the order as a JSON object."""
        older = None if self.older is None else lateness_record(self.older)
        return {"floor": self.floor, "lateness": lateness_record(self.lateness), "older": older}


class SomeRows(Protocol):
    """Scanned rows by name: `Rows`, or `RowFiles`."""

    def within(self, part: NameSlice) -> Iterable[Row]:
        """Yields the rows in a slice that are not done, in order of name."""


class RowSink(Protocol):
    """Where scanned rows are put: `Rows`, or something like it."""

    def add(self, rows: Iterable[Row]) -> None:
        """Adds rows, in any order. Thread-safe where segments are scanned at once."""


class SliceCompared(NamedTuple):
    """What was found in one slice: the slice as it is to be continued, and the findings, which are
    those of this call. What is left open is not among them; it was reported."""

    slice: NameSlice
    found: Found

    def record(self) -> dict[str, Any]:
        """Returns the result as a JSON object."""
        return {"slice": self.slice.record()} | self.found.record()


def row_of(item: Item, schema: KeySchema) -> Row:
    """Returns what a verification keeps of a scanned item."""
    key = schema.key_of(item)
    return Row(key_hash(key), digest(encode(item)), key_json(key))


def scan_slices(
    parts: Sequence[ScanSlice],
    dynamodb: DynamoDB,
    table: str,
    schema: KeySchema,
    budget: ReadBudget,
    stop: Event,
    rows: RowSink,
    read: Callable[[int], None],
    over: Callable[[], bool] = never,
) -> list[ScanSlice]:
    """Scans as much of these segments into `rows` as there is time for, all at once: of each at
    least one page. Calls `read` with the number of items of each page."""

    def scan(number: str) -> ScanSlice:
        part = parts[int(number)]
        pages = TableScan(dynamodb, table, part.segment, part.total)
        while not part.done and not stop.is_set():
            page = pages.page(part.next)
            rows.add(row_of(item, schema) for item in page.items)
            read(len(page.items))
            part = part.reached(page.following)
            if part.done:
                break
            stop.wait(budget.spend(page.consumed))
            if over():
                break
        return part

    return run_slices(scan, [str(number) for number in range(len(parts))], stop)


def compare_slices(
    order: VerifyOrder,
    parts: Sequence[NameSlice],
    dynamodb: DynamoDB,
    archive: Archive,
    rows: SomeRows,
    stop: Event,
    report: Callable[[Looked], None],
    over: Callable[[], bool] = never,
) -> list[SliceCompared]:
    """Compares as much of these slices with their `rows` as there is time for, all at once. Calls
    `report` after each turn, with what it has left open: that must be compared again with the table
    (`Rounds`)."""

    def compare(number: str) -> SliceCompared:
        part, findings = parts[int(number)], Findings()
        # The rows that are left open are read from the table later, within one budget.
        unused = ReadBudget(None)
        clients = dynamodb, archive, pool, unused, stop, findings
        looks = Looks(*clients, order.floor, order.lateness, older=order.older)
        for looked in looks.walk(part, rows.within(part), over=over):
            part = looked.slice
            report(looked)
        return SliceCompared(part, findings.found_so_far)

    with RequestPool() as pool:
        return run_slices(compare, [str(number) for number in range(len(parts))], stop)


@dataclass(frozen=True, slots=True)
class ScanRowsJob:
    """The segments whose rows a worker process puts into a folder. It reports the number of rows of
    each page."""

    parts: tuple[ScanSlice, ...]
    schema: KeySchema
    budget: ReadBudget
    folder: Path

    def work(
        self, dynamodb: DynamoDB, archive: Archive, stop: Event, report: Callable[[int], None]
    ) -> None:
        """Scans the segments."""
        with closing(Rows(self.folder)) as rows:
            scan_slices(
                self.parts,
                dynamodb,
                archive.table,
                self.schema,
                self.budget,
                stop,
                rows,
                report,
            )


@dataclass(frozen=True, slots=True)
class CompareJob:
    """The slices that a worker process compares with the rows in these folders. It reports each
    turn (`Looked`), and at the end each slice (`SliceCompared`)."""

    order: VerifyOrder
    parts: tuple[NameSlice, ...]
    folders: tuple[Path, ...]

    def work(
        self,
        dynamodb: DynamoDB,
        archive: Archive,
        stop: Event,
        report: Callable[[Looked | SliceCompared], None],
    ) -> None:
        """Compares the slices."""
        done = compare_slices(
            self.order,
            self.parts,
            dynamodb,
            archive,
            RowFiles(self.folders),
            stop,
            report,
        )
        for each in done:
            report(each)
