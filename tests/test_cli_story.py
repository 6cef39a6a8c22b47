"""The complete workflow: a table is enabled, damaged, inspected, and restored in every way."""

import gzip
import json
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_backup.core.item import Item, decode
from tests.cli import COMPOSITE, Shell, Table, lines, next_second
from tests.servers import Aws

pytestmark = pytest.mark.server

CUSTOMERS = 60


def order(number: int, note: str) -> Item:
    return {
        "pk": {"S": f"kunde#{number} é"},
        "sk": {"N": str(number)},
        "note": {"S": note},
        "price": {"N": "10.25"},
        "tags": {"SS": ["new", "eu"]},
        "raw": {
            "M": {"b": {"B": bytes([number % 256])}, "none": {"NULL": True}, "list": {"L": []}}
        },
    }


def key(number: int) -> Item:
    return {name: order(number, "")[name] for name in ("pk", "sk")}


def typed(number: int) -> str:
    return json.dumps({"pk": f"kunde#{number} é", "sk": number})


@dataclass(frozen=True)
class Story:
    shell: Shell
    table: Table
    good: str
    """The moment before the damage."""

    truth: list[bytes]
    """The rows at that moment."""

    def restore(self, *words: str) -> dict[str, object]:
        found: dict[str, object] = self.shell.done(
            "restore", self.table.name, "--at", self.good, "--json", *words
        ).json
        return found

    def wanted(self, *numbers: int) -> list[bytes]:
        names = {f"kunde#{number} é" for number in numbers}
        return [row for row in self.truth if decode(row)["pk"]["S"] in names]


@pytest.fixture(scope="module")
def story(ministack_url: str) -> Story:
    aws = Aws(ministack_url)
    shell = Shell(aws, f"s3://{aws.bucket()}/production")
    table = Table.create(aws, "story", COMPOSITE)
    table.put_many([order(number, "first") for number in range(CUSTOMERS)])
    assert shell.done("enable", "story", "--stream-only", "--json").json["was_off"]
    with writing(table):
        report = shell.done("backfill", "story", "--json").json
    assert report["complete"]
    assert report["counts"]["failed"] == 0
    for number in range(10, 20):
        table.put(order(number, "good"))
    table.delete(*(key(number) for number in range(20, 25)))
    good = next_second()
    truth = table.rows()
    table.delete(*(key(number) for number in range(15, 40)))
    for number in (*range(5), *range(20, 22)):
        table.put(order(number, "BAD"))
    followed = shell.done("follow", "story", "--once", "--json").json
    assert followed["changes"] > 42
    return Story(shell, table, good, truth)


class writing:  # noqa: N801 - used like a statement
    """Writes new rows and changes existing ones for as long as the block runs."""

    def __init__(self, table: Table) -> None:
        self._table, self._stop = table, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for number in range(1000, 2000):
            self._table.put(
                order(number, "while the backfill ran"),
                order(number % 60, "while the backfill ran"),
            )
            self._table.delete(key(number - 1))
            if self._stop.wait(0.2):
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_history_shows_the_damage(story: Story) -> None:
    """The history of a damaged item shows when it was removed, and what it was before."""
    told = story.shell.done("history", "story", typed(17), "--json").json["versions"]
    assert told[-1]["kind"] == "remove"
    assert told[-1]["at"] > story.good
    assert told[-2]["item"]["note"] == {"S": "good"}
    assert told[-2]["at"] <= story.good
    printed = story.shell.done("history", "story", typed(17)).out
    assert "remove" in printed
    assert '"good"' in printed


def test_plan_counts_and_writes_nothing(story: Story) -> None:
    """A plan reports how many items it would put, and changes no table."""
    plan = story.restore("--plan")
    fields = [
        "table",
        "moment",
        "earliest",
        "latest",
        "put",
        "delete",
        "unchanged",
        "absent",
        "versions_listed",
        "requests",
    ]
    assert set(fields) <= set(plan)
    assert set(plan["requests"]) >= {"list", "get", "head"}  # type: ignore[call-overload]
    assert plan["table"] == "story"
    assert plan["moment"] == story.good
    assert str(plan["earliest"]) <= story.good <= str(plan["latest"])
    assert plan["put"] == len(story.truth)
    assert plan["delete"] == 0
    assert not Table(story.table.aws, "story-restored").exists()
    assert [
        name for name in story.table.client.list_tables()["TableNames"] if "story-restored" in name
    ] == []


def test_into_a_new_table(story: Story) -> None:
    """A restore into a new table gives the expected rows, and repeating it changes nothing."""
    report = story.restore("--into", "story-new")
    assert report["into"] == "story-new"
    assert report["put"] == report["written"] == len(story.truth)
    new = Table(story.table.aws, "story-new")
    assert new.rows() == story.truth
    ((name, value),) = new.tags().items()
    assert (name, *value.split()[:2]) == ("stream-backup:restored", story.good, "story")
    story.restore("--into", "story-new", "--overwrite")
    assert new.rows() == story.truth


def test_into_the_default_name(story: Story) -> None:
    """Without --into, the name of the new table consists of the table's name and the moment."""
    name = story.restore()["into"]
    assert isinstance(name, str)
    assert name.startswith("story-restored-20")
    assert Table(story.table.aws, name).rows() == story.truth


def test_some_items_into_a_table(story: Story) -> None:
    """Single items are restored into a new table. Those that did not exist at the moment are
    not."""
    report = story.restore(
        "--key", typed(17), "--key", typed(3), "--key", typed(22), "--into", "story-some"
    )
    assert (report["put"], report["absent"]) == (2, 1)
    assert Table(story.table.aws, "story-some").rows() == story.wanted(17, 3)


