"""A distributed restore into a new table: its slices are ranges of names. A worker loads its slice
in waves. How far the restore has come is recorded after each round in the tags of the table, as by
a local restore, so either kind resumes the other; within a round the reports in the work bucket
have it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore.kept import DoneBlocks
from restore.load import LISTED, BatchWritten, SliceLoaded, load_slices
from restore.order import RestoreOrder
from restore.target import Target
from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Live, TableDescription
from stream_backup.core.rounds import list_again
from stream_backup.core.slice import NameSlice, Slice
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.parts import AT_ONCE, Parts
from stream_backup.distributed.records import DistributedJob, JobFailure, Report, add
from stream_backup.distributed.run import DistributedRun
from stream_backup.distributed.task import LaterStage
from stream_backup.distributed.waves import do_in_waves
from stream_backup.distributed.worker import left_of
from stream_backup.errors import ArchiveError, IncompleteError

ROWS_A_SLICE = 100_000
"""Rows of a slice of the first round. A worker loads them in a minute or two."""

REQUESTS = ("list", "get", "head")


def run_of(target: Target, live: Live) -> str:
    """Returns the name of the run: the same for the same restore into the same table, and another
    one for a table that was created again under the name of a deleted one."""
    facts = [target.identity, target.arn, live.description.get("TableId"), live.created]
    return digest(json.dumps(facts).encode())[:24]


def slices_of(found: DistributedRun, run: str, target: Target, rows: int) -> tuple[Slice, ...]:
    """Returns what is left of a restore of about so many rows: what the last job of this run has
    left and the tags of the table do not have as done. Without such a job, the
    tags alone say what is left."""
    pieces: Sequence[Slice] = target.done.left(1)
    if target.resumed and (job := found.newest(run)):
        kept = [each for each in left_of(found.bucket, job) if isinstance(each, NameSlice)]
        pieces = [each for each in kept if not target.done.has(each)]
    return list_again(pieces, found.workers, ROWS_A_SLICE / max(rows, 1))


def settings_of(
    order: RestoreOrder,
    schema: KeySchema,
    target: Target,
    facts: Mapping[str, Any],
    *,
    incomplete_ok: bool,
    rows: int = 0,
) -> dict[str, Any]:
    """Returns the settings of the job that fills `target`. `facts` say for its report which moment
    of which table it is, and `rows` is about how many rows it has, 0 where that is unknown."""
    return {
        "order": order.record(),
        "key": [list(each) for each in schema.attributes],
        "arn": target.arn,
        "identity": target.identity,
        "description": target.description.record(),
        "resumed": target.resumed,
        "incomplete_ok": incomplete_ok,
        "facts": dict(facts),
        "rows": rows,
    }


@dataclass(frozen=True, slots=True)
class RestoreTask:
    """The restore of one job, a `JobTask`."""

    connection: Connection
    job: DistributedJob

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Loads a slice from where it is done on, wave by wave, each of many small parts. What a
        wave has done counts up to the first part of it that is not done. A wave in which an item
        failed counts for nothing, and is left with the rest of the slice."""
        assert isinstance(piece, NameSlice)
        order, archive = RestoreOrder.of(self._given["order"]), self._archive()
        before = dict(archive.store.requests)
        over, stop = limits.time.over, limits.time.stop

        def load(parts: Sequence[NameSlice]) -> list[SliceLoaded]:
            work = self.connection.dynamodb, archive, stop, unheard, over.is_set, limits.writing
            return load_slices(order, parts, *work, at_once=AT_ONCE)

        parts = Parts.of(piece, self._given["rows"], limits.writing.units)
        repeat = lambda loaded: bool(self._failures(loaded))  # noqa: E731
        found = do_in_waves(piece, parts, load, limits.time, repeat)
        failures = self._failures(found.repeated)
        asked = {kind: archive.store.requests[kind] - before.get(kind, 0) for kind in REQUESTS}
        counts = add([*map(counts_of, found.done), asked])
        pending = add(map(counts_of, found.repeated))
        advanced = found.slice != piece
        return Report(found.slice, counts, advanced=advanced, pending=pending, failures=failures)

    @property
    def later(self) -> Sequence[LaterStage]:
        """None: there is one stage."""
        return ()

    def record(self, left: Sequence[Slice]) -> None:
        """Records in the tags of the table what is done."""
        names = [each for each in left if isinstance(each, NameSlice)]
        self._target.keep(DoneBlocks.all_but(names))

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        """Puts the settings of the table back, so that it is no longer marked as partly filled, as
        a local restore does. Raises what a local restore raises when items could not be
        restored."""
        if left and counts.get("unreadable") and not self._given["incomplete_ok"]:
            raise ArchiveError(
                f"{counts['unreadable']} items have a version in the archive that cannot be read."
                f" They were not restored: {_lines(failures)}",
                "Everything else was restored, unless an error above says otherwise.",
            )
        if left and counts.get("failed"):
            raise IncompleteError(
                f"{counts['failed']} items are not as they were at that moment: {_lines(failures)}",
                "Fix the cause, then run the same command again to resume.",
            )
        if not left:
            self._target.finish()
        return {"into": self._order_into, "resumed": self._given["resumed"]}

    @property
    def _given(self) -> Mapping[str, Any]:
        return self.job.settings

    @property
    def _order_into(self) -> str:
        return str(self._given["order"]["into"])

    @property
    def _target(self) -> Target:
        given = self._given
        description = TableDescription.of(given["description"])
        known = self.connection.dynamodb, self._order_into, given["arn"], description
        return Target(*known, given["identity"], resumed=given["resumed"], had_rows=False)

    def _archive(self) -> Archive:
        schema = KeySchema(tuple((name, kind) for name, kind in self._given["key"]))
        return self.connection.archive(self.job.table, schema)

    def _failures(self, loaded: Sequence[SliceLoaded]) -> tuple[JobFailure, ...]:
        found = [
            JobFailure.of_error(IncompleteError(line)) for each in loaded for line in each.failures
        ]
        if not self._given["incomplete_ok"]:
            found += [
                JobFailure.of_error(error) for each in loaded for error in each.counted.unreadable
            ]
        return tuple(found[:LISTED])


def unheard(_: BatchWritten) -> None:
    """Nobody waits for single batches."""


def counts_of(loaded: SliceLoaded) -> dict[str, int]:
    """Returns what was done of a slice, by the names of a report."""
    counts = loaded.counts
    return counts | {"put": counts["written"] + counts["failed"]}


def _lines(failures: Sequence[JobFailure]) -> str:
    return "; ".join(dict.fromkeys(each.text.rstrip(".") for each in failures)) + "."
