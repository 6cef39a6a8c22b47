"""`incident` on a pseudo-terminal: to the end, interrupted at each question, and with bad input."""

import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.aws.connection import Connection
from stream_backup.cli.incident_report import IncidentReport
from stream_backup.cli.steps import Steps, options_of
from stream_backup.core.item import encode
from stream_backup.core.moment import iso
from tests.damage import CAUSE, END, START, order
from tests.expressions import refusal
from tests.incident_night import IncidentNight, report_in
from tests.terminal import END as END_OF_INPUT
from tests.terminal import INTERRUPT, Ended, Terminal

ORDERS = 8
INCIDENT = ("incident", "orders")
WINDOW = f"--from {iso(CAUSE - 1)} --to {iso(END)}"
WHERE = "after.state == 'undefined'"

WHAT = (
    ("First second", iso(CAUSE)),
    ("Last second", iso(END)),
    ("Are these the seconds", "y"),
    ("Enter for all items", WHERE),
    ("Are these the damaged items", "y"),
)
UNDO = (
    ("undo, rewind, table, nothing", "undo"),
    ("How many rows", "2"),
    ("Undo this in the live table orders", "y"),
    ("Undo the other", "y"),
    ("Compare every row", ""),
)
REWIND = (
    ("undo, rewind, table, nothing", "rewind"),
    ("Rewind the live table orders", "y"),
    ("Rewind the live table orders", "y"),
    ("Compare every row", "n"),
)
TABLE = (
    ("undo, rewind, table, nothing", "table"),
    ("Name of the new table", ""),
    ("Create table orders-restored", "y"),
)
MOMENT = "2026-13-01"
WRONG = {
    "First second": ("yesterday", "2020-01-01T00:00:00Z", "2027-01-01T00:00:00Z", MOMENT),
    "Last second": (iso(CAUSE - 1), "x"),
    "Are these the seconds": ("", "maybe"),
    "Enter for all items": ("after.state =", "state == 'x'"),
    "Are these the damaged items": ("j",),
    "undo, rewind, table, nothing": ("", "Undo", "drop table"),
    "How many rows": ("0", "-1", "many", "1.5"),
    "Undo this": ("yes please",),
    "Undo the other": ("ok",),
    "Compare every row": ("perhaps",),
    "Name of the new table": ("orders", "a b", "x"),
    "Create table": ("", "sure"),
    "Rewind the live": ("rewind",),
}
"""What is not understood at each question."""


@pytest.fixture
def night(tmp_path: Path) -> IncidentNight:
    """Orders 0 to 7 become `undefined`, and one is inserted; another one ships in that time. Since
    then 0 was fixed, and 8 came in."""
    found = IncidentNight(tmp_path)
    found.scan(*(order(number, "paid") for number in (*range(ORDERS), 9)))
    for number in range(ORDERS):
        found.write(CAUSE + number, order(number, "undefined"))
    found.write(CAUSE + 20, order(20, "undefined"))
    found.write(END, order(9, "shipped"))
    found.write(END + 300, order(0, "fixed"))
    found.write(END + 301, order(8, "new"))
    return found


def undone() -> dict[str, str]:
    """The rows as they must be after the undo."""
    rows = [order(0, "fixed"), *(order(number, "paid") for number in range(1, ORDERS))]
    rows += [order(8, "new"), order(9, "shipped")]
    return {row["id"]["S"]: encode(row).decode() for row in rows}


def commands(text: str) -> list[str]:
    return re.findall(r"^\$ (.*)$", text, re.MULTILINE)


