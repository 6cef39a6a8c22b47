"""What a restore costs: memory that does not grow with the table, and few requests, counted where they arrive."""

import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_backup.archive import SHARDS, Archive
from stream_backup.change import Change
from stream_backup.coverage import Run, Stream
from stream_backup.item import Item, encode
from stream_backup.key import KeySchema
from stream_backup.memory import MemoryStore
from stream_backup.meta import Meta
from stream_backup.moment import from_iso, iso
from stream_backup.stamp import Kind, Stamp
from tests.cli import BIN, Shell, Table, archive_server, lines
from tests.servers import Aws

pytestmark = pytest.mark.server

START = from_iso("2026-11-01T00:00:00Z")
APART = 300
"""Seconds between two changes of one item, at the least."""

BAD = 99
MEMORY = 200 * 2**20
DESCRIPTION = {
    "TableName": "big",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
}


def item(number: int, version: int) -> Item:
    return {"id": {"S": f"item-{number}"}, "version": {"N": str(version)}, "text": {"S": "x" * 200}}


@dataclass(frozen=True)
class Big:
    store: MemoryStore
    items: int
    versions: int
    good: int
    end: int

    @property
    def truth(self) -> list[bytes]:
        """The items at the good moment."""
        return sorted(encode(item(number, 4)) for number in range(self.items) if number % 50)


def fill(items: int, each: int) -> Big:
    """Items with their changes minutes apart, every fiftieth removed by its last one, read by a function; then a minute of
    damage to every fiftieth. All of it was written when it happened, or up to three seconds later."""
    clock = [START]
    store = MemoryStore(lambda: clock[0])
    archive = Archive(store, "", "big", KeySchema((("id", "S"),)))
    meta = Meta(archive)
    label = iso(START).removesuffix("Z") + ".000"
    meta.write_stream(Stream(label, "arn", "id", START, True, "function", START))
    meta.write_run(Run("first", label, START, START, START + 60, True, {"read": 0, "written": 0}))
    meta.write_description(label, {"Table": DESCRIPTION, "TimeToLive": {}, "Tags": [], "PointInTimeRecovery": False})
    sequence = 10**20

    def write(number: int, version: int, at: int, *, removed: bool) -> None:
        nonlocal sequence
        sequence += 7
        clock[0] = at + number % 4
        kind: Kind = "remove" if removed else "modify" if version else "insert"
        body = None if removed else encode(item(number, version))
        archive.put(Change({"id": {"S": f"item-{number}"}}, Stamp(at, sequence, at, kind), body))

    for version in range(each):
        for number in range(items):
            at = START + 100 + version * (APART + items // 100) + number // 100
            write(number, version, at, removed=version == each - 1 and number % 50 == 0)
    good = at + APART
    for number in range(1, items, 50):
        write(number, BAD, good + 1 + number % 60, removed=False)
    return Big(store, items, items * each + items // 50, good, good + 60)


@pytest.fixture(scope="module")
def big() -> Big:
    return fill(20_000, 5)


@dataclass(frozen=True)
class Cost:
    memory: int
    requests: Counter[str]


WATCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
print("most memory:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process between, for the kernel counts the memory of whoever forks as the child's own."""


def measured(big: Big, aws: Aws, *words: str) -> Cost:
    """Runs a command over the archive to its end: the most memory it held, in bytes, and what the archive was asked."""
    with archive_server("backups", big.store) as served:
        shell = Shell(aws, "s3://backups", {"AWS_ENDPOINT_URL_S3": served.url})
        command = (sys.executable, "-c", WATCH, str(BIN / "stream-backup"), "restore", "big")
        said = shell.done(*words, command=command)
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(int(said.out.rpartition(":")[2]) * unit, Counter(served.requests))


LISTS_OF_META = 12
GETS_OF_META = 10


def lists(versions: int) -> int:
    """One LIST for each 1,000 versions, one more for each shard, and those that read what is known of the archive."""
    return math.ceil(versions / 1000) + len(SHARDS) + LISTS_OF_META


def test_100_000_versions_to_a_file(big: Big, ministack_url: str, tmp_path: Path) -> None:
    """20,000 items with 100,000 versions are restored within 200 MB, at one GET an item, one LIST for 1,000 versions, and a HEAD
    of what was written in the day after the moment."""
    path = tmp_path / "rows"
    cost = measured(big, Aws(ministack_url), "--at", iso(big.good), "--to", str(path))
    assert lines(path) == big.truth
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.03 * len(big.truth)
    assert cost.requests["HeadObject"] <= 0.1 * len(big.truth)
    assert cost.requests["ListObjectVersions"] <= lists(big.versions)


def test_a_rewind_costs_what_changed(big: Big, ministack_url: str) -> None:
    """A rewind reads one body of an item that changed since and the stamp of what it is now, and nothing of the others."""
    cost = measured(big, Aws(ministack_url), "--at", iso(big.good), "--in-place", "--plan")
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.2 * big.items / 50 + GETS_OF_META
    assert cost.requests["HeadObject"] <= big.items / 50
    assert cost.requests["ListObjectVersions"] <= lists(big.versions)


def test_into_a_table(ministack_url: str) -> None:
    """Into a table the cost is the same, and removed items are not there."""
    small = fill(2_000, 5)
    cost = measured(small, Aws(ministack_url), "--at", iso(small.good), "--into", "small")
    assert Table(Aws(ministack_url), "small").rows() == small.truth
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.03 * len(small.truth)
    assert cost.requests["HeadObject"] <= 0.1 * len(small.truth)
    assert cost.requests["ListObjectVersions"] <= lists(small.versions)


def test_a_stream_that_went_off_unseen(big: Big, ministack_url: str) -> None:
    """Where nobody saw the stream go off, its end is found without holding the listing in memory."""
    table = Table.create(Aws(ministack_url), "big")
    cost = measured(big, Aws(ministack_url), "--at", iso(big.good), "--key", '{"id": "item-1"}', "--to", "-")
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["HeadObject"] <= 1000
    table.client.delete_table(TableName="big")
