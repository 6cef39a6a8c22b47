"""A table's stream switched on and recorded, or switched off: what `enable` and `disable` do with
it."""

import time
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.status import last_moment, unrecorded_end
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import may_have_been_written
from stream_backup.aws.table import describe, require
from stream_backup.capture.unread import record_unread
from stream_backup.core.change import VIEWS
from stream_backup.core.moment import from_iso
from stream_backup.core.records import End, Live, ReaderKind, Stream
from stream_backup.core.time_rule import first_stamp, floor_of, on_until
from stream_backup.errors import UsageError

VIEW = "NEW_AND_OLD_IMAGES"

REPLACED = "replaced by the stream of"
"""How the reason of an end begins that `enable` recorded, and not `disable`."""

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
    _require_one_place(archive, live, catalog.streams())
    was_off = live.label is None
    if was_off:
        _wait_for_next_second(dynamodb, archive.table, now)
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
    """Switches the stream off and ends its coverage; if it is off already and no end was recorded,
    records how far the archive is certain. Returns the stream and its last exact moment. The
    archive stays.

    Raises UsageError when no stream is on and nothing is left to record, or when the stream was
    never enabled in this archive.
    """
    catalog = Catalog(archive)
    live, now = require(dynamodb, archive.table)
    streams = catalog.streams()
    stream = next((stream for stream in streams if stream.label == live.label), None)
    if stream:
        end = End(on_until(now), "switched off")
        # Recorded last: while AWS refuses to switch the stream off, its coverage goes on.
        _update(dynamodb, archive.table, {"StreamEnabled": False})
    elif live.label is None and streams and streams[-1].label not in catalog.recorded_ends():
        stream = streams[-1]
        end = unrecorded_end(archive, stream, live, now)
    else:
        state = "is off" if live.label is None else "is not known to this archive"
        raise UsageError(
            f"The stream of {archive.table} {state}.",
            f"To see what is known, run: stream-backup status {archive.table}",
        )
    catalog.write_end(stream.label, end)
    return stream, end.end


def _require_one_place(archive: Archive, live: Live, known: list[Stream]) -> None:
    """Raises UsageError when the archive holds a table of the same name in another Region or
    account: the histories of two tables cannot be told apart."""
    here = _place(live.description.get("TableArn", ""))
    for there in (_place(stream.arn) for stream in known):
        if here and there and here != there:
            raise UsageError(
                f"This archive already holds table {archive.table} of Region {there[0]}, account"
                f" {there[1]}, so it cannot hold the table of Region {here[0]}, account {here[1]}.",
                "Give each of them a prefix of its own: --archive s3://BUCKET/PREFIX",
            )


def _place(arn: str) -> tuple[str, str] | None:
    """The Region and the account of an ARN, None where an endpoint has other names."""
    parts = arn.split(":")
    return (parts[3], parts[4]) if len(parts) > 5 and parts[2] == "dynamodb" else None


def _update(dynamodb: DynamoDB, table: str, specification: dict[str, Any]) -> None:
    """Switches the stream. AWS refuses to do that twice, so after an answer that was lost, the
    table shows whether it was done."""
    request = {"TableName": table, "StreamSpecification": specification}
    try:
        dynamodb.call("update_table", request)
    except ClientError as error:
        if may_have_been_written(error):
            is_on = require(dynamodb, table)[0].label is not None
            if is_on == specification["StreamEnabled"]:
                return
        busy = _BUSY.get(error.response["Error"]["Code"])
        if busy is None:
            raise
        raise UsageError(
            f"Table {table} {busy}, so its stream cannot be switched now.",
            "Run the same command again in a minute.",
        ) from error


def _wait_for_next_second(dynamodb: DynamoDB, table: str, off: int) -> None:
    """Returns when the second `off`, in which a stream may have gone off, is over: the label of the
    next one must name a later second."""
    while require(dynamodb, table)[1] <= off:
        time.sleep(0.2)


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
    taken = same is not None and same.reader == "follow"
    if same and taken:
        record_unread(catalog, same, now)
    stream = Stream(
        label=label,
        arn=live.description["LatestStreamArn"],
        table_id=live.description.get("TableId", ""),
        floor=same.floor if same else floor_of(from_iso(label), empty=empty),
        empty=same.empty if same else empty,
        reader=reader,
        recorded=same.recorded if same and taken else now,  # what it has read counts from then on
        # An older release may have written changes of a stream that it enabled.
        announces=same.announces if same else True,
    )
    if not same and known and known[-1].label not in catalog.ends():
        previous = known[-1]
        end = last_moment(archive, previous, first_stamp(from_iso(label)))
        reason = f"{REPLACED} {label}"
        catalog.write_end(previous.label, End(end, reason))
    catalog.write_stream(stream)
    return stream