def test_an_undo_to_the_end(night: IncidentNight, tmp_path: Path) -> None:
    """It shows what happened, undoes only the damage, first a canary, checks it, and writes a
    report with everything that is needed to repeat it. Conflicts that are left are exit code 3."""
    older = tmp_path / "orders-undo-20261120T000000Z.receipt.jsonl.gz"
    older.touch()
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, WHAT + UNDO)
        again = terminal.run(["undo", "orders", *WINDOW.split(), "--where", WHERE, "--yes"], ())
    assert said.code == 3, said.screen
    assert "nothing was written" not in said.screen.lower()
    assert said.seen == undone()
    assert again.seen == said.seen
    chosen = f'{WINDOW} --where "{WHERE}"'
    wanted = [
        "status orders",
        "timeline orders",
        f"timeline orders --since {iso(CAUSE)} --until {iso(END)}",
        f"diff orders {WINDOW}",
        f"diff orders {chosen}",
        f"undo orders {chosen} --plan",
        f"restore orders --at {iso(CAUSE - 1)} --in-place --plan",
        f"restore orders --at {iso(CAUSE - 1)} --plan",
        f"undo orders {chosen} --canary 2",
        f"undo orders {chosen} --plan",
    ]
    assert commands(said.screen) == [f"stream-backup {each}" for each in wanted]
    report = report_in(tmp_path)
    found = re.findall(r"^    (stream-backup .*?)    # 2026-\S+Z$", report, re.MULTILINE)
    assert found == commands(said.screen)
    assert older.name not in report
    older.unlink()
    (receipt,) = tmp_path.glob("*.receipt.jsonl.gz")
    for sentence in (
        "10 changes from 2026-11-21T02:14:07Z to 2026-11-21T02:19:55Z: 1 insert, 9 modify",
        'state: "paid" → "undefined"   8 items',
        f"--where {WHERE}",
        "The archive is exact from 2026-11-20T00:10:00Z",
        "7 rows to update (7 paths), 1 to delete, 0 to put back, 1 unchanged. 1 conflict in 1 row",
        "9 rows to put, 2 to delete. Everything since then is taken back.",
        "9 items to put into a new table.",
        "7 rows updated (7 paths), 1 deleted, 0 put back",
        f"stream-backup undo orders --receipt {receipt.name}",
        "A new plan of the same undo has nothing to write. 1 conflict in 1 row is left",
    ):
        assert sentence in report, report
    assert "ended early" not in report


@pytest.mark.parametrize("key", [INTERRUPT, END_OF_INPUT])
def test_interrupted_at_each_question(night: IncidentNight, tmp_path: Path, key: str) -> None:
    """Ctrl-C ends it with 130, and the end of the input with 2, at whatever question. Before the
    agreement nothing is written, not even a file, and a command to go on with is named."""
    with night.terminal() as terminal:
        start = terminal.run(["status", "orders"], ()).seen
        for answers in (WHAT + UNDO[:3], WHAT + REWIND[:2], WHAT + TABLE):
            for number, (question, _) in enumerate(answers):
                if number < len(WHAT) and answers != WHAT + UNDO[:3]:
                    continue  # the same questions again
                said = terminal.run(INCIDENT, (*answers[:number], (question, key)))
                assert said.code == (130 if key == INTERRUPT else 2), said.screen
                assert "othing was written." in said.screen
                assert said.seen == start
                assert not [*tmp_path.iterdir()]
                if "in the live table" in question and key == END_OF_INPUT:
                    continue  # that is a no, and the undo itself says so
                if "Rewind" not in question:
                    _goes_on(terminal, said, "incident" if number < 3 else "undo, restore")


def _goes_on(terminal: Terminal, said: Ended, names: str) -> None:
    """Checks that the hint at the end names a command that can be run."""
    hint = said.screen[said.screen.rindex("\nhint: ") :]
    (found,) = re.findall(r"stream-backup (.*)", hint)
    words = shlex.split(found)
    assert words[0] in names
    if words[0] != "incident":
        planned = terminal.run([each for each in words if each != "--plan"] + ["--plan"], ())
        assert planned.code == 0, planned.screen
        assert "Plan: " in planned.screen


@pytest.mark.parametrize("key", [INTERRUPT, END_OF_INPUT, "n"])
@pytest.mark.parametrize("way", [UNDO[:4], REWIND[:3]])
def test_interrupted_after_the_canary(
    night: IncidentNight, tmp_path: Path, key: str, way: tuple[tuple[str, str], ...]
) -> None:
    """After the canary there is a receipt and a report. It names the command that does the rest and
    the one that takes the canary back, and both do so."""
    with night.terminal() as terminal:
        start = terminal.run(["status", "orders"], ()).seen
        said = terminal.run(INCIDENT, (*WHAT, *way[:-1], (way[-1][0], key)))
        assert said.code == (130 if key == INTERRUPT else 3), said.screen
        assert "othing was written" not in said.screen
        assert "A new plan" not in said.screen
        assert said.seen != start
        back, resume = re.findall(
            r"stream-backup ((?:undo|restore) orders --(?:from|at|receipt) .*)", said.screen
        )[-2:]
        report = report_in(tmp_path)
        for text in ("It ended early", back, resume):
            assert text in report
        assert "--canary" not in resume
        taken = terminal.run([*shlex.split(back), "--yes"], ())
        assert taken.seen == start, said.screen[-900:] + taken.screen
        done = terminal.run([*shlex.split(resume), "--yes"], ())
        assert done.code in (0, 3), done.screen


