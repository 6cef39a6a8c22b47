"""A distributed verification in two stages: a table can be read only by segments, and an archive
only by names. The workers of the first stage scan segments and put their rows into the work bucket.
Those of the second compare slices of names with the rows of all segments.

What the second stage has left open is in the work bucket then. Whoever follows the run compares it
again with the table, as after a local verification with several processes: that takes minutes of
waiting, and a request for each row that is wrong or was written since it was scanned.

A verification is of the time in which it ran, so it is not resumed: of two halves that were
compared at different times, nobody could say when the archive was right. Another one begins from
the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.core.key import KeySchema
from stream_backup.core.rounds import MOST_SLICES
from stream_backup.core.slice import NameSlice, ScanSlice, Slice, cut_names
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.open_rows import write_open
from stream_backup.distributed.records import DistributedJob, JobFailure, Report, add
from stream_backup.distributed.row_objects import RowsWriter, read_rows
from stream_backup.distributed.task import Begun, LaterStage
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.verify.compare import Suspect
from stream_backup.verify.looks import Looked
from stream_backup.verify.packed import PackedRows
from stream_backup.verify.shares import SliceCompared, VerifyOrder, compare_slices, scan_slices

STAGES = 2

ROWS_A_COMPARISON = 2_000_000
"""Rows of a slice of the second stage, which a worker compares in a few minutes. Each slice reads
of every object of rows, so smaller slices would take more requests."""

COMPARED_BYTES = 256 * 1024**2
"""Bytes of rows that a worker compares at once. They take about 400 MiB of its memory, of which it
has 1,769. A larger slice is compared in waves."""

FEWEST_SLICES = 16

AT_ONCE, PART_ROWS = 4, 10_000
"""Parts of a wave, which a worker compares at once because each waits for S3 at another time; of a
few rows it makes none, since each part takes listings of its own."""

REQUESTS = ("list", "get", "head")


def settings_of(order: VerifyOrder, schema: KeySchema, began: int) -> dict[str, Any]:
    """Returns the settings of the job that compares a table; it was started in the second
    `began`."""
    key = [list(each) for each in schema.attributes]
    return {"order": order.record(), "key": key, "began": began}


def slices_for(rows: int, size: int) -> int:
    """Returns the number of slices of the second stage for so many rows of so many bytes."""
    wanted = max(FEWEST_SLICES, ceil(rows / ROWS_A_COMPARISON), ceil(size / COMPARED_BYTES))
    return min(wanted, MOST_SLICES)


@dataclass(frozen=True, slots=True)
class VerifyTask:
    """The verification of one job, a `JobTask`. Its first stage scans."""

    connection: Connection
    job: DistributedJob
    bucket: WorkBucket

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Scans a segment from where it is done on, and stores its rows."""
        assert isinstance(piece, ScanSlice)
        rows, stop = RowsWriter(self.bucket, self.job.name), limits.time.stop
        work = self.connection.dynamodb, self.job.table, _schema(self.job), limits.reading, stop
        (reached,) = scan_slices([piece], *work, rows, _unheard, limits.time.over.is_set)
        rows.flush()
        kept = [each.record() for each in rows.kept]
        counts = {"rows": sum(each.rows for each in rows.kept)}
        return Report(reached, counts, advanced=reached != piece, kept=kept)

    def record(self, left: Sequence[Slice]) -> None:
        """Does nothing: a verification is not resumed."""

    @property
    def later(self) -> Sequence[LaterStage]:
        """The comparison."""
        return (CompareStage(self.connection, self.job, self.bucket),)

    def finish(
        self,
        counts: Mapping[str, int],  # noqa: ARG002 - whoever follows the run reports them
        failures: Sequence[JobFailure],  # noqa: ARG002 - a comparison has none
        *,
        left: int,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Returns the floor of the epoch that the table was compared with."""
        return {"floor": self.job.settings["order"]["floor"]}


@dataclass(frozen=True, slots=True)
class CompareStage:
    """The second stage of a verification: names."""

    connection: Connection
    job: DistributedJob
    bucket: WorkBucket

    def begin(self, counts: Mapping[str, int], kept: Sequence[Mapping[str, Any]]) -> Begun:
        """Returns slices of all names. Their workers must know how late changes were announced up
        to now: what was written later is read whenever it matters."""
        size = sum(PackedRows.of(each).size for each in kept)
        order = VerifyOrder.of(self.job.settings["order"])
        known = Catalog(self._archive()).lateness(self.connection.clock())
        lateness = known.of_stream(announces=order.lateness.announces)
        older = order.older and known.of_stream(announces=order.older.announces)
        settings = replace(order, lateness=lateness, older=older).record()
        return Begun(cut_names(slices_for(counts.get("rows", 0), size)), settings)

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Compares a slice from where it is done on, wave by wave, and stores what is left open. A
        wave that was stopped counts for nothing."""
        assert isinstance(piece, NameSlice)
        start = self.bucket.stage(self.job.name, 1)
        assert start
        order = VerifyOrder.of(start.settings)
        objects = [PackedRows.of(each) for each in start.kept]
        size, archive = sum(each.size for each in objects), self._archive()
        over, stop = limits.time.over, limits.time.stop
        before, at = dict(archive.store.requests), piece
        counts: dict[str, int] = {}
        kept: list[Mapping[str, Any]] = []
        while not at.done and not stop.is_set():
            wave = at.split(ceil(at.left * size / COMPARED_BYTES))[0]
            rows, looked = read_rows(self.bucket, objects, wave), list[Looked]()
            work = self.connection.dynamodb, archive, rows, stop, looked.append, over.is_set
            parts = wave.split(min(AT_ONCE, ceil(len(rows) / PART_ROWS)))
            compared = compare_slices(order, parts, *work)
            if stop.is_set():
                break
            done = _up_to_the_first_left(compared)
            at = _reached(at, done)
            counts = add([counts, *map(_counts_of, done)])
            examples = [example for each in done for example in each.found.examples]
            kept += write_open(self.bucket, self.job.name, _suspects(looked, done), examples)
            if over.is_set():
                break
        asked = {kind: archive.store.requests[kind] - before.get(kind, 0) for kind in REQUESTS}
        return Report(at, add([counts, asked]), advanced=at != piece, kept=kept)

    def record(self, left: Sequence[Slice]) -> None:
        """Does nothing: a verification is not resumed."""

    def _archive(self) -> Archive:
        return self.connection.archive(self.job.table, _schema(self.job))


def _schema(job: DistributedJob) -> KeySchema:
    return KeySchema(tuple((name, kind) for name, kind in job.settings["key"]))


def _unheard(_: int) -> None:
    """Nobody waits for single pages."""


def _up_to_the_first_left(compared: Sequence[SliceCompared]) -> list[SliceCompared]:
    """Returns the parts of a wave that count: in order, up to the first one that is not done."""
    done = []
    for each in sorted(compared, key=lambda each: each.slice.range):
        done.append(each)
        if not each.slice.done:
            break
    return done


def _reached(piece: NameSlice, done: Sequence[SliceCompared]) -> NameSlice:
    for each in done:
        if each.slice.after:
            piece = piece.reached(each.slice.after)
    return piece


def _suspects(looked: Sequence[Looked], done: Sequence[SliceCompared]) -> list[Suspect]:
    """Returns what these parts have left open, in order of name."""
    ranges = {each.slice.range for each in done}
    found = [each for turn in looked if turn.slice.range in ranges for each in turn.suspects]
    return sorted(found, key=lambda each: each.name)


def _counts_of(compared: SliceCompared) -> dict[str, int]:
    return compared.found.counts | {"versions": compared.found.versions}
