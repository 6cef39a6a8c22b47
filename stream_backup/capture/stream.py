"""A table's stream switched on and recorded, or switched off: what `enable` and `disable` do with
it."""

import time
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.status import last_moment
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.aws.table import describe, require
from stream_backup.core.change import VIEWS
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import End, Live, ReaderKind, Stream
from stream_backup.errors import UsageError

VIEW = "NEW_AND_OLD_IMAGES"

_BUSY = {
    "ResourceInUseException": "is being created or changed",
    "LimitExceededException": "cannot be changed, because AWS has reached a limit",
}


def switch_on(dynamodb: DynamoDB, archive: Archive, reader: ReaderKind) -> tuple[Stream, bool]:
    """Switches the table's stream on, or accepts the one that is on, and records it. Returns the
    stream and whether it was off before.

    Raises UsageError when the stream that is on has no new images, or when the table cannot be
    changed now.
    """
    catalog = Catalog(archive)
    # Asked before the stream is on, so that the answer stays true.
    empty = archive.is_empty() and not catalog.streams()
    live, now = require(dynamodb, archive.table)
    was_off = live.label is None
    if was_off:
        _update(dynamodb, archive.table, {"StreamEnabled": True, "StreamViewType": VIEW})
        live, now = _wait(dynamodb, archive.table)
    view = live.description["StreamSpecification"]["StreamViewType"]
    if view not in VIEWS:
        raise UsageError(
            f"The stream of {archive.table} has the view type {view}, which does not contain new"
            " images.",
            "If nothing else uses this stream, switch it off and run enable again: aws dynamodb "
            f"update-table --table-name {archive.table} --stream-specification StreamEnabled=false",
        )
    stream = _record(catalog, archive, live, now, reader, empty=empty)
    catalog.write_description(stream.label, describe(dynamodb, live.description))
    return stream, was_off


def switch_off(dynamodb: DynamoDB, archive: Archive) -> tuple[Stream, int]:
    """Switches the stream off and ends its coverage. Returns the stream and its last exact moment.
    The archive stays.

    Raises UsageError when no stream is on, or one that was never enabled in this archive.
    """
    catalog = Catalog(archive)
    live, now = require(dynamodb, archive.table)
    stream = next((stream for stream in catalog.streams() if stream.label == live.label), None)
    if stream is None:
        state = "is off" if live.label is None else "is not known to this archive"
        raise UsageError(
            f"The stream of {archive.table} {state}.",
            f"To see what is known, run: stream-backup status {archive.table}",
        )
    end = now - 1
    # Recorded first: a claim that ends too early is safe, one that ends too late is not.
    catalog.write_end(stream.label, End(end, "switched off"))
    _update(dynamodb, archive.table, {"StreamEnabled": False})
    return stream, end


def _update(dynamodb: DynamoDB, table: str, specification: dict[str, Any]) -> Answer:
    request = {"TableName": table, "StreamSpecification": specification}
    try:
        return dynamodb.call("update_table", request)
    except ClientError as error:
        busy = _BUSY.get(error.response["Error"]["Code"])
        if busy is None:
            raise
        raise UsageError(
            f"Table {table} {busy}, so its stream cannot be switched now.",
            "Run the same command again in a minute.",
        ) from error


def _wait(dynamodb: DynamoDB, table: str) -> tuple[Live, int]:
    while True:
        live, now = require(dynamodb, table)
        if live.label and live.description["TableStatus"] == "ACTIVE":
            request = {"StreamArn": live.description["LatestStreamArn"], "Limit": 1}
            found = dynamodb.call("describe_stream", request).data["StreamDescription"]
            if found["StreamStatus"] == "ENABLED":
                return live, now
        time.sleep(0.5)


def _record(
    catalog: Catalog, archive: Archive, live: Live, now: int, reader: ReaderKind, *, empty: bool
) -> Stream:
    label = str(live.label)
    known = catalog.streams()
    same = next((stream for stream in known if stream.label == label), None)
    if same and same.reader == reader:
        return same
    stream = Stream(
        label=label,
        arn=live.description["LatestStreamArn"],
        table_id=live.description.get("TableId", ""),
        floor=from_iso(label),
        empty=same.empty if same else empty,
        reader=reader,
        recorded=now,
    )
    if not same and known and known[-1].label not in catalog.ends():
        previous = known[-1]
        kept = catalog.follow_checkpoint(previous.label)
        end = last_moment(archive, previous, catalog.runs(), kept, stream.floor)
        reason = f"replaced by the stream of {iso(stream.floor)}"
        catalog.write_end(previous.label, End(end, reason))
    catalog.write_stream(stream)
    return stream
