"""The same slices, done in three ways: by the threads of one process, by two processes, and as a
map does it, by calls that take JSON and return JSON and have time for one turn each.

Nothing here needs more of AWS than a table and a bucket, which an emulator has.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from backfill.segment import Counts
from backfill.share import Share, scan_with
from restore.load import BatchWritten, SliceLoaded, load_slices, load_with
from restore.order import RestoreOrder
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.key import KeySchema
from stream_backup.core.slice import NameSlice, ScanSlice, slice_of
from stream_backup.distributed.row_objects import RowsWriter, read_rows
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.verify.compare import Suspect
from stream_backup.verify.findings import Findings
from stream_backup.verify.looks import Looked
from stream_backup.verify.packed import PackedRows
from stream_backup.verify.rows import Rows
from stream_backup.verify.shares import (
    CompareJob,
    ScanRowsJob,
    SliceCompared,
    VerifyOrder,
    compare_slices,
    scan_slices,
)
from stream_backup.workers.clients import WorkerClients
from stream_backup.workers.credentials import lend
from stream_backup.workers.crew import Workers, deal

WAYS = ("threads", "processes", "map")


class Done(NamedTuple):
    """What was done of slices, in whatever way: the slices at the end, the sum of their counts, and
    how many calls of a worker that took."""

    slices: tuple[NameSlice | ScanSlice, ...]
    counts: dict[str, int]
    calls: int


def at_once() -> bool:
    """The time of a worker that has time for one turn."""
    return True


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@dataclass(frozen=True)
class Hands:
    """Whoever does slices, in one of the WAYS, with the clients of this connection."""

    way: str
    connection: Connection
    table: str
    schema: KeySchema
    folder: Path

    @property
    def archive(self) -> Archive:
        return self.connection.archive(self.table, self.schema)

    @property
    def dynamodb(self) -> DynamoDB:
        return self.connection.dynamodb

    @property
    def work_bucket(self) -> WorkBucket:
        """Any bucket is one: that of the archive, beside the objects of the table."""
        return WorkBucket(self.connection.s3, self.connection.store.bucket)

    @property
    def crew(self) -> Workers:
        clients = WorkerClients.of(self.connection, self.table, self.schema)
        return Workers(2, clients, partial(lend, self.connection.session))

    def backfill(self, share: Share) -> Done:
        segments = share.run.counts["segments"]
        if self.way == "processes":
            counts = scan_with(self.crew, share, ReadBudget(None), lambda _: None)
            kept = Catalog(self.archive).segment_checkpoints(share.run.name)
            return Done(replace(share, kept=kept).slices, counts.record(), 2)
        if self.way == "threads":
            work = self.dynamodb, self.archive, ReadBudget(None), Event(), _nothing
            found = share.scan(*work)
            return Done(found.share.slices, found.counts.record(), 1)
        calls, whole, slices = 0, Counts(), []
        for number in range(segments):
            record = through_json(_one(share, number).record())
            while True:
                calls += 1
                record, counts = through_json(_backfill_worker(self, record))
                (part,) = Share.of(record).slices
                if part.done:
                    break
            slices.append(part)
            whole.add(Counts(**counts))
        return Done(tuple(slices), whole.record(), calls)

    def restore(self, order: RestoreOrder, parts: Sequence[NameSlice]) -> Done:
        if self.way == "processes":
            return _loaded(load_with(self.crew, order, parts, None, _nothing), 2)
        if self.way == "threads":
            work = self.dynamodb, self.archive, Event(), _nothing
            return _loaded(load_slices(order, parts, *work), 1)
        calls, ended, counts = 0, [], Counter[str]()
        for part in parts:
            record, done = through_json(part.record()), False
            while not done:
                calls += 1
                found = through_json(_restore_worker(self, through_json(order.record()), record))
                counts.update(found["counts"])
                assert not found["failures"]
                record, done = found["slice"], slice_of(found["slice"]).done
            ended.append(slice_of(record))
        return Done(tuple(ended), dict(counts), calls)

    def verify(
        self, order: VerifyOrder, scans: Sequence[ScanSlice], parts: Sequence[NameSlice]
    ) -> tuple[Done, Findings, list[Suspect]]:
        findings, suspects = Findings(), list[Suspect]()
        ended: dict[tuple[str, str], NameSlice] = {}

        def heard(found: Looked | SliceCompared | int) -> None:
            if isinstance(found, SliceCompared):
                findings.add(found.found)
                ended[found.slice.range] = found.slice
            elif isinstance(found, Looked):
                suspects.extend(found.suspects)

        if self.way == "processes":
            hands = deal(scans, 2)
            folders = tuple(self.folder / str(number) for number in range(len(hands)))
            self.crew.run(
                [
                    ScanRowsJob(hand, self.schema, ReadBudget(None), folder)
                    for hand, folder in zip(hands, folders, strict=True)
                ],
                heard,
            )
            self.crew.run([CompareJob(order, hand, folders) for hand in deal(parts, 2)], heard)
            calls = 4
        elif self.way == "threads":
            with closing(Rows()) as rows:
                work = self.schema, ReadBudget(None), Event(), rows, _nothing
                assert all(
                    each.done for each in scan_slices(scans, self.dynamodb, self.table, *work)
                )
                for each in compare_slices(
                    order, parts, self.dynamodb, self.archive, rows, Event(), heard
                ):
                    heard(each)
            calls = 2
        else:
            calls = self._verify_map(order, scans, parts, heard)
        return (
            Done(tuple(ended[each] for each in sorted(ended)), dict(findings.counts), calls),
            findings,
            sorted(suspects, key=lambda each: each.name),
        )

    def _verify_map(
        self,
        order: VerifyOrder,
        scans: Sequence[ScanSlice],
        parts: Sequence[NameSlice],
        heard: Callable[[Looked | SliceCompared | int], None],
    ) -> int:
        bucket, kept, calls = self.work_bucket, list[Any](), 0
        for scan in scans:
            record, done = through_json(scan.record()), False
            while not done:
                calls += 1
                record, more = through_json(_scan_worker(self, record, bucket))
                kept += more
                done = slice_of(record).done
        for part in parts:
            record, done = through_json(part.record()), False
            while not done:
                calls += 1
                work = self, through_json(order.record()), record, bucket, kept, heard
                found = _compare_worker(*work)
                heard(found)
                record = through_json(found.record())["slice"]
                done = slice_of(record).done
        return calls


def _backfill_worker(hands: Hands, record: Any) -> Any:
    share = Share.of(record)
    work = hands.dynamodb, hands.archive, ReadBudget(None), Event(), _nothing
    found = share.scan(*work, over=at_once)
    counts = {name: getattr(found.counts, name) for name in ("read", "written", "existing")}
    return found.share.record(), counts


def _restore_worker(hands: Hands, order: Any, record: Any) -> Any:
    part = slice_of(record)
    assert isinstance(part, NameSlice)
    work = hands.dynamodb, hands.archive, Event(), _nothing
    (found,) = load_slices(RestoreOrder.of(order), [part], *work, over=at_once)
    return found.record()


def _scan_worker(hands: Hands, record: Any, bucket: WorkBucket) -> Any:
    part = slice_of(record)
    assert isinstance(part, ScanSlice)
    rows = RowsWriter(bucket, "sliced")
    work = hands.schema, ReadBudget(None), Event(), rows, _nothing
    (found,) = scan_slices([part], hands.dynamodb, hands.table, *work, over=at_once)
    rows.flush()
    return found.record(), [each.record() for each in rows.kept]


def _compare_worker(
    hands: Hands,
    order: Any,
    record: Any,
    bucket: WorkBucket,
    kept: Sequence[Any],
    heard: Callable[[Looked], None],
) -> SliceCompared:
    part = slice_of(record)
    assert isinstance(part, NameSlice)
    rows = read_rows(bucket, [PackedRows.of(each) for each in kept], part)
    work = hands.dynamodb, hands.archive
    (found,) = compare_slices(
        VerifyOrder.of(order), [part], *work, rows, Event(), heard, over=at_once
    )
    return found


def _loaded(found: Sequence[SliceLoaded], calls: int) -> Done:
    counts = Counter[str]()
    for each in found:
        assert each.slice == each.sure
        counts.update(each.counts)
    return Done(tuple(each.slice for each in found), dict(counts), calls)


def _one(share: Share, number: int) -> Share:
    return Share(share.run, share.empty, share.asked, {number: share.kept[number]})


def _nothing(_: Counts | BatchWritten | int) -> None:
    """Hears nothing."""
