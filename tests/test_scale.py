"""What a restore costs: memory that does not grow with the table, and few requests, counted at the
server."""

import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.slices import SLICES
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Run, Stream, TableDescription
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.witness import Witness
from tests.cli import BIN, Shell, Table, archive_server, lines
from tests.servers import Aws

pytestmark = pytest.mark.server

START = from_iso("2026-11-01T00:00:00Z")
APART = 300
"""The minimum number of seconds between two changes of one item."""

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
    """Fills an archive. Each item has `each` changes, minutes apart, and the last one removes every
    fiftieth item. After that, damage to every fiftieth item within a minute. All versions are
    written when they happen or up to three seconds later."""
    clock = [START]
    store = MemoryStore(lambda: clock[0])
    archive = Archive(store, "", "big", KeySchema((("id", "S"),)))
    meta = Catalog(archive)
    label = iso(START).removesuffix("Z") + ".000"
    meta.write_stream(Stream(label, "arn", "id", START, True, "function", START))
    meta.write_run(Run("first", label, START, START, START + 60, True, {"read": 0, "written": 0}))
    meta.write_description(
        label, TableDescription(DESCRIPTION, {}, (), point_in_time_recovery=False)
    )
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
    meta.write_witness(Witness(label, good + 60, good + 70))
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
"""A small process in between, because the kernel counts the memory of the parent that forks as the
child's."""


def measured(big: Big, aws: Aws, *words: str) -> Cost:
    """Runs a command on the archive. Returns its maximum memory in bytes and the requests to the
    archive."""
    with archive_server("backups", big.store) as served:
        shell = Shell(aws, "s3://backups", {"AWS_ENDPOINT_URL_S3": served.url})
        command = (sys.executable, "-c", WATCH, str(BIN / "stream-backup"), "restore", "big")
        said = shell.done(*words, command=command)
        unit = 1 if sys.platform == "darwin" else 1024
        return Cost(int(said.out.rpartition(":")[2]) * unit, Counter(served.requests))


LISTS_OF_META = 12
GETS_OF_META = 10


def lists(versions: int) -> int:
    """Returns the maximum number of LIST requests: one per 1,000 versions, one more per slice, and
    those for the records under meta/."""
    return math.ceil(versions / 1000) + len(SLICES) + LISTS_OF_META


def test_100_000_versions_to_a_file(big: Big, ministack_url: str, tmp_path: Path) -> None:
    """A restore of 20,000 items with 100,000 versions needs less than 200 MB, one GET per item, one
    LIST per 1,000 versions, and HEAD requests only for what was written within a day after the
    moment."""
    path = tmp_path / "rows"
    cost = measured(big, Aws(ministack_url), "--at", iso(big.good), "--to", str(path))
    assert lines(path) == big.truth
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.03 * len(big.truth)
    assert cost.requests["HeadObject"] <= 0.1 * len(big.truth)
    assert cost.requests["ListObjectVersions"] <= lists(big.versions)


def test_a_rewind_costs_what_changed(big: Big, ministack_url: str) -> None:
    """For every item that changed since, a rewind reads one body and the stamp of its present
    version. It reads nothing of other items."""
    cost = measured(big, Aws(ministack_url), "--at", iso(big.good), "--in-place", "--plan")
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.2 * big.items / 50 + GETS_OF_META
    assert cost.requests["HeadObject"] <= big.items / 50
    assert cost.requests["ListObjectVersions"] <= lists(big.versions)


def test_into_a_table(ministack_url: str) -> None:
    """A restore into a table costs the same, and removed items are not in the table."""
    small = fill(2_000, 5)
    cost = measured(small, Aws(ministack_url), "--at", iso(small.good), "--into", "small")
    assert Table(Aws(ministack_url), "small").rows() == small.truth
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["GetObject"] <= 1.03 * len(small.truth)
    assert cost.requests["HeadObject"] <= 0.1 * len(small.truth)
    assert cost.requests["ListObjectVersions"] <= lists(small.versions)


def test_a_stream_that_went_off_unseen(big: Big, ministack_url: str) -> None:
    """If the end of a stream was not recorded, it is found without holding the listing in
    memory."""
    table = Table.create(Aws(ministack_url), "big")
    cost = measured(
        big, Aws(ministack_url), "--at", iso(big.good), "--key", '{"id": "item-1"}', "--to", "-"
    )
    assert cost.memory < MEMORY, f"{cost.memory / 2**20:.0f} MB"
    assert cost.requests["HeadObject"] <= 1000
    table.client.delete_table(TableName="big")
