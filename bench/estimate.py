"""Compares the numbers of `stream-backup estimate` with the requests that are really sent.

The commands run on the embedded AWS: a backfill, a capture with the function's handler, and a
restore.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from ministack.services.dynamodb import _item_size_bytes as item_size

from bench.meter import Meter, metered
from stream_backup.demo.embedded import free_url, serve
from stream_backup.demo.environment import environment, settings

TABLE, BUCKET = "estimated", "estimates"
APART = 8
"""Seconds between the backfill and the changes.

A restore reads both of two versions that were written at nearly the same time.
"""

WORKERS = ("--workers", "1")
"""With these options, a table has the same number of segments on every computer."""

PROGRAM = str(Path(sys.executable).with_name("stream-backup"))
Item = dict[str, dict[str, str]]

_COUNTED = ("PUT", "LIST", "GET", "Scan", "BatchWriteItem", "RCU", "WCU")


def run(*words: str) -> str:
    """Runs a command and returns its stdout. Raises SystemExit if it fails."""
    done = subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        raise SystemExit(
            f"stream-backup {' '.join(words)} ended with {done.returncode}.\n{done.stderr}"
        )
    return done.stdout


def rows(count: int, large: float, seed: int = 7) -> list[Item]:
    """Returns `count` items of 60 to 3,000 bytes, with a share of items of 100 KB."""
    chance = random.Random(seed)
    sizes = [
        100_000 if chance.random() < large else min(3000, int(60 + chance.expovariate(1 / 500)))
        for _ in range(count)
    ]
    return [
        {"id": {"S": f"item-{number:08}"}, "n": {"N": "0"}, "text": {"S": "x" * size}}
        for number, size in enumerate(sizes)
    ]


@dataclass(frozen=True)
class Compared:
    """The estimated and the counted numbers, by step and name."""

    estimated: dict[str, dict[str, float]]
    counted: dict[str, dict[str, float]]

    def __iter__(self) -> Iterator[tuple[str, str, float, float]]:
        """Yields step, name, estimated and counted number."""
        for step, counts in self.estimated.items():
            for name, count in counts.items():
                yield step, name, count, self.counted[step].get(name, 0)


def compare(items: list[Item], changes: int) -> Compared:
    """Estimates a table, then backs it up and restores it, and counts the requests.

    Every tenth of the `changes` adds an item.
    """
    with (
        serve(free_url()) as upstream,
        metered(upstream.url) as (url, meter),
        environment(settings(url) | {"STREAM_BACKUP_ARCHIVE": f"s3://{BUCKET}"}),
        TemporaryDirectory() as folder,
    ):
        table = _table(upstream.url, items)
        meter.described = {"ItemCount": len(items), "TableSizeBytes": sum(map(item_size, items))}
        given = ("--changes-per-month", str(changes), "--months", "1", "--json", *WORKERS)
        estimate = json.loads(run("estimate", TABLE, *given))
        run("enable", TABLE, "--stream-only")
        counted = {"backfill": _counted(meter, "backfill", TABLE, *WORKERS)}
        time.sleep(APART)
        _change(table, items, changes)
        table.close()  # the server waits for open connections when it ends
        counted["capture"] = _captured(meter)
        at = json.loads(run("status", TABLE, "--json"))["latest"]
        counted["into_table"] = _counted(
            meter, "restore", TABLE, "--at", at, "--into", f"{TABLE}-again"
        )
        counted["to_file"] = _counted(meter, "restore", TABLE, "--at", at, "--to", f"{folder}/rows")
    return Compared(_estimated(estimate), counted)


def _estimated(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Returns the numbers of an estimate, by step and name, that the meter counts too."""
    parts = {"backfill": record["backfill"], "capture": record["capture"]}
    parts |= {name: record["restore"][name] for name in ("into_table", "to_file")}
    return {
        step: {
            name: count
            for name, count in (part["requests"] | part["capacity"]).items()
            if name in _COUNTED
        }
        for step, part in parts.items()
    }


def _change(table: Any, items: list[Item], changes: int) -> None:
    for number in range(changes):
        item = items[number * len(items) // changes]
        name = f"new-{number:08}" if number % 10 == 9 else item["id"]["S"]
        table.put_item(
            TableName=TABLE, Item=item | {"id": {"S": name}, "n": {"N": str(number + 1)}}
        )


def _table(url: str, items: list[Item]) -> Any:
    """Creates the table with `items`, and the bucket; returns a client that bypasses the proxy."""
    s3 = boto3.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.close()
    client = boto3.client("dynamodb", endpoint_url=url)
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for start in range(0, len(items), 25):
        client.batch_write_item(
            RequestItems={
                TABLE: [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            }
        )
    return client


def _counted(meter: Meter, *words: str) -> dict[str, float]:
    before = meter.counts.copy()
    run(*words)
    return dict(meter.counts - before)


def _captured(meter: Meter) -> dict[str, float]:
    """Counts a capture: `follow` calls the function's handler in its own process."""
    counted = _counted(meter, "follow", TABLE, "--once")
    counted["PUT"] -= counted.pop("PUT meta", 0)  # its checkpoints, which a function does not write
    return counted


def check_estimate(count: int = 4000, changes: int = 800) -> Iterator[str]:
    """Compares estimated with counted numbers, without and with items of 100 KB."""
    yield "| items | step | what | estimate | counted | off |"
    yield "|---|---|---|--:|--:|--:|"
    for named, large in (("60 bytes to 3 KB", 0.0), ("2 % of them 100 KB", 0.02)):
        for step, name, estimated, counted in compare(rows(count, large), changes):
            off = f"{estimated / counted - 1:+.1%}" if counted else "–"
            yield (
                f"| {count:,}, {named} | {step} | {name} | {estimated:,.0f} | {counted:,.0f} "
                f"| {off} |"
            )