@pytest.mark.parametrize("key", [INTERRUPT, END_OF_INPUT])
def test_interrupted_at_the_last_question(night: IncidentNight, tmp_path: Path, key: str) -> None:
    """When all is done and checked, only the comparison is left: Ctrl-C names its command, and the
    end of the input is a no."""
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, (*WHAT, *UNDO[:-1], (UNDO[-1][0], key)))
    assert said.code == (130 if key == INTERRUPT else 3), said.screen
    assert said.seen == undone()
    report = report_in(tmp_path)
    assert "A new plan of the same undo has nothing to write." in report
    assert ("stream-backup verify orders" in report) == (key == INTERRUPT)
    assert ("It ended early" in report) == (key == INTERRUPT)


def test_a_rewind_to_the_end(night: IncidentNight, tmp_path: Path) -> None:
    """A rewind shows its canary before it asks, and ends with the table as it was."""
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, WHAT + REWIND)
    assert said.code == 0, said.screen
    rows = [order(number, "paid") for number in (*range(ORDERS), 9)]
    assert said.seen == {row["id"]["S"]: encode(row).decode() for row in rows}
    assert "paid" in said.screen[said.screen.index("as a canary") :]
    assert "A new plan of the same rewind has nothing to write." in said.screen
    assert len([*tmp_path.glob("*.receipt.jsonl.gz")]) == 2
    assert report_in(tmp_path).count("--receipt") == 2


def test_nothing_is_a_choice(night: IncidentNight, tmp_path: Path) -> None:
    """Whoever chooses nothing gets a report of what was found, and no table is written to."""
    with night.terminal() as terminal:
        start = terminal.run(["status", "orders"], ()).seen
        said = terminal.run(INCIDENT, (*WHAT, ("undo, rewind", "nothing")))
    assert (said.code, said.seen) == (0, start), said.screen
    assert "No table was written to." in report_in(tmp_path)


@pytest.mark.parametrize("way", [UNDO, REWIND, TABLE[:2]])
def test_bad_input_is_asked_again(night: IncidentNight, way: tuple[tuple[str, str], ...]) -> None:
    """What is not understood at a question is asked again, with a hint."""
    answers, hints = list[tuple[str, str]](), 0
    for question, answer in WHAT + way:
        (wrong,) = [typed for start, typed in WRONG.items() if question.startswith(start)]
        answers += [(question, typed) for typed in wrong]
        hints += len(wrong)
        answers.append((question, answer))
    if way == TABLE[:2]:
        answers += [("Create table", typed) for typed in WRONG["Create table"]]
        answers.append(("Create table", "n"))
        hints += len(WRONG["Create table"])
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, answers)
    assert said.code == {UNDO: 3, REWIND: 0}.get(way, 2), said.screen
    assert said.screen.count("hint: ") == hints + (said.code > 0)


def test_other_seconds_and_items_are_chosen(night: IncidentNight) -> None:
    """A no at the seconds or at the items, seconds without changes, and an expression that matches
    nothing lead back to the question. Enter takes the busiest stretch, first of all the items."""
    quiet = (("First second", "2026-11-21T01:00:00Z"), ("Last second", "2026-11-21T01:01:00Z"))
    wide = (("First second", ""), ("Last second", ""), ("Are these the seconds", "n"))
    items = (
        ("Enter for all items", "after.state == 'unknown'"),
        ("Enter for all items", WHERE),
        ("Are these the damaged items", "n"),
        ("Enter for all items", ""),
    )
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, (*quiet, *wide, *WHAT[:3], *items, ("undo, rew", INTERRUPT)))
    assert said.code == 130, said.screen
    assert "Nothing changed in these seconds." in said.screen
    assert "No item matches this expression." in said.screen
    assert "  undo     8 rows to update" in said.screen


def test_ways_that_are_not_possible_are_not_offered(night: IncidentNight, tmp_path: Path) -> None:
    """Where the present is not known, neither an undo nor a rewind is offered, and the reason is
    shown."""
    night.outage(END + 600, END + 700)
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, (*WHAT, ("table, nothing", "undo"), ("table, n", "nothing")))
    assert said.code == 0, said.screen
    assert said.screen.count("Not possible. The archive does not cover the present") == 2
    assert "Not possible." in report_in(tmp_path)


def test_no_exact_moment(tmp_path: Path) -> None:
    """Without coverage it ends with what the timeline says, after the status."""
    night = IncidentNight(tmp_path)
    night.outage(START - 30, START + 10)
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, ())
    assert said.code == 4, said.screen
    assert not [*tmp_path.iterdir()]


