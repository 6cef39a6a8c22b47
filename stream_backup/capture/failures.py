"""The failures bucket: batches that Lambda gave up on, with their records, which exist nowhere
else.

Lambda writes one object a batch (AWS Lambda Developer Guide, "Retain discarded records for a
DynamoDB event source in Lambda"), JSON with the event as text in `payload`:

    aws/lambda/<UUID of the mapping>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<random>
                              waits
    done/aws/lambda/…         was redriven
    given-up/aws/lambda/…     was given up, which is an outage

A batch that waits is a hole in history: no moment from its first change on counts as exact.
"""

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from stream_backup.core.change import table_of
from stream_backup.core.coverage import Hole
from stream_backup.core.moment import from_iso
from stream_backup.core.records import Mapping
from stream_backup.core.time_rule import failed_interval
from stream_backup.errors import RecordError

WAITING = "aws/lambda/"
DONE = "done/"
GIVEN_UP = "given-up/"

READERS = 16

_LAST = 2**33
"""A second after every real moment."""

_GONE = {"NoSuchKey", "404"}

_WRITTEN = re.compile(r"/(\d{4}-\d\d-\d\dT\d\d)\.(\d\d)\.(\d\d)-[^/]*")

_UNREADABLE = {"AccessDenied", "403", "NoSuchBucket", "404", "AllAccessDisabled"}


class Place(NamedTuple):
    """Where failed batches are kept: all of a bucket, or those of one mapping, whose table and
    stream are known."""

    bucket: str
    prefix: str = WAITING
    table: str = ""
    stream: str = ""


def places(table: str, mappings: Iterable[Mapping]) -> list[Place]:
    """Returns where the failed batches of these mappings are kept."""
    return [
        Place(mapping.failures, f"{WAITING}{mapping.uuid}/", table, mapping.stream)
        for mapping in mappings
        if mapping.failures
    ]


class FailedBatch(NamedTuple):
    """What an object contains besides its records. A batch that cannot be read counts as one with
    changes of the last day before Lambda wrote it, which its path says; of every second if the path
    does not say it."""

    bucket: str
    path: str
    table: str
    stream: str
    since: int
    until: int
    records: int
    reason: str

    @property
    def hole(self) -> Hole:
        """The changes that wait in this batch."""
        return Hole(self.stream, self.since, self.until)


def waiting(s3: Any, where: Iterable[Place]) -> list[FailedBatch]:
    """Returns every batch that waits in these places, those with the oldest changes first; one GET
    each. Raises ClientError."""
    found = {(place.bucket, path): place for place in where for path in _paths(s3, place)}

    def read(each: tuple[tuple[str, str], Place]) -> FailedBatch | None:
        (bucket, path), place = each
        content = _content(s3, bucket, path)
        return None if content is None else _summary(place, path, content)

    with ThreadPoolExecutor(READERS) as pool:
        batches = [batch for batch in pool.map(read, found.items()) if batch]
    return sorted(batches, key=lambda batch: (batch.since, batch.path))


def records(s3: Any, batch: FailedBatch) -> list[dict[str, Any]]:
    """Returns the batch's stream records. Raises RecordError when the object contains none."""
    content = _content(s3, batch.bucket, batch.path)
    try:
        found = _event(json.loads(content or b"{}"))["Records"]
        if (
            not isinstance(found, list)
            or not found
            or not all(isinstance(record, dict) for record in found)
        ):
            raise TypeError("no list of records")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"s3://{batch.bucket}/{batch.path} contains no records: {type(error).__name__}:"
            f" {error}."
        ) from error
    return found


def move(s3: Any, batch: FailedBatch, aside: str) -> None:
    """Moves the object under the prefix `aside`, unless it is gone. Interrupted between its two
    requests it leaves the batch waiting, so that it is redriven again."""
    source = {"Bucket": batch.bucket, "Key": batch.path}
    try:
        s3.copy_object(Bucket=batch.bucket, Key=aside + batch.path, CopySource=source)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        return
    s3.delete_object(**source)


def is_unreadable(error: ClientError) -> bool:
    """Whether the error says that the bucket may not be read, or does not exist."""
    return error.response["Error"]["Code"] in _UNREADABLE


def _paths(s3: Any, place: Place) -> Iterator[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    return (found["Key"] for page in pages for found in page.get("Contents", []))


def _content(s3: Any, bucket: str, path: str) -> bytes | None:
    """Returns the object, None when it was moved since it was listed."""
    try:
        content: bytes = s3.get_object(Bucket=bucket, Key=path)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            return None
        raise
    return content


def _summary(place: Place, path: str, content: bytes) -> FailedBatch:
    try:
        told = json.loads(content)
        info = told["DDBStreamBatchInfo"]
        table = table_of({"eventSourceARN": info["streamArn"]})
        stream = str(info["streamArn"]).rpartition("/stream/")[2]
    except (ValueError, KeyError, TypeError, RecordError):
        return FailedBatch(
            place.bucket,
            path,
            place.table,
            place.stream,
            *_written_in(path),
            0,
            "not an object that Lambda wrote",
        )
    since, until = _interval(told, info, path)
    reason = (told.get("requestContext") or {}).get("condition") or "unknown"
    return FailedBatch(
        place.bucket,
        path,
        table,
        stream,
        since,
        until,
        int(info.get("batchSize") or 0),
        str(reason),
    )


def _interval(told: dict[str, Any], info: dict[str, Any], path: str) -> tuple[int, int]:
    """Returns the seconds between which the batch's changes happened: as Lambda reports them,
    widened by the records' own."""
    try:
        times = [
            from_iso(info["approximateArrivalOfFirstRecord"]),
            from_iso(info["approximateArrivalOfLastRecord"]),
        ]
    except (ValueError, KeyError, TypeError):
        times = [*_written_in(path)]
    try:
        found = [
            record["dynamodb"]["ApproximateCreationDateTime"] for record in _event(told)["Records"]
        ]
    except (ValueError, KeyError, TypeError):
        return times[0], times[1]
    times += [int(each) for each in found if isinstance(each, int | float) and 0 <= each < _LAST]
    return min(times), max(times)


def _written_in(path: str) -> tuple[int, int]:
    """Returns the seconds in which the changes of a batch with this path can have happened."""
    if found := _WRITTEN.search(path):
        try:
            since, until = failed_interval(from_iso(":".join(found.groups())))
        except ValueError:
            pass
        else:
            return max(0, since), until
    return 0, _LAST


def _event(told: dict[str, Any]) -> dict[str, Any]:
    event = told["payload"]
    found: dict[str, Any] = json.loads(event) if isinstance(event, str) else event
    return found
