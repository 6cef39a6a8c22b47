"""A verification: the live table compared with what the archive says it is now. It only reads;
`repair` writes."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.slices import SLICES, HashFraction
from stream_backup.archive.status import Status
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.scan import ScanFraction
from stream_backup.capture.catch_up import PATIENCE
from stream_backup.capture.state import State, state_of
from stream_backup.core.coverage import Epoch
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Live
from stream_backup.core.slice import cut_names, cut_scan
from stream_backup.core.time_rule import NEVER
from stream_backup.core.witness import GRACE
from stream_backup.progress import Progress, Task
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looked, Looks
from stream_backup.verify.rounds import Rounds
from stream_backup.verify.rows import Rows, SuspectSpool, WrongRows, close
from stream_backup.verify.shares import (
    CompareJob,
    ScanRowsJob,
    SliceCompared,
    VerifyOrder,
    scan_slices,
)
from stream_backup.workers.crew import Workers, deal

SEGMENTS = 4
"""Segments of each process by default: while one waits for its next page, the others have something
to do."""


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
    """Of one table, scanned in `segments` parts within `budget`. `stop` ends it early. Without
    `workers` this process does it."""

    connection: Connection
    archive: Archive
    live: Live
    segments: int
    budget: ReadBudget
    stop: Event
    progress: Progress
    workers: Workers | None = None

    def run(self, known: Callable[[State], None]) -> Verified:
        """Scans the table, compares every row, and compares again what differs. `known` is called
        with the state of the archive as soon as it has been read."""
        if self.workers:
            return self._run_with(self.workers, known)
        with closing(Rows()) as rows:
            self.scan(rows)
            state = state_of(self.connection, self.archive.table)
            known(state)
            return self.compare(rows, state)

    def _run_with(self, workers: Workers, known: Callable[[State], None]) -> Verified:
        """Does the same in several processes, which put the rows into a folder that is removed at
        the end. What differs is compared again in this one."""
        before = dict(self.connection.store.requests)
        with TemporaryDirectory(prefix="stream-backup-verify-") as folder:
            hands = deal(cut_scan(self.segments), workers.number)
            folders = tuple(Path(folder) / str(number) for number in range(len(hands)))
            schema = KeySchema.of(self.live.description)
            with self.progress.task("scan", "rows") as task:
                scans = [
                    ScanRowsJob(parts, schema, self.budget, to)
                    for parts, to in zip(hands, folders, strict=True)
                ]
                workers.run(scans, self._reader(task))
                rows = task.done
            state = state_of(self.connection, self.archive.table)
            known(state)
            findings, order = Findings(), order_of(state.status)
            jobs = [
                CompareJob(order, parts, folders)
                for parts in deal(cut_names(len(SLICES)), workers.number)
            ]
            with RequestPool() as pool:
                looks = self._looks(pool, findings, order)
                with self._comparing() as task:
                    left = self._compare_with(workers, jobs, findings, task)
                self._settle(looks, left, rows, grace(state))
        return Verified(findings, state, self._requests(before))

    def _compare_with(
        self,
        workers: Workers,
        jobs: Sequence[CompareJob],
        findings: Findings,
        task: Task,
    ) -> list[SuspectSpool]:
        """Returns the rows that are left open, slice by slice."""
        fraction = HashFraction(len(SLICES))
        spools = [SuspectSpool() for _ in SLICES]

        def heard(report: Looked | SliceCompared) -> None:
            if isinstance(report, SliceCompared):
                findings.add(report.found)
                return
            task.advance(report.items, fraction.reach(*filter(None, [report.slice.after])))
            for suspect in report.suspects:
                spools[SLICES.index(suspect.name[0])].add(suspect)

        try:
            workers.run(jobs, heard)
        except BaseException:
            close(spools)
            raise
        return spools

    def end(
        self,
        findings: Findings,
        left: list[SuspectSpool],
        rows: int,
        state: State,
        requests: Mapping[str, int],
    ) -> Verified:
        """Compares again what others, who made these `requests`, have left open of so many rows,
        and adds it to what they have found. Closes the spools."""
        before = dict(self.connection.store.requests)
        with RequestPool() as pool:
            looks = self._looks(pool, findings, order_of(state.status))
            self._settle(looks, left, rows, grace(state))
        made = self._requests(before)
        return Verified(findings, state, {kind: made[kind] + requests[kind] for kind in made})

    def compare(
        self, rows: Rows, state: State, epoch: Epoch | None = None, wrong: WrongRows | None = None
    ) -> Verified:
        """Compares every row with the archive, by the floor of the epoch that holds the present
        unless another is given. Keeps in `wrong` what is to be repaired."""
        findings, before = Findings(), dict(self.connection.store.requests)
        order = order_of(state.status, epoch)
        with RequestPool() as pool:
            looks = self._looks(pool, findings, order, wrong)
            fraction = HashFraction(len(SLICES))
            with self._comparing() as task:
                left = looks.compare(rows, lambda name: task.advance(1, fraction.reach(name)))
            self._settle(looks, left, rows.count, grace(state))
        return Verified(findings, state, self._requests(before))

    def _looks(
        self,
        pool: Executor,
        findings: Findings,
        order: VerifyOrder,
        wrong: WrongRows | None = None,
    ) -> Looks:
        return Looks(
            self.connection.dynamodb,
            self.archive,
            pool,
            self.budget,
            self.stop,
            findings,
            order.floor,
            order.lateness,
            wrong,
            order.older,
        )

    def _requests(self, before: Mapping[str, int]) -> dict[str, int]:
        now = self.connection.store.requests
        return {kind: now[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}

    def scan(self, rows: Rows) -> None:
        """Scans the table into `rows`."""
        schema, parts = KeySchema.of(self.live.description), cut_scan(self.segments)
        dynamodb, table = self.connection.dynamodb, self.archive.table
        with self.progress.task("scan", "rows") as task:
            read = self._reader(task)
            scan_slices(parts, dynamodb, table, schema, self.budget, self.stop, rows, read)

    def _reader(self, task: Task) -> Callable[[int], None]:
        """Returns what is called with the number of rows of each page."""
        fraction = ScanFraction(int(self.live.description.get("ItemCount") or 0))
        return lambda count: task.advance(count, fraction.reach(count))

    def _comparing(self) -> AbstractContextManager[Task]:
        return self.progress.task("compare", "items")

    def _settle(self, looks: Looks, left: list[SuspectSpool], rows: int, patience: float) -> None:
        total = sum(spool.count for spool in left)
        if total:
            self.progress.note(f"Comparing {total:,} rows again: changes may be on their way.")
        with self.progress.task("compare again", "rows") as task:
            Rounds(looks).settle(
                left, rows, patience, lambda: task.advance(1, (task.done + 1) / total)
            )


def order_of(status: Status, epoch: Epoch | None = None) -> VerifyOrder:
    """Returns what workers must know to compare a table with its archive, by the epoch that holds
    the present unless another is given."""
    floor = epoch.floor if epoch else status.floor_now
    lateness = status.lateness_in(epoch) if epoch else status.lateness_now
    return VerifyOrder(floor, lateness, status.lateness_before(floor))


def grace(state: State) -> float:
    """Returns the seconds within which a change is expected to be in the archive; none where nobody
    reads the stream."""
    status = state.status
    stream = status.stream
    if stream is None or (stream.reader == "follow" and not status.following):
        return 0.0
    return min(GRACE + (status.lag or 0), PATIENCE)
