"""The course of one drill: what it does, step by step, and what is known of it so far.

Restores and rewinds are those of the product. Everything that is written goes to the scratch table:
`OnlyScratch` sends no other write.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from restore.destination import Work
from restore.live_table import Copy, LiveTable
from restore.new_table import NewTable, identity_of
from restore.plan import Tally
from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.catch_up import catch_up
from stream_backup.capture.point import RestorePoint, resolve
from stream_backup.capture.state import state_of
from stream_backup.core.drill import DrillRecord
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.core.records import TableDescription
from stream_backup.drill.choice import DrillChoice
from stream_backup.drill.copy import Compared, Comparer
from stream_backup.drill.judgement import Done, how_compared, judge, troubles_of
from stream_backup.drill.lifetime import remove_leftovers, scratch_table
from stream_backup.drill.live import LiveComparer
from stream_backup.drill.prepare import (
    description_at,
    exact_age,
    point_of,
    random_for,
    second_moment,
)
from stream_backup.drill.scratch import OnlyScratch, Scratch, description_of, require_scratch
from stream_backup.errors import ArchiveError, StreamBackupError
from stream_backup.progress import Progress


class StoppedError(StreamBackupError):
    """The drill was stopped, or its time was over."""


@dataclass(slots=True)
class Course:
    """`record` has what is known so far. `stop` ends the drill early."""

    connection: Connection
    choice: DrillChoice
    progress: Progress
    stop: Event
    scratch: Scratch
    record: DrillRecord
    compared: Compared = field(default_factory=Compared)
    troubles: list[str] = field(default_factory=list)

    def learn(self, **facts: Any) -> None:
        """Adds facts to the record."""
        self.record = replace(self.record, **facts)

    def run(self) -> None:
        """Makes the drill; the record then has its result. Raises StoppedError when it was ended
        early, CoverageError when there is no moment to restore, and whatever AWS raises."""
        connection, table = self.connection, self.record.table
        state = state_of(connection, table)
        left = remove_leftovers(connection.dynamodb, self.scratch, state.now, self.progress)
        self.learn(removed=tuple(left))
        if self.choice.present:
            state = catch_up(connection, state, self.progress)
        self.learn(exact_age=exact_age(state))
        point = point_of(connection, state, self.choice, self.record.seed, self.progress)
        self.learn(moment=point.moment)
        description = description_at(connection, point)
        schema = KeySchema.of(description.table)
        whole = connection.archive(table, schema)
        archive = self.choice.of(whole, random_for(self.record.seed, "part"), self.stop)
        self.learn(scratch=self.scratch.name)
        with (
            scratch_table(connection.dynamodb, self.scratch, self.progress) as dynamodb,
            RequestPool() as pool,
        ):
            copy = Comparer(
                dynamodb, self.scratch.name, archive, schema, pool, self.stop, self.progress
            )
            self._restore(archive, point, description, dynamodb, pool)
            self._compare(copy, point, rewound=False)
            if self.choice.present:
                self._compare_live(archive, schema, pool)
            self._rewind(copy, point)
        self._judge()

    def _restore(
        self,
        archive: Archive,
        point: RestorePoint,
        description: TableDescription,
        dynamodb: OnlyScratch,
        pool: Executor,
    ) -> None:
        self.progress.note(
            f"Restoring {self.record.part} of {point.table} as of {iso(point.moment)} to scratch"
            f" table {self.scratch.name}."
        )
        chosen = Selection(archive)
        into = NewTable(
            name=self.scratch.name,
            description=description_of(description, self.scratch),
            identity=identity_of(self.record.archive, chosen, point, incomplete_ok=False),
            rate=None,
            overwrite=False,
            stream=False,
        )
        work = Work(dynamodb, chosen, pool, Tally(), self.stop, self.progress)
        began = time.monotonic()
        done = into.execute(work, into.planner(chosen, point, counting=False))
        seconds = max(time.monotonic() - began, 0.001)
        self._go_on()
        self.learn(
            rows=done.written,
            restore_seconds=round(seconds, 3),
            rows_per_second=round(done.written / seconds, 1),
        )
        self._trouble("restored", done.left, work.tally.unreadable)

    def _rewind(self, copy: Comparer, point: RestorePoint) -> None:
        """Rewinds the copy to another moment of the same epoch, and compares it again."""
        moment = second_moment(point, self.record.seed, self.progress)
        if moment is None:
            return
        to = resolve(self.connection, point.state, moment, self.progress, incomplete_ok=False)
        self.progress.note(f"Rewinding the copy to {iso(moment)}.")
        require_scratch(copy.dynamodb, self.scratch)
        self.learn(rewound_to=moment)
        chosen = Selection(copy.archive)
        work = Work(copy.dynamodb, chosen, copy.pool, Tally(), self.stop, self.progress)
        table = LiveTable(None, copy=Copy(self.scratch.name, point))
        try:
            done = table.execute(work, table.planner(chosen, to, counting=False))
        except ArchiveError as error:
            self._go_on()
            self._trouble("rewound", (), [error])
            return
        self._go_on()
        self._trouble("rewound", done.left, ())
        self._compare(copy, to, rewound=True)

    def _compare(self, copy: Comparer, point: RestorePoint, *, rewound: bool) -> None:
        copy.compare(point, self.compared)
        self._go_on()
        self.learn(compared=how_compared(rewound=rewound))
        self._count()

    def _count(self) -> None:
        found = self.compared
        self.learn(
            compared_items=found.items,
            compared_versions=found.versions,
            differences=found.differences,
            examples=tuple(found.examples),
        )

    def _compare_live(self, archive: Archive, schema: KeySchema, pool: Executor) -> None:
        live = LiveComparer(
            self.connection, archive, self.scratch.name, schema, pool, self.stop, self.progress
        )
        wrong, keys = live.compare()
        self._go_on()
        self.learn(live=True)
        if wrong:
            self.troubles.append(f"{wrong:,} rows of the live table do not match the archive.")
            self.compared.found_live(wrong, keys)
            self._count()

    def _trouble(self, what: Done, left: Sequence[str], unreadable: Sequence[ArchiveError]) -> None:
        """Keeps what the product itself reports as not done. Why AWS refused a row is only
        noted."""
        first = str(unreadable[0]) if unreadable else ""
        self.troubles += troubles_of(what, len(left), len(unreadable), first)
        if left:
            self.progress.note(f"Not {what}: {left[0]}")

    def _go_on(self) -> None:
        """Raises StoppedError once the drill is to end: what was found since is not complete."""
        if self.stop.is_set():
            raise StoppedError("It was stopped, or its time was over, before it was complete.")

    def _judge(self) -> None:
        found = self.compared
        result, reason = judge(found.copy_differs, found.items, self.troubles)
        self.learn(result=result, reason=reason)
