"""Failed batches on record, so that a hole stays a hole when its object expires.

The failures bucket keeps a batch for a limited time. Whoever sees a failed batch and may write to
the archive records it, and a redrive or a give-up closes the record before it moves the object. A
reader lists the objects first and the records after that, so it finds at least one of them while
the changes are missing.
"""

from collections.abc import Iterable

from stream_backup.archive.catalog import Catalog
from stream_backup.capture.failures import FailedBatch
from stream_backup.core.records import ClosedHole, HoleRecord

GONE = "its object is no longer in the failures bucket"


def record_holes(catalog: Catalog, batches: Iterable[FailedBatch], now: int) -> None:
    """Records the failed batches of the catalog's table that are not on record yet. `now` is AWS's
    clock."""
    catalog.write_holes(
        HoleRecord(each.bucket, each.path, each.stream, each.since, each.until, now)
        for each in batches
        if each.table == catalog.table
    )


def lost_batches(catalog: Catalog, waiting: Iterable[FailedBatch]) -> list[FailedBatch]:
    """Returns the recorded batches that are neither closed nor among those that wait, those with
    the oldest changes first: their objects are gone, and their changes are not known to be in the
    archive. `waiting` must have been listed before this is called."""
    there = {(batch.bucket, batch.path) for batch in waiting}
    found = [
        FailedBatch(
            bucket=hole.bucket,
            path=hole.path,
            table=catalog.table,
            stream=hole.stream,
            since=hole.since,
            until=hole.until,
            records=0,
            reason=GONE,
        )
        for hole in catalog.open_holes()
        if (hole.bucket, hole.path) not in there
    ]
    return sorted(found, key=lambda batch: (batch.since, batch.path))


def close_hole(catalog: Catalog, batch: FailedBatch, moved: str, now: int) -> None:
    """Records that a batch is no hole any more. `moved` is the prefix that its object is moved
    to."""
    catalog.close_hole(ClosedHole(batch.bucket, batch.path, moved, now))
