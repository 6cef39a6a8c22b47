"""A straightforward boto3 implementation of the hot paths: client methods and a thread pool."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import Any

from bench import rows
from bench.clients import THREADS, Endpoints, plain

Work = Callable[[], int]


def capture(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes one batch of the stream with `count` changes to S3."""
    s3, pool, batch = plain(endpoints, "s3"), ThreadPoolExecutor(THREADS), rows.event(count)

    def put(chain: list[dict[str, Any]]) -> None:
        for record in chain:
            data = record["dynamodb"]
            image = data.get("NewImage")
            s3.put_object(
                Bucket=rows.BUCKET,
                Key=f"orders/{_name(data['Keys'])}",
                Body=json.dumps(image).encode() if image else b"",
                Metadata={
                    "kind": record["eventName"],
                    "at": str(int(data["ApproximateCreationDateTime"])),
                    "sequence": data["SequenceNumber"],
                },
            )

    def work() -> int:
        chains: dict[str, list[dict[str, Any]]] = {}
        for record in batch["Records"]:
            chains.setdefault(_name(record["dynamodb"]["Keys"]), []).append(record)
        list(pool.map(put, chains.values()))
        return len(batch["Records"])

    return work


def backfill(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes a table of `count` items to S3."""
    s3, dynamodb, pool = (
        plain(endpoints, "s3"),
        plain(endpoints, "dynamodb"),
        ThreadPoolExecutor(THREADS),
    )
    table = rows.table_name(count)

    def put(item: dict[str, Any]) -> None:
        s3.put_object(
            Bucket=rows.BUCKET,
            Key=f"{table}/{_name({'id': item['id']})}",
            Body=json.dumps(item).encode(),
            Metadata={"kind": "scan", "at": str(rows.BASE), "sequence": "0"},
            IfNoneMatch="*",
        )

    def work() -> int:
        for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            list(pool.map(put, page["Items"]))
        return count

    return work


def _chosen(s3: Any, table: str) -> list[dict[str, Any]]:
    """Returns the newest version of each key at the moment of the restore."""
    found: dict[str, dict[str, Any]] = {}
    for page in s3.get_paginator("list_object_versions").paginate(
        Bucket=rows.BUCKET, Prefix=f"{table}/"
    ):
        for version in page.get("Versions", []):
            if version["LastModified"].timestamp() <= rows.MOMENT:
                found.setdefault(version["Key"], version)
    return list(found.values())


def restore(endpoints: Endpoints, count: int) -> Work:
    """Returns the work that writes `count` items from S3 into a table."""
    s3, dynamodb, pool = (
        plain(endpoints, "s3"),
        plain(endpoints, "dynamodb"),
        ThreadPoolExecutor(THREADS),
    )
    table = rows.table_name(count)

    def load(versions: list[dict[str, Any]]) -> None:
        items = []
        for version in versions:
            got = s3.get_object(
                Bucket=rows.BUCKET, Key=version["Key"], VersionId=version["VersionId"]
            )
            items.append(json.loads(got["Body"].read()))
        left = {table: [{"PutRequest": {"Item": item}} for item in items]}
        while left:
            left = dynamodb.batch_write_item(RequestItems=left)["UnprocessedItems"]

    def work() -> int:
        chosen = _chosen(s3, table)
        list(pool.map(load, (chosen[start : start + 25] for start in range(0, len(chosen), 25))))
        return len(chosen)

    return work


def export(endpoints: Endpoints, count: int, path: Path) -> Work:
    """Returns the work that writes `count` items from S3 to the file `path`."""
    s3, pool = plain(endpoints, "s3"), ThreadPoolExecutor(THREADS)
    table = rows.table_name(count)

    def read(version: dict[str, Any]) -> bytes:
        got = s3.get_object(Bucket=rows.BUCKET, Key=version["Key"], VersionId=version["VersionId"])
        return bytes(got["Body"].read())

    def work() -> int:
        chosen = _chosen(s3, table)
        with path.open("wb") as lines:
            for body in pool.map(read, chosen):
                lines.write(b'{"Item":' + body + b"}\n")
        return len(chosen)

    return work


def _name(key: dict[str, Any]) -> str:
    return md5(
        json.dumps(key, sort_keys=True, separators=(",", ":")).encode(), usedforsecurity=False
    ).hexdigest()
