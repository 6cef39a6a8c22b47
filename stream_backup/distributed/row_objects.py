"""The rows of a scan in the work bucket, from which the workers of the next stage read those of
their names.

Each call of a worker writes objects with names of their own, and its report has them. What a worker
wrote that was killed, or whose report does not count, is read by nobody.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from stream_backup.core.slice import NameSlice
from stream_backup.distributed.work_bucket import READERS, WorkBucket
from stream_backup.verify.compare import Row
from stream_backup.verify.packed import (
    PackedRows,
    SortedRows,
    is_open,
    pack_row,
    pack_rows,
    rows_at,
    split_rows,
)

OBJECT_BYTES = 64 * 1024**2
"""Size of an object of rows at most, give or take a page of the scan. A worker keeps them in memory
until then: 64 MiB are about 600,000 rows with keys of 70 bytes, which take about 160 MiB there."""


class RowsWriter:
    """Writes the rows of one call of a worker. `kept` are the objects written so far."""

    def __init__(self, bucket: WorkBucket, job: str) -> None:
        self._bucket, self._job = bucket, job
        self._rows: list[bytes] = []
        self._bytes = 0
        self.kept: list[PackedRows] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Adds rows; writes an object when there are enough."""
        for row in rows:
            packed = pack_row(row)
            self._rows.append(packed)
            self._bytes += len(packed)
        if self._bytes >= OBJECT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that are not written yet."""
        if not self._rows:
            return
        path = self._bucket.path(self._job, f"rows/{uuid4().hex}")
        body, kept = pack_rows(self._rows, path)
        self._bucket.put(path, body)
        self.kept.append(kept)
        self._rows, self._bytes = [], 0


def read_rows(bucket: WorkBucket, objects: Sequence[PackedRows], part: NameSlice) -> SortedRows:
    """Returns the rows of these objects that are in a slice and not done, with two requests for
    each object."""

    def read(each: PackedRows) -> list[bytes]:
        where = rows_at(bucket.get(each.path, *each.index(part)))
        if where.first == where.end:
            return []
        found = split_rows(bucket.get(each.path, *where))
        return [row for row in found if is_open(row, part)]

    with ThreadPoolExecutor(READERS) as threads:
        return SortedRows(row for rows in threads.map(read, objects) for row in rows)
