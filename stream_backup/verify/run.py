"""A verification: the live table compared with what the archive says it is now. It only reads;
`repair` writes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Event

from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import CONCURRENCY, SLICES, HashFraction, run_slices
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.scan import ScanFraction, TableScan
from stream_backup.capture.catch_up import PATIENCE
from stream_backup.capture.state import State, state_of
from stream_backup.core.coverage import Epoch
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash, key_json
from stream_backup.core.records import Live
from stream_backup.core.time_rule import NEVER
from stream_backup.core.witness import GRACE
from stream_backup.progress import Progress
from stream_backup.verify.compare import Row
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looks
from stream_backup.verify.rows import Rows, WrongRows


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found, and the state of the archive that it was compared with. `requests`
    has the numbers of requests by kind: `list`, `get`, `head`."""

    findings: Findings
    state: State
    requests: dict[str, int]

    @property
    def covered(self) -> bool:
        """Whether the archive claims to know the present state of the table."""
        return self.state.status.floor_now != NEVER


@dataclass(frozen=True, slots=True)
class Verification:
    """Of one table, scanned in `segments` parts within `budget`. `stop` ends it early."""

    connection: Connection
    archive: Archive
    live: Live
    segments: int
    budget: ReadBudget
    stop: Event
    progress: Progress

    def run(self, known: Callable[[State], None]) -> Verified:
        """Scans the table, compares every row, and compares again what differs. `known` is called
        with the state of the archive as soon as it has been read."""
        with closing(Rows()) as rows:
            self.scan(rows)
            state = state_of(self.connection, self.archive.table)
            known(state)
            return self.compare(rows, state)

    def compare(
        self, rows: Rows, state: State, epoch: Epoch | None = None, wrong: WrongRows | None = None
    ) -> Verified:
        """Compares every row with the archive, by the floor of the epoch that holds the present
        unless another is given. Keeps in `wrong` what is to be repaired."""
        findings, before = Findings(), dict(self.connection.store.requests)
        status = state.status
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            looks = Looks(
                self.connection.dynamodb,
                self.archive,
                pool,
                self.budget,
                self.stop,
                findings,
                epoch.floor if epoch else status.floor_now,
                status.lateness_in(epoch) if epoch else status.lateness_now,
                wrong,
            )
            self._compare(looks, rows, grace(state))
        now = self.connection.store.requests
        requests = {kind: now[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}
        return Verified(findings, state, requests)

    def scan(self, rows: Rows) -> None:
        """Scans the table into `rows`."""
        fraction = ScanFraction(int(self.live.description.get("ItemCount") or 0))
        schema = KeySchema.of(self.live.description)
        with self.progress.task("scan", "rows") as task:
            scans = [
                TableScan(self.connection.dynamodb, self.archive.table, number, self.segments)
                for number in range(self.segments)
            ]

            def read(count: int) -> None:
                task.advance(count, fraction.reach(count))

            scan_rows(scans, schema, self.budget, self.stop, rows, read)

    def _compare(self, looks: Looks, rows: Rows, patience: float) -> None:
        with self.progress.task("compare", "items") as task:
            fraction = HashFraction(len(SLICES))
            left = looks.compare(rows, lambda name: task.advance(1, fraction.reach(name)))
        total = sum(spool.count for spool in left)
        if total:
            self.progress.note(f"Comparing {total:,} rows again: changes may be on their way.")
        with self.progress.task("compare again", "rows") as task:
            looks.settle(
                left, rows.count, patience, lambda: task.advance(1, (task.done + 1) / total)
            )


def scan_rows(
    scans: Sequence[TableScan],
    schema: KeySchema,
    budget: ReadBudget,
    stop: Event,
    rows: Rows,
    read: Callable[[int], None],
) -> None:
    """Scans the segments of a table at once into `rows`; calls `read` with the number of items of
    each page."""

    def scan(number: str) -> None:
        for page in scans[int(number)].pages(budget, stop):
            rows.add(row_of(item, schema) for item in page.items)
            read(len(page.items))

    run_slices(scan, [str(number) for number in range(len(scans))], stop)


def row_of(item: Item, schema: KeySchema) -> Row:
    """Returns what a verification keeps of a scanned item."""
    key = schema.key_of(item)
    return Row(key_hash(key), digest(encode(item)), key_json(key))


def grace(state: State) -> float:
    """Returns the seconds within which a change is expected to be in the archive; none where nobody
    reads the stream."""
    status = state.status
    stream = status.stream
    if stream is None or (stream.reader == "follow" and not status.following):
        return 0.0
    return min(GRACE + (status.lag or 0), PATIENCE)