def test_an_error_in_the_run_is_reported(night: IncidentNight, tmp_path: Path) -> None:
    """When AWS stops permitting writes, there is a report with what was written and how to go
    on."""

    def rule(operation: str, request: object) -> None:
        done = [each for each in night.table.log if each.by == "update_item"]
        if operation == "update_item" and len(done) >= 2:
            raise refusal("AccessDeniedException", "no")

    night.table.before = rule
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, WHAT + UNDO[:4])
    assert said.code == 2, said.screen
    assert "To resume: stream-backup undo orders" in said.screen
    report = report_in(tmp_path)
    assert "It ended early" in report
    assert "not permit" in report or "AccessDenied" in report
    assert "--receipt" in report


def test_rows_that_are_left_are_found_by_the_check(night: IncidentNight, tmp_path: Path) -> None:
    """When a row could not be undone, the new plan has it, and the end says how to resume."""

    def rule(operation: str, request: dict[str, Any]) -> None:
        if operation == "update_item" and request["Key"]["id"]["S"] == "order-3":
            raise refusal("ResourceInUseException", "no")

    night.table.before = rule
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, WHAT + UNDO[:4])
    assert said.code == 3, said.screen
    assert "The undo is not complete: 1 row to update" in said.screen
    assert "hint: To resume: stream-backup undo orders" in said.screen
    report = report_in(tmp_path)
    assert "6 rows updated (6 paths), 1 deleted" in report
    assert "The undo is not complete" in report


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_a_printed_command_is_the_command(words: list[str]) -> None:
    """A shell reads the printed text as exactly the words that are run, and the options of the
    connection are among them."""
    connection = Connection("night shift", "eu-central-1", "s3://b/it's", "other")
    options = (
        *("--archive", "s3://b/it's", "--stack", "other"),
        *("--profile", "night shift", "--region", "eu-central-1"),
    )
    assert options_of(connection) == options
    text = Steps("orders", options, float).text("diff", *words)
    assert shlex.split(text) == ["stream-backup", "diff", "orders", *words, *options]
    assert options_of(Connection(None, None, None)) == ()


def test_without_a_terminal_it_is_refused(
    night: IncidentNight, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody can answer it asks nothing, and names the commands that it would run."""
    assert night.command([*INCIDENT]) == 2
    said = capsys.readouterr().err
    for name in ("status", "timeline", "diff", "undo", "restore"):
        assert f"stream-backup {name} orders" in said
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_written_is_refused_first(night: IncidentNight) -> None:
    """The receipt and the report need a folder, and that is checked before anything is read."""
    night.folder = Path("/proc")
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, ())
    assert said.code == 2
    assert "$ " not in said.screen


def test_what_comes_from_the_table_is_text_in_the_report(tmp_path: Path) -> None:
    """Names and values of attributes cannot end the indented block that they are in, and a second
    report of the same second gets another name."""
    hostile = "`</code>\n# done\r\n\x1b[2J\u2028<script>"
    found = IncidentReport("orders", "2026-11-21T03:00:00Z", hostile, [(hostile, hostile)])
    found.shapes, found.where, found.done = [hostile], hostile, [hostile]
    found.ended, found.checked, found.offers = hostile, [hostile], {"undo": hostile}
    first, second = found.write(tmp_path), found.write(tmp_path)
    assert second.name == "orders-incident-20261121T030000Z-2.md"
    text = first.read_text()
    assert all(each.startswith("    ") for each in text.splitlines() if "script" in each)
    assert text.count("script") == 9
    assert not {*text} & {"\r", "\x1b", "\u2028"}


@pytest.mark.parametrize("way", [UNDO[:4], REWIND[:3]])
def test_interrupted_while_it_writes(
    night: IncidentNight, tmp_path: Path, way: tuple[tuple[str, str], ...]
) -> None:
    """Ctrl-C in the middle of the run leaves a receipt and a report, and names the command that
    does the rest."""
    signals: list[int] = []

    def stop(operation: str, _: object) -> None:
        signals.append(operation in ("update_item", "put_item", "delete_item"))
        if signals[-1] and sum(signals) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    night.table.after = stop
    with night.terminal() as terminal:
        said = terminal.run(INCIDENT, (*WHAT, *way))
        assert said.code == 130, said.screen
        assert "It ended early" in report_in(tmp_path)
        (resume,) = re.findall(r"hint: To resume: stream-backup (.*)", said.screen)
        done = terminal.run([*shlex.split(resume), "--yes"], ())
        assert done.code in (0, 3), done.screen
        again = terminal.run([*shlex.split(resume), "--plan"], ())
    assert re.search(r": 0 (rows to update|to put), 0 to delete", again.screen), again.screen
