"""`undo` as a user runs it, in this process: choices, mistakes, canaries, decisions, marks."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stream_backup.core.item import Item, encode
from stream_backup.core.moment import iso
from tests.damage import CAUSE, END, FROM, START, TO, order
from tests.expressions import refusal
from tests.undo_night import TABLE_ARN, UndoNight

WINDOW = ("--from", FROM, "--to", TO)
ORDERS = 12


def total(value: int, **more: Any) -> Item:
    return {"total": {"N": str(value)}, **more}


@pytest.fixture
def night(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> UndoNight:
    """Orders 0 to 11 become `undefined`, and 10 is charged for it. Since then 0 was fixed, and 10
    was charged again. 20 was inserted, and 21 removed."""
    found = UndoNight(capsys, tmp_path)
    found.scan(*(order(number, "paid") for number in range(10)), order(21, "paid"))
    for number in (10, 11):
        found.write(START + 100 + number, order(number, "paid", **total(100, geo={"M": {}})))
    for number in range(10):
        found.write(CAUSE + number, order(number, "undefined"))
    for number in (10, 11):
        bad = total(150, geo={"M": {"a.b": {"N": "1"}}})
        found.write(CAUSE + number, order(number, "undefined", **bad))
    found.write(CAUSE + 20, order(20, "undefined"))
    found.remove(CAUSE + 21, 21)
    found.write(END + 300, order(0, "fixed"))
    found.write(END + 301, order(10, "undefined", **total(170, geo={"M": {"a.b": {"N": "1"}}})))
    return found


def key(number: int) -> str:
    return json.dumps({"id": f"order-{number}"})


def encoded(night: UndoNight) -> dict[str, bytes]:
    return {name: encode(row) for name, row in night.rows_now().items()}


def test_the_plan_and_the_run_count_the_same(night: UndoNight) -> None:
    """The plan has the exact counts, the question repeats them, and the run does what it says."""
    plan = night.undo(*WINDOW, "--plan")
    assert plan["plan"] == {
        "update": 11,
        "delete": 1,
        "put": 1,
        "unchanged": 1,
        "paths": 14,
        "conflicts": {"paths": 2, "rows": 2},
        "expired": 0,
        "outside": 0,
        "left": [],
    }
    assert (plan["from"], plan["to"], plan["receipt"]) == (FROM, TO, None)
    said = night.run("undo", "orders", *WINDOW, typed="y")
    assert said.code == 3
    assert "11 rows to update (14 paths), 1 to delete, 1 to put back, 1 unchanged" in said.err
    assert "2 conflicts in 2 rows are left" in said.err
    assert "11 rows updated (14 paths), 1 deleted, 1 put back" in said.err
    (receipt,) = night.receipts
    assert f"stream-backup undo orders --receipt {receipt.name}" in said.err
    rows = night.rows_now()
    assert "order-20" not in rows
    assert rows["order-21"] == order(21, "paid")
    assert rows["order-0"] == order(0, "fixed")
    assert rows["order-10"] == order(10, "paid", **total(170, geo={"M": {}}))
    assert {rows[f"order-{number}"]["state"]["S"] for number in range(1, 12)} == {"paid"}


def test_again_is_nothing(night: UndoNight) -> None:
    """Running it twice changes nothing and leaves no second receipt."""
    night.undo(*WINDOW, "--yes", code=3)
    rows = encoded(night)
    night.tick()
    again = night.undo(*WINDOW, "--yes", code=3)
    assert (again["receipt"], again["done"]["conflicts"]["paths"]) == (None, 2)
    assert encoded(night) == rows
    assert len(night.receipts) == 1


def test_items_and_paths_are_chosen(night: UndoNight, tmp_path: Path) -> None:
    """`--where`, `--key`, `--keys-from` and `--changed` choose items and paths; a name may hold a
    period."""

    def planned(*words: str) -> Any:
        return night.undo(*WINDOW, "--plan", *words)["plan"]

    assert planned("--where", "after.total > `120`")["update"] == 2
    assert planned("--key", key(5), "--key", key(11))["paths"] == 4
    (tmp_path / "keys").write_text(f"{key(5)}\n")
    assert planned("--keys-from", str(tmp_path / "keys"))["paths"] == 1
    assert planned("--changed", '["geo", "a.b"]')["paths"] == 2
    assert planned("--changed", "geo.a.b")["paths"] == 0
    left = planned("--changed", "total", "--changed", "geo")
    assert (left["paths"], left["outside"], left["delete"], left["put"]) == (3, 2, 0, 0)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((), 2, "a window or a receipt"),
        (("--from", FROM), 2, "a window or a receipt"),
        ((*WINDOW, "--receipt", "x"), 2, "a window or a receipt"),
        (("--from", TO, "--to", FROM), 2, "no second"),
        (("--from", iso(START - 86400), "--to", TO), 4, "outside the coverage"),
        (("--from", FROM, "--to", "2030-01-01T00:00:00Z"), 4, "not over yet"),
        ((*WINDOW, "--where", "after.state ="), 2, "JMESPath"),
        ((*WINDOW, "--as-delta", "total"), 2, "--mark"),
        ((*WINDOW, "--mark", "id"), 2, "key attribute"),
        ((*WINDOW, "--mark", ""), 2, "needs a name"),
        ((*WINDOW, "--changed", "lines[0].price"), 2, "list"),
        ((*WINDOW, "--changed", '["a", 1]'), 2, "not a path"),
        ((*WINDOW, "--changed", '["a"'), 2, "JSON array"),
        ((*WINDOW, "--changed", "a..b"), 2, "not a path"),
        ((*WINDOW, "--resolve", "missing"), 2, "cannot be read"),
        ((*WINDOW, "--plan", "--canary", "1"), 2, "canary"),
        ((*WINDOW, "--conflicts", "/missing/file"), 2, "cannot be written"),
        ((*WINDOW, "--key", key(77)), 2, "none of these items"),
        (("--receipt", "missing"), 2, "cannot be read"),
        (("--receipt", "x", "--where", "after"), 2, "no meaning"),
        (WINDOW, 2, "Not confirmed"),
    ],
)
def test_mistakes_are_refused(
    night: UndoNight, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """Bad input is refused with a sentence, a hint and an exit code, and nothing is written."""
    rows = encoded(night)
    said = night.run("undo", "orders", *words)
    said.refused(code, sentence)
    assert "--incomplete-ok" not in said.err
    assert night.receipts == []
    assert encoded(night) == rows


def test_a_window_of_an_earlier_epoch_is_refused(night: UndoNight) -> None:
    """A window is undone only in the epoch of the present: otherwise not everything since is
    known. So is a table whose present is not known."""
    night.outage(END + 600, END + 700)
    night.run("undo", "orders", *WINDOW, "--plan").refused(2, "present state")
    night.backfill(END + 800)
    night.run("undo", "orders", *WINDOW, "--plan").refused(4, "earlier epoch")
    words = ("--from", FROM, "--to", iso(END + 1000), "--plan")
    night.run("undo", "orders", *words).refused(4, "two epochs")


def test_a_canary_is_shown_before_the_rest(night: UndoNight) -> None:
    """A canary undoes some rows, shows them, and asks again. A no leaves the others, and its
    receipt takes the canary back."""
    rows = encoded(night)
    said = night.run("undo", "orders", *WINDOW, "--canary", "3", typed="y\nn")
    said.refused(3, "Stopped after the canary")
    changed = {
        name for name in {*rows, *encoded(night)} if rows.get(name) != encoded(night).get(name)
    }
    assert len(changed) == 3
    for name in changed:
        assert f'{{"id":{{"S":"{name}"}}}}' in said.err
    night.tick()
    night.undo("--receipt", night.receipts[0].name, "--yes")
    assert encoded(night) == rows
    night.tick()
    report = night.undo(*WINDOW, "--canary", "2", code=3, typed="y\ny")
    assert report["done"]["update"] >= 8  # what was undone and redone is in conflict


def test_a_canary_that_goes_wrong_ends_the_run(night: UndoNight) -> None:
    """A canary with a row that could not be undone ends the run, even with --yes."""
    night.table.before = failing("update_item")
    said = night.run(
        "undo", "orders", *WINDOW, "--canary", "1", "--yes", "--key", key(5), "--key", key(6)
    )
    said.refused(3, "could not be undone")
    assert [operation for operation, _ in night.table.requests].count("update_item") == 1


def failing(which: str, code: str = "ResourceInUseException") -> Any:
    def rule(operation: str, _: Any) -> None:
        if operation == which:
            raise refusal(code, "no")

    return rule


def test_no_right_to_write(night: UndoNight) -> None:
    """Without the right to write, the first refusal ends the run; the receipt says that nothing was
    written."""
    rows = encoded(night)
    night.table.before = failing("update_item", "AccessDeniedException")
    words = ("--yes", "--where", "before && after")
    said = night.run("undo", "orders", *WINDOW, *words)
    said.refused(2, "not permit")
    lines = gzip.GzipFile(night.receipts[0]).read1(10**6).decode().splitlines()
    outcomes = {found.get("outcome") for found in map(json.loads, lines) if "seq" in found}
    assert outcomes <= {"not written", None}
    assert encoded(night) == rows


def test_an_interrupted_run_resumes(night: UndoNight) -> None:
    """Ctrl-C ends the run and names the receipt of what was written. The same command does the
    rest; both receipts, the last first, give the rows back."""
    rows = encoded(night)
    left = [5]

    def interrupt(operation: str, _: Any) -> None:
        left[0] -= operation == "update_item"
        if not left[0]:
            raise KeyboardInterrupt

    night.table.before = interrupt
    said = night.run("undo", "orders", *WINDOW, "--yes")
    night.table.before = lambda *_: None
    assert said.code == 130
    (receipt,) = night.receipts
    assert f"Receipt of what was written: {receipt.name}" in said.err
    night.tick()
    second = night.undo(*WINDOW, "--yes", code=3)
    assert second["done"]["conflicts"]["paths"] == 2
    assert second["done"]["left"] == []
    assert "order-20" not in night.rows_now()
    for each in (second["receipt"], receipt.name):
        night.tick()
        night.undo("--receipt", each, "--yes")
    assert encoded(night) == rows


def test_conflicts_are_written_and_decided(night: UndoNight, tmp_path: Path) -> None:
    """Conflicts are written to a new file, with their three values. A file with decisions decides
    those that still have these values; the others are left."""
    night.undo(*WINDOW, "--plan", "--conflicts", "conflicts")
    file = tmp_path / "conflicts"
    lines = [*map(json.loads, file.read_text().splitlines())]
    assert sorted(lines, key=lambda each: str(each["key"])) == [
        {
            "key": {"id": {"S": "order-0"}},
            "path": ["state"],
            "before": {"S": "paid"},
            "damaged": {"S": "undefined"},
            "now": {"S": "fixed"},
        },
        {
            "key": {"id": {"S": "order-10"}},
            "path": ["total"],
            "before": {"N": "100"},
            "damaged": {"N": "150"},
            "now": {"N": "170"},
        },
    ]
    night.run("undo", "orders", *WINDOW, "--conflicts", "conflicts").refused(2, "exists")
    decided = [json.dumps(each | {"resolve": "before"}) for each in lines]
    file.write_text("\n".join(decided))
    night.table.write({"id": {"S": "order-0"}}, order(0, "fixed again"))
    report = night.undo(*WINDOW, "--resolve", "conflicts", "--yes", code=3)
    assert report["done"]["conflicts"] == {"paths": 1, "rows": 1}
    assert night.rows_now()["order-10"]["total"] == {"N": "100"}
    assert night.rows_now()["order-0"]["state"] == {"S": "fixed again"}
    night.tick()
    assert night.undo(*WINDOW, "--resolve", "now", "--yes")["done"]["conflicts"]["paths"] == 0
    night.undo(*WINDOW, "--resolve", "before", "--yes")
    assert night.rows_now()["order-0"] == order(0, "paid")
    file.write_text('{"key": 1}')
    night.run("undo", "orders", *WINDOW, "--resolve", "conflicts").refused(2, "Line 1")


def test_a_counter_keeps_later_movements_once(night: UndoNight) -> None:
    """A difference is subtracted in the same request that writes the mark, and not again. The name
    of the mark depends on what is undone."""
    words = ("--mark", "undone", "--as-delta", "total", "--key", key(10), "--key", key(11), "--yes")
    night.undo(*WINDOW, *words)
    rows = night.rows_now()
    assert (rows["order-10"]["total"], rows["order-11"]["total"]) == ({"N": "120"}, {"N": "100"})
    name = rows["order-10"]["undone"]["S"]
    assert name.startswith(f"undo {FROM} {TO} ")
    night.tick()
    assert night.undo(*WINDOW, *words)["done"]["update"] == 0
    assert night.rows_now() == rows
    other = (*words[:1], "undone", "--as-delta", "total", "--changed", "total", *words[4:])
    report = night.undo(*WINDOW, *other, code=3)
    assert all("has another value" in line for line in report["done"]["left"])
    assert night.rows_now() == rows


def test_the_receipt_of_another_table_is_refused(night: UndoNight, tmp_path: Path) -> None:
    """A receipt counts only for the table that it was written for, and only if it is whole."""
    rows = encoded(night)
    report = night.undo(*WINDOW, "--yes", "--key", key(5))
    receipt = tmp_path / report["receipt"]
    night.tick()
    undone = encoded(night)
    for other in ({"TableId": "2"}, {"TableArn": TABLE_ARN.replace("123456789012", "2")}):
        night.live |= other
        said = night.run("undo", "orders", "--receipt", receipt.name, "--yes")
        said.refused(2, "another table", "TableId")
        night.live = {"TableArn": TABLE_ARN, "TableId": "1"}
    whole = receipt.read_bytes()
    receipt.write_bytes(whole[:100] + b"\0\0" + whole[102:])
    night.run("undo", "orders", "--receipt", receipt.name, "--yes").refused(2, "damaged")
    assert encoded(night) == undone
    receipt.write_bytes(whole[:-30])
    said = night.run("undo", "orders", "--receipt", receipt.name, "--yes")
    assert said.code == 0, said
    assert "ends early" in said.err
    assert encoded(night) == rows


def test_other_consumers_are_named(night: UndoNight) -> None:
    """A plan names the replicas, event source mappings, Kinesis destinations and time to live of
    the table, and says what it could not see."""
    night.live |= {"Replicas": [{"RegionName": "eu-west-3"}], "LatestStreamArn": "arn"}
    function = "arn:aws:lambda:eu-central-1:1:function:send-mail"
    night.mappings = [{"UUID": "u", "FunctionArn": function, "State": "Enabled"}]
    stream = {"StreamArn": "arn:aws:kinesis:eu-central-1:1:stream/lake"}
    night.table.described = {
        "describe_kinesis_streaming_destination": {
            "KinesisDataStreamDestinations": [
                {**stream, "DestinationStatus": "ACTIVE"},
                {"StreamArn": "arn:stream/off", "DestinationStatus": "DISABLED"},
            ]
        },
        "describe_time_to_live": refusal("AccessDeniedException"),
    }
    report = night.undo(*WINDOW, "--plan")
    assert report["consumers"] == [
        "The table has a replica in eu-west-3.",
        "The function send-mail reads the stream (Enabled).",
        "The Kinesis stream lake receives its changes.",
    ]
    assert report["consumers_unseen"] == [
        "The table's time to live could not be read: AccessDeniedException."
    ]
    said = night.run("undo", "orders", *WINDOW, "--plan")
    assert "  The function send-mail reads the stream (Enabled)." in said.err


def test_a_version_that_cannot_be_read_ends_it(night: UndoNight) -> None:
    """Where a version cannot be read, nothing is written."""
    night.break_version("order-5")
    rows = encoded(night)
    said = night.run("undo", "orders", *WINDOW, "--yes")
    said.refused(5, "cannot be read")
    assert (encoded(night), night.receipts) == (rows, [])
