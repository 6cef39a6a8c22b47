"""The bare clients, which are the upper limit.

The same clients send the same requests, which are built before the measurement, and the answers
are ignored. Objects are written and read by obstore in threads. Listings, scans and batches are
sent by botocore, which does not parse the answers.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore

from bench import rows
from bench.clients import Endpoints, Session, dynamodb, objects
from stream_backup.archive.slices import SLICES
from stream_backup.core.change import Change

Work = Callable[[], int]

THREADS = 64
"""The number that our code uses. 8 and 16 are not measurably faster."""

Put = tuple[str, bytes, dict[str, str]]


def capture(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes one batch of the stream with `count` changes to S3."""
    changes = [Change.streamed(record) for record in rows.event(count)["Records"]]
    return _putting(endpoints, [_put("orders", change) for change in changes], "overwrite")


def _putting(endpoints: Endpoints, puts: list[Put], mode: Any) -> Work:
    client, pool = objects(endpoints), ThreadPoolExecutor(THREADS)

    def send(part: list[Put]) -> None:
        for path, payload, metadata in part:
            obstore.put(client, path, payload, attributes=metadata, mode=mode, use_multipart=False)

    def work() -> int:
        list(pool.map(send, (puts[index::THREADS] for index in range(THREADS))))
        return len(puts)

    return work


def backfill(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes a table of `count` items to S3."""
    table = rows.table_name(count)
    items = [json.loads(rows.body(number, 0)) for number in range(count)]
    changes = [Change.scanned(item, rows.SCHEMA, rows.BASE, rows.BASE, 0) for item in items]
    puts = _putting(endpoints, [_put(table, change) for change in changes], "create")
    source, pool = _unread(dynamodb(endpoints)), ThreadPoolExecutor(4)

    def scan(number: int) -> None:
        first, end = count * number // 4, count * (number + 1) // 4
        for start in range(first, end, 1000):
            request: dict[str, Any] = {"TableName": table, "Segment": number, "TotalSegments": 4}
            if start > first:
                request["ExclusiveStartKey"] = rows.key(start - 1)
            source.call("scan", request)

    def work() -> int:
        list(pool.map(scan, range(4)))
        return puts()

    return work


def restore(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes `count` items from S3 into a table."""
    table = rows.table_name(count)
    read, into, pool = (
        _reading(endpoints, count, None),
        _unread(dynamodb(endpoints)),
        ThreadPoolExecutor(THREADS),
    )
    requests = [b'{"PutRequest":{"Item":' + rows.body(number, 3) + b"}}" for number in range(count)]
    start = b'{"RequestItems":{"' + table.encode() + b'":['
    batches = [
        start + b",".join(requests[place : place + 25]) + b"]}}" for place in range(0, count, 25)
    ]

    def work() -> int:
        done = read()
        list(pool.map(lambda batch: into.call("batch_write_item", batch), batches))
        return done

    return work


def export(endpoints: Endpoints, count: int, path: Path) -> Work:
    """Returns the work that writes `count` items from S3 to the file `path`."""
    return _reading(endpoints, count, path)


def _reading(endpoints: Endpoints, count: int, path: Path | None) -> Work:
    """Returns the work that lists all versions and then reads one version of each row."""
    table = rows.table_name(count)
    known = rows.table(count)
    wanted = [
        (f"{table}/{name}", f"{number}.3")
        for name, number in zip(known.names, known.numbers, strict=True)
    ]
    s3, client, pool = (
        Session(endpoints).client("s3"),
        objects(endpoints),
        ThreadPoolExecutor(THREADS),
    )
    # For all services, because botocore searches a page for errors before any other handler.
    s3.meta.events.register_first("before-parse.*.*", _drop_listing)

    def walk(digit: str) -> None:
        first, end = known.after(digit, "")
        for place in range(first, end, 200) or [first]:
            markers = (
                {"KeyMarker": f"{table}/{known.names[place - 1]}", "VersionIdMarker": "0"}
                if place > first
                else {}
            )
            s3.list_object_versions(Bucket=rows.BUCKET, Prefix=f"{table}/{digit}", **markers)

    def read(part: list[tuple[str, str]]) -> None:
        lines = path.open("ab", buffering=1 << 20) if path else None
        for name, version in part:
            body = obstore.get(client, name, options={"version": version}).bytes().to_bytes()
            if lines:
                lines.write(body)
        if lines:
            lines.close()

    def work() -> int:
        list(pool.map(walk, SLICES))
        list(pool.map(read, (wanted[index::THREADS] for index in range(THREADS))))
        return len(wanted)

    return work


def _put(table: str, change: Change) -> Put:
    return f"{table}/{change.name}", change.payload, change.metadata


def _unread(client: Any) -> Any:
    """Returns the client; its answers are discarded before they are parsed."""

    def drop(response_dict: dict[str, Any], **_: Any) -> None:
        response_dict["body"] = b"{}"

    client.tables.meta.events.register_first("before-parse.dynamodb", drop)
    return client


def _drop_listing(response_dict: dict[str, Any], event_name: str, **_: Any) -> None:
    if event_name.endswith(".ListObjectVersions"):
        response_dict["body"] = b"<ListVersionsResult/>"
