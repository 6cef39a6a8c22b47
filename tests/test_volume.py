"""Many changes through a deployed function: nothing is lost, nothing is added, and each change is
one PUT.

The test reads the stream's content with the Streams API, and lists what arrived in the bucket.
Neither uses this project. In a versioned bucket, every PUT is a version, so an additional PUT would
be an additional version.

STREAM_BACKUP_VOLUME=50000 runs the number of changes that the design requires. It passed in 151 s
on two cores under a load of 9 to 12 (104 s of CPU in total, including ministack; 1,122 changes/s
written, 589/s archived at the same time, 50,000 PUTs). That is too long for every run of the tests,
so the default is 5,000.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from stream_backup.archive.layout import Archive, History
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash
from tests.cli import SIMPLE, Shell, Table, lines, next_second
from tests.servers import Aws, environment
from tests.test_lambda import package

pytestmark = [pytest.mark.server, pytest.mark.once]

CHANGES = int(os.environ.get("STREAM_BACKUP_VOLUME", "5000"))
KEYS = 2_000
BATCH = 25
READERS = 8
PATIENCE = 600
SCHEMA = KeySchema(SIMPLE)


class Streamed(NamedTuple):
    """A record of the stream, in the terms of the Streams API."""

    sequence: int
    kind: str
    body: bytes | None


def test_every_change_arrives_once(aws: Aws, tmp_path: Path) -> None:
    """While the function reads, BatchWriteItem puts, updates, and deletes 2,000 keys. After that,
    the archive contains every record of the stream exactly once and nothing else. Coverage is exact
    to the end, and a restore to the end equals the table."""
    bucket = aws.bucket()
    table = Table.create(aws, f"volume-{os.getpid()}")
    function = f"volume-{os.getpid()}"
    shell = Shell(aws, f"s3://{bucket}")
    aws.client("lambda").create_function(
        FunctionName=function,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/writer",
        Handler="stream_backup.handler.handler",
        Code={"ZipFile": package()},
        Timeout=60,
        Environment={
            "Variables": {"STREAM_BACKUP_ARCHIVE": shell.archive or "", **environment(aws.url)}
        },
    )
    stream = shell.done("enable", table.name, "--function", function, "--json").json
    shell.done("backfill", table.name)  # of an empty table: coverage begins

    begun = time.monotonic()
    write(table, CHANGES)
    written = time.monotonic()
    records = streamed(aws, stream["arn"])
    total = sum(map(len, records.values()))
    archive = Archive(aws.store(bucket), "", table.name, SCHEMA)
    listed = arrived(archive, records)
    caught_up = time.monotonic()
    print(
        f"\n{total:,} changes of {len(records):,} keys in {written - begun:.1f} s,"
        f" {total / (written - begun):,.0f}/s; archived {caught_up - begun:.1f} s after the first,"
        f" {total / (caught_up - begun):,.0f}/s"
    )
    assert total == CHANGES

    found = archived(archive)
    assert {name: unique(of_key) for name, of_key in found.items()} == records, "lost, or invented"
    assert listed == {name: len(of_key) for name, of_key in records.items()}, "put again"
    print(f"{sum(listed.values()):,} PUTs; read back in {time.monotonic() - caught_up:.1f} s")

    moment = next_second()
    said = answered(shell, table.name, moment)
    (epoch,) = said["epochs"]
    assert (said["gaps"], said["failed_batches"], epoch["end"]) == ([], [], None)
    assert epoch["floor"] <= epoch["start"] <= moment <= said["latest"]
    shell.done("restore", table.name, "--at", moment, "--to", str(tmp_path / "rows.json"))
    assert lines(tmp_path / "rows.json") == table.rows()
    print(f"all of it took {time.monotonic() - begun:.1f} s")


def answered(shell: Shell, table: str, moment: str) -> Any:
    """What `status` reports as soon as the archive answers this moment. What the function reports
    of a quiet stream is some seconds old, so the answer comes later than the last record."""
    deadline = time.monotonic() + PATIENCE
    while (said := shell.done("status", table, "--json").json)["latest"] < moment:
        assert time.monotonic() < deadline, f"still {said['latest']}, asked for {moment}"
        time.sleep(1)
    return said


def write(table: Table, changes: int) -> None:
    """Makes this many changes to the table with BatchWriteItem. Every write changes something."""
    random = Random(1903)
    there: set[int] = set()
    for start in range(0, changes, BATCH):
        requests = []
        for number, key in enumerate(
            random.sample(range(KEYS), min(BATCH, changes - start)), start
        ):
            if key in there and random.random() < 0.2:
                there.remove(key)
                requests.append({"DeleteRequest": {"Key": item(key)}})
            else:
                there.add(key)
                requests.append({"PutRequest": {"Item": item(key, number)}})
        assert not table.client.batch_write_item(RequestItems={table.name: requests})[
            "UnprocessedItems"
        ]


def item(key: int, number: int | None = None) -> Item:
    """Returns the whole item, or its key if no number is given."""
    found: Item = {"id": {"S": f"key-{key}"}}
    return (
        found
        if number is None
        else found | {"n": {"N": str(number)}, "text": {"S": "x" * (number % 200)}}
    )


def streamed(aws: Aws, arn: str) -> dict[str, list[Streamed]]:
    """Returns everything in the stream, in order, by the hash of the key."""
    found: dict[str, list[Streamed]] = defaultdict(list)
    for record in records_of(aws.client("dynamodbstreams"), arn):
        change = record["dynamodb"]
        body = encode(change["NewImage"]) if "NewImage" in change else None
        name = key_hash(change["Keys"])
        found[name].append(
            Streamed(int(change["SequenceNumber"]), record["eventName"].lower(), body)
        )
    return dict(found)


def records_of(client: Any, arn: str) -> Iterator[dict[str, Any]]:
    for shard in client.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        request = {
            "StreamArn": arn,
            "ShardId": shard["ShardId"],
            "ShardIteratorType": "TRIM_HORIZON",
        }
        iterator = client.get_shard_iterator(**request)["ShardIterator"]
        while (page := client.get_records(ShardIterator=iterator))["Records"]:
            yield from page["Records"]
            iterator = page["NextShardIterator"]


def arrived(archive: Archive, records: dict[str, list[Streamed]]) -> Counter[str]:
    """Returns the number of versions of every key, once all versions of the last written key have
    arrived and no more arrive."""
    last = max(records, key=lambda name: records[name][-1].sequence)
    give_up = time.monotonic() + PATIENCE
    while len(next(archive.histories(last), History(last, ())).versions) < len(records[last]):
        assert time.monotonic() < give_up, "the function has not caught up"
        time.sleep(0.5)
    before, found = Counter[str](), versions(archive)
    while found != before:
        time.sleep(1)
        before, found = found, versions(archive)
    return found


def versions(archive: Archive) -> Counter[str]:
    return Counter({history.name: len(history.versions) for history in archive.histories()})


def archived(archive: Archive) -> dict[str, list[Streamed]]:
    """Returns all versions by the hash of the key, in order of stamp."""
    with ThreadPoolExecutor(READERS) as pool:
        histories = list(archive.histories())
        read = list(
            pool.map(
                lambda history: [archive.read(version) for version in history.versions], histories
            )
        )
    return {
        history.name: [
            Streamed(change.stamp.sequence, change.stamp.kind, change.body)
            for change in sorted(changes, key=rank)
        ]
        for history, changes in zip(histories, read, strict=True)
    }


def unique(changes: list[Streamed]) -> list[Streamed]:
    """Returns each change once, in the same order, however often the stream delivered it."""
    return list(dict.fromkeys(changes))


def rank(change: Change) -> Any:
    return change.stamp.rank
