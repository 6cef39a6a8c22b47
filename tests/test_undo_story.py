"""`undo` as a user runs it, on an emulated AWS: a bad deployment among good traffic."""

import json
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench import undo
from stream_backup.core.item import Item, decode, encode
from tests.cli import Shell, Table, denied, next_second, proxy
from tests.servers import Aws

pytestmark = pytest.mark.server

ORDERS = 40


def order(number: int, state: str = "paid", **more: Any) -> Item:
    return {
        "id": {"S": f"order-{number}"},
        "state": {"S": state},
        "total": {"N": str(number)},
        "geo.lat": {"M": {"a.b": {"N": "1"}, "size": {"S": "x"}}},
        "tags": {"SS": ["eu", "new"]},
        **more,
    }


def key(number: int) -> Item:
    return {"id": {"S": f"order-{number}"}}


BAD = {
    "total": {"N": "100"},
    "geo.lat": {"M": {"a.b": {"N": "2"}, "bad": {"S": "y"}}},
    "tags": {"SS": ["bad", "eu"]},
}


@dataclass
class Damaged:
    """A table with a bad deployment between two moments, and good changes after it."""

    shell: Shell
    table: Table
    window: tuple[str, ...]
    truth: dict[str, Item]
    """The rows as they must be after an undo."""

    def rows(self) -> dict[str, Item]:
        return {row["id"]["S"]: row for row in map(decode, self.table.rows())}

    def undo(self, *words: str, typed: str = "", code: int = 0) -> Any:
        said = self.shell.run("undo", self.table.name, *words, "--json", typed=typed)
        assert said.code == code, said
        return json.loads(said.out)

    def receipts(self) -> list[Path]:
        return sorted(self.shell.folder.glob("*.receipt.jsonl.gz"))


def damaged(aws: Aws, name: str, folder: Path) -> Damaged:
    """Order 0 to 19 get bad values, 20 is removed, 100 is inserted, 21 is inserted and removed.
    Since then: order 0 gets a note, 1 another total, 2 is removed, 3 is removed and created again,
    4 gets a tag, and 20 is created and removed again."""
    shell = Shell(aws, f"s3://{aws.bucket()}", folder=folder)
    table = Table.create(aws, name)
    table.put_many([order(number) for number in range(ORDERS)])
    shell.done("enable", name, "--stream-only")
    shell.done("backfill", name)
    since = next_second()
    table.put_many([order(number, "undefined", **BAD) for number in range(20)])
    table.put(order(100), order(21, "x"))
    table.put(order(21))
    table.delete(key(20), key(30))
    until = next_second()
    found = {row["id"]["S"]: row for row in (order(number) for number in range(ORDERS))}
    table.put(order(0, "undefined", **BAD, note={"S": "good"}))
    found["order-0"] |= {"note": {"S": "good"}}
    table.put(order(1, "undefined", **BAD | {"total": {"N": "7"}}))
    found["order-1"] |= {"total": {"N": "7"}}
    table.delete(key(2), key(3))
    table.put(order(3, "undefined", **BAD))
    del found["order-2"]
    found["order-3"] = order(3, "undefined", **BAD)
    table.put(order(4, "undefined", **BAD | {"tags": {"SS": ["bad", "eu", "late"]}}))
    found["order-4"] |= {"tags": {"SS": ["eu", "late", "new"]}}
    table.put(order(20))
    table.delete(key(20))
    del found["order-20"]
    shell.done("follow", name, "--once")
    return Damaged(shell, table, ("--from", since, "--to", until), found)


@pytest.fixture(scope="module")
def story(ministack_url: str, tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    return damaged(Aws(ministack_url), "undone", tmp_path_factory.mktemp("undone"))


COUNTS = {
    "update": 18,
    "delete": 1,
    "put": 1,
    "unchanged": 3,
    "conflicts": {"paths": 9, "rows": 4},
    "expired": 0,
    "outside": 0,
    "left": [],
}


def same(found: dict[str, Item], wanted: dict[str, Item]) -> None:
    assert {name: encode(row) for name, row in found.items()} == {
        name: encode(row) for name, row in wanted.items()
    }


def test_a_plan_counts_and_writes_nothing(story: Damaged) -> None:
    """A plan has exact counts, names other consumers and what it could not see, and writes neither
    rows nor a receipt. So does the plan of a rewind."""
    rows = story.rows()
    story.table.client.update_time_to_live(
        TableName="undone", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    with proxy(story.shell.aws.url) as between:
        between.rule = denied("DescribeKinesisStreamingDestination")
        shell = replace(story.shell, aws=between.aws)
        report = shell.done("undo", "undone", *story.window, "--plan", "--json").json
        words = ("restore", "undone", "--at", story.window[1], "--in-place", "--plan", "--json")
        rewind = shell.done(*words).json
    assert report["plan"] | COUNTS == report["plan"]
    assert (report["done"], report["receipt"], story.receipts()) == (None, None, [])
    same(story.rows(), rows)
    for each in (report, rewind):
        assert any("'until'" in sentence for sentence in each["consumers"])
        assert any("Kinesis" in sentence for sentence in each["consumers_unseen"])


def test_undo_and_undo_of_the_undo(story: Damaged) -> None:
    """An undo takes back the damage and keeps what came after it; conflicts are left and listed.
    Undoing its receipt gives the rows back."""
    start, file = story.rows(), story.shell.folder / "conflicts"
    report = story.undo(*story.window, "--yes", "--conflicts", str(file), code=3)
    same(story.rows(), story.truth)
    assert report["done"] == report["plan"]
    conflicts = [*map(json.loads, file.read_text().splitlines())]
    assert len(conflicts) == 9
    assert {
        "key": key(1),
        "path": ["total"],
        "before": {"N": "1"},
        "damaged": {"N": "100"},
        "now": {"N": "7"},
    } in conflicts
    back = story.undo("--receipt", report["receipt"], "--yes")
    same(story.rows(), start)
    assert back["done"]["left"] == []
    assert len(story.receipts()) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in story.receipts()} == {0o600}


def test_a_folder_that_cannot_be_written_is_refused_first(story: Damaged) -> None:
    """A folder in which no receipt can be created is refused before AWS is asked anything."""
    with proxy(story.shell.aws.url) as between:
        shell = replace(story.shell, aws=between.aws, folder=Path("/proc"))
        for command in (("undo", *story.window), ("restore", "--at", "1h ago", "--in-place")):
            said = shell.run(command[0], story.table.name, *command[1:], "--yes")
            said.refused(2, "receipt", "/proc")
        assert not between.requests


def test_undo_is_exact_while_everybody_writes(aws: Aws, tmp_path: Path) -> None:
    """The bench, smaller: an undo of many rows among writers equals the independent truth, and its
    requests grow with the damaged rows."""
    found = undo.measure(aws, tmp_path, rows=300, damaged=40)
    assert found.differing == 0
    assert found.writes > 100
    assert found.report["done"]["update"] == 40
    assert (found.requests["GetItem"], found.requests["UpdateItem"]) == (40, 40)