def test_some_items_over_a_table_that_is_there(story: Story) -> None:
    """Some items restored into an existing table change only those items."""
    other = Table.create(story.table.aws, "story-over", COMPOSITE)
    other.put(
        order(7, "of the other table"), order(17, "BAD"), order(22, "was not there at the moment")
    )
    story.restore(
        "--key",
        typed(17),
        "--key",
        typed(3),
        "--key",
        typed(22),
        "--into",
        "story-over",
        "--overwrite",
    )
    found = {decode(row)["pk"]["S"]: decode(row)["note"]["S"] for row in other.rows()}
    assert found.pop("kunde#7 é") == "of the other table"
    assert set(found) == {"kunde#17 é", "kunde#3 é"}
    assert [row for row in other.rows() if decode(row)["pk"]["S"] != "kunde#7 é"] == story.wanted(
        17, 3
    )


@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_to_a_file(story: Story, tmp_path: Path, name: str) -> None:
    """A restore to a file writes one typed item per line, compressed if the file name ends in
    .gz."""
    path = tmp_path / name
    story.restore("--to", str(path))
    content = path.read_bytes()
    assert lines(gzip.decompress(content) if name.endswith(".gz") else content) == story.truth
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_to_stdout(story: Story) -> None:
    """A restore to stdout writes only items there, even with --json."""
    for more in ((), ("--json",)):
        said = story.shell.done("restore", "story", "--at", story.good, "--to", "-", *more)
        assert lines(said.out.encode()) == story.truth


def test_keys_from_a_file(story: Story, tmp_path: Path) -> None:
    """Keys can be read from a file, plain or typed, one per line, with blank lines."""
    path = tmp_path / "keys"
    path.write_text(
        f"{typed(17)}\n\n" + json.dumps({"sk": {"N": "3"}, "pk": {"S": "kunde#3 é"}}) + "\n",
        encoding="utf-8",
    )
    said = story.shell.done(
        "restore", "story", "--at", story.good, "--keys-from", str(path), "--to", "-"
    )
    assert lines(said.out.encode()) == story.wanted(17, 3)


def test_as_modules(story: Story) -> None:
    """`python -m restore` and `python -m backfill` are the same commands."""
    python = (sys.executable, "-m")
    plan = story.shell.done(
        "story", "--at", story.good, "--plan", "--json", command=(*python, "restore")
    ).json
    assert plan["put"] == len(story.truth)
    assert (
        "Usage: python -m backfill" in story.shell.done("--help", command=(*python, "backfill")).out
    )


def test_status(story: Story) -> None:
    """The status shows the bounds between which every restore is exact."""
    found = story.shell.done("status", "story", "--json").json
    assert found["state"] == "stream on"
    assert found["earliest"] <= story.good <= found["latest"]
    assert found["gaps"] == []
    assert found["last_backfill"]["complete"]
    every = story.shell.done("status", "--json").json["tables"]
    assert [each["table"] for each in every] == ["story"]
    assert every[0]["report"]["earliest"] == found["earliest"]
    assert "exact           from" in story.shell.done("status").out


def test_in_place_and_after(ministack_url: str) -> None:
    """In place, first single items are restored without changing any other row, and then the whole
    table, with a receipt. A second run has nothing to do, and leaves no receipt. After the stream
    is switched off, covered moments can still be restored, and no later ones."""
    damaged = damage(ministack_url, "story-rewound")
    shell, name = damaged.shell, damaged.table.name
    before = {decode(row)["pk"]["S"]: row for row in damaged.table.rows()}
    report = damaged.restore("--in-place", "--yes", "--key", typed(2), "--key", typed(6))
    assert report["rewound"] == 2
    after = {decode(row)["pk"]["S"]: row for row in damaged.table.rows()}
    assert [after.pop(f"kunde#{number} é") for number in (2, 6)] == damaged.wanted(2, 6)
    before.pop("kunde#2 é")
    assert after == before

    report = damaged.restore("--in-place", "--yes")
    assert damaged.table.rows() == damaged.truth
    assert (report["put"], report["delete"], report["rewound"]) == (2, 1, 3)
    assert (shell.folder / str(report["receipt"])).name.startswith("story-rewound-rewind-")
    assert (shell.folder / str(report["receipt"])).exists()
    again = damaged.restore("--in-place", "--yes")
    assert (again["rewound"], again["receipt"]) == (0, None)
    assert damaged.table.rows() == damaged.truth

    end = shell.done("disable", name, "--json").json["end"]
    damaged.table.put(order(3, "nobody sees this"))
    assert shell.done("follow", name, "--once", "--json").json["drained"]
    assert shell.done("status", name, "--json").json["latest"] == end
    assert (
        lines(shell.done("restore", name, "--at", damaged.good, "--to", "-").out) == damaged.truth
    )
    assert lines(shell.done("restore", name, "--at", end, "--to", "-").out) == damaged.truth
    shell.run("restore", name, "--at", next_second(), "--to", "-").refused(4, end)
    shell.run("restore", name, "--at", damaged.good, "--in-place", "--yes").refused(
        2, "does not cover the present state"
    )


def damage(url: str, name: str) -> Story:
    """Returns a small table of ten rows that was damaged in the second after its good moment."""
    aws = Aws(url)
    shell = Shell(aws, f"s3://{aws.bucket()}")
    table = Table.create(aws, name, COMPOSITE)
    table.put_many([order(number, "good") for number in range(10)])
    shell.done("enable", name, "--stream-only")
    shell.done("backfill", name)
    good = next_second()
    truth = table.rows()
    for number in (1, 2):
        table.put(order(number, "BAD"))
    table.delete(key(5), key(6))
    table.put(order(77, "BAD"))
    shell.done("follow", name, "--once")
    return Story(shell, table, good, truth)
