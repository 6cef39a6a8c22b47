"""Taking a table's stream into use, and out of it: what `enable` and `disable` do."""

import time
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive import Archive
from stream_backup.change import VIEWS
from stream_backup.coverage import Reader, Stream
from stream_backup.dynamodb import Answer, DynamoDB
from stream_backup.errors import UsageError
from stream_backup.meta import Meta
from stream_backup.moment import from_iso, iso
from stream_backup.survey import Live, last_moment
from stream_backup.table import describe, require

VIEW = "NEW_AND_OLD_IMAGES"


def enable(dynamodb: DynamoDB, archive: Archive, reader: Reader) -> tuple[Stream, bool]:
    """Switches the table's stream on, or accepts the one that is, and records it: (the stream, whether it was off).

    Raises UsageError when the stream that is on does not carry new images, or the table cannot be changed right now.
    """
    meta = Meta(archive)
    empty = archive.is_empty() and not meta.streams()  # asked before the stream is on, so that the answer stays true
    live, now = require(dynamodb, archive.table)
    was_off = live.label is None
    if was_off:
        _update(dynamodb, archive.table, {"StreamEnabled": True, "StreamViewType": VIEW})
        live, now = _wait(dynamodb, archive.table)
    view = live.description["StreamSpecification"]["StreamViewType"]
    if view not in VIEWS:
        raise UsageError(
            f"The stream of {archive.table} carries {view}, not what an item became.",
            "If nobody else needs it, switch it off and enable it again: aws dynamodb update-table "
            f"--table-name {archive.table} --stream-specification StreamEnabled=false",
        )
    stream = _record(meta, archive, live, now, reader, empty=empty)
    meta.write_description(stream.label, describe(dynamodb, live.description))
    return stream, was_off


def disable(dynamodb: DynamoDB, archive: Archive) -> tuple[Stream, int]:
    """Switches the stream off and ends its coverage: (the stream, its last exact moment). The archive stays.

    Raises UsageError when no stream is on, or one that was never enabled here.
    """
    meta = Meta(archive)
    live, now = require(dynamodb, archive.table)
    stream = next((stream for stream in meta.streams() if stream.label == live.label), None)
    if stream is None:
        state = "has no stream on" if live.label is None else "has a stream on that this archive does not know"
        raise UsageError(f"{archive.table} {state}.", f"See what is known: stream-backup status {archive.table}")
    end = now - 1
    meta.write_end(stream.label, end, "switched off")  # first: a claim that ends early is safe, one that goes on is not
    _update(dynamodb, archive.table, {"StreamEnabled": False})
    return stream, end


def _update(dynamodb: DynamoDB, table: str, specification: dict[str, Any]) -> Answer:
    try:
        return dynamodb.call("update_table", {"TableName": table, "StreamSpecification": specification})
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("ResourceInUseException", "LimitExceededException"):
            busy = (
                "is being created or changed" if code == "ResourceInUseException" else "cannot be changed: AWS is at a limit"
            )
            raise UsageError(
                f"Table {table} {busy}, so its stream cannot be switched right now.", "Run the same command in a minute."
            ) from error
        raise


def _wait(dynamodb: DynamoDB, table: str) -> tuple[Live, int]:
    while True:
        live, now = require(dynamodb, table)
        if live.label and live.description["TableStatus"] == "ACTIVE":
            request = {"StreamArn": live.description["LatestStreamArn"], "Limit": 1}
            if dynamodb.call("describe_stream", request).data["StreamDescription"]["StreamStatus"] == "ENABLED":
                return live, now
        time.sleep(0.5)


def _record(meta: Meta, archive: Archive, live: Live, now: int, reader: Reader, *, empty: bool) -> Stream:
    label = str(live.label)
    known = meta.streams()
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
    if not same and known and known[-1].label not in meta.ends():
        previous = known[-1]
        end = last_moment(archive, previous, meta.runs(), meta.checkpoint(previous.label), stream.floor)
        meta.write_end(previous.label, end, f"replaced by the stream of {iso(stream.floor)}")
    meta.write_stream(stream)
    return stream
