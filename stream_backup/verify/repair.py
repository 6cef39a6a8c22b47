"""A repair: what a verification finds wrong is written to the archive, and a new epoch begins.

The comparison that counts begins minutes after the scan, when nothing from before the scan is
written any more without an announcement (`core/repair.py`). What must have been lost is put on
record as an outage before anything else is written: when this is interrupted, the archive claims
less than it could, and running it again does the rest.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from uuid import uuid4

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.pool import RequestPool
from stream_backup.aws.dynamodb import Clocked
from stream_backup.aws.table import require
from stream_backup.capture.catch_up import catch_up
from stream_backup.capture.state import State, state_of
from stream_backup.core.announcement import written_by
from stream_backup.core.coverage import Epoch
from stream_backup.core.moment import iso
from stream_backup.core.repair import Repair
from stream_backup.core.time_rule import NEVER, Interval, scan_interval
from stream_backup.errors import NotConfirmedError
from stream_backup.verify.conditions import (
    repairable,
    require_read,
    require_readable,
    require_silence,
)
from stream_backup.verify.gap import Gap, gap_of
from stream_backup.verify.rows import Rows, WrongRows
from stream_backup.verify.run import Verification, Verified
from stream_backup.verify.writer import Writer

LEASE = 900
"""Seconds for which a repair says beforehand that it may write."""

PAUSE = 5.0
"""Seconds between two looks at AWS's clock."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did. `found` is the comparison that it followed, `gap` what must have been
    lost. `record` is the repair, None where nothing was wrong; `counts` says whether its epoch
    began. `failures` are the first errors."""

    found: Verified
    gap: Gap | None = None
    record: Repair | None = None
    counts: bool = True
    failures: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class RepairRun:
    """A verification that repairs. `since` is a second before which, as an operator knows, nothing
    was lost. `agree` is asked before anything is written."""

    verification: Verification
    agree: Callable[[Gap], bool]
    since: int = NEVER

    def run(self, known: Callable[[State], None]) -> Repaired:
        """Scans the table, compares every row, and writes what is wrong. `known` is called with the
        state of the archive as soon as it has been read.

        Raises CoverageError, IncompleteError or ArchiveError where a repair could not be exact, and
        NotConfirmedError when `agree` says no.
        """
        state = self._caught_up(self._state())
        known(state)
        epoch = repairable(state)
        draft = self._draft(epoch)
        require_silence(state, draft)
        with ExitStack() as files:
            rows = files.enter_context(closing(Rows()))
            before = files.enter_context(closing(WrongRows()))
            wrong = files.enter_context(closing(WrongRows()))
            self.verification.scan(rows)
            draft = replace(draft, read=self._seconds.seen)
            found = self.verification.compare(rows, self._caught_up(state), epoch, before)
            if not found.findings.wrong and found.covered:
                return Repaired(found)
            self._wait(draft.read)
            state = self._caught_up(state)
            epoch = repairable(state)
            draft = replace(draft, listed=self._now)
            require_silence(state, draft)
            require_read(state, draft)
            found = self.verification.compare(rows, state, epoch, wrong)
            require_readable(found)
            # A row that was wrong before may have been overwritten since: its change is lost.
            gap = gap_of(state.status, epoch, chain(before, wrong), self.since)
            if gap.rows and not self.agree(gap):
                raise NotConfirmedError(
                    "Not confirmed; nothing was written.", "--yes repairs without asking."
                )
            return self._write(found, gap, draft, wrong)

    def _write(self, found: Verified, gap: Gap, draft: Repair, wrong: WrongRows) -> Repaired:
        verification, catalog = self.verification, Catalog(self.verification.archive)
        clock = Clocked(verification.connection.dynamodb, self._now)
        repair = replace(draft, began=clock.clock, answered=clock.clock)
        if gap.outage:
            outage = replace(gap.outage, until=max(gap.outage.until, repair.began))
            catalog.write_outage(outage)
            repair = replace(repair, since=outage.since, until=outage.until)

        def record() -> None:
            nonlocal repair
            if clock.clock + LEASE // 2 > repair.answered:
                repair = replace(repair, answered=clock.clock + LEASE)
                catalog.write_repair(repair)

        with (
            RequestPool() as pool,
            verification.progress.task("repair", "rows") as task,
        ):
            writer = Writer(
                clock,
                verification.archive,
                pool,
                verification.budget,
                verification.stop,
                repair.floor,
                lambda: task.advance(1, (task.done + 1) / max(1, gap.rows)),
            )
            written = writer.write(wrong, record)
        live, now = require(verification.connection.dynamodb, verification.archive.table)
        whole = sum(written.counts.values()) == wrong.count and not written.counts["failed"]
        ends = (written.seen, repair.read, scan_interval(now, now).seen)
        repair = replace(
            repair,
            answered=max(ends),
            complete=whole and live.label == repair.stream,
            counts=dict(written.counts),
        )
        catalog.write_repair(repair)
        begun = self._state().status.coverage.epochs
        counts = any(
            (each.stream, each.start) == (repair.stream, repair.answered) for each in begun
        )
        return Repaired(found, gap, repair, counts, tuple(written.failures))

    def _draft(self, epoch: Epoch) -> Repair:
        """A repair as it would be if the table could be read at once."""
        now = self._now
        interval = scan_interval(now, now)
        return Repair(
            name=f"{iso(now)}-{uuid4().hex[:6]}",
            stream=epoch.stream,
            floor=epoch.floor,
            asked=interval.at,
            read=interval.seen,
            listed=written_by(interval.seen),
            began=0,
            since=0,
            until=0,
            answered=0,
            complete=False,
            counts={},
        )

    def _wait(self, read: int) -> None:
        until = written_by(read)
        self.verification.progress.note(
            f"Rows are wrong. Waiting until {iso(until)}: until then, a change from before the scan"
            " may be written. Then every row is compared again."
        )
        while (left := until - self._now) > 0:
            time.sleep(min(left, PAUSE))

    def _caught_up(self, state: State) -> State:
        verification = self.verification
        return catch_up(verification.connection, state, verification.progress)

    def _state(self) -> State:
        return state_of(self.verification.connection, self.verification.archive.table)

    @property
    def _now(self) -> int:
        """AWS's clock."""
        verification = self.verification
        return require(verification.connection.dynamodb, verification.archive.table)[1]

    @property
    def _seconds(self) -> Interval:
        now = self._now
        return scan_interval(now, now)
