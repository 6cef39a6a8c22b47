"""`--match` of each command that has it, on an account with several tables, of which some are
broken: what each of them reports, and with which exit code."""

from collections.abc import Callable
from typing import Any

import pytest

from stream_backup.cli import drill as drill_module
from stream_backup.core.drill import DrillRecord
from stream_backup.drill.run import DrillRequest
from stream_backup.errors import CoverageError
from tests.account import Account, Reply, account, said
from tests.fake_dynamodb import refusal

__all__ = ["account", "said"]

Run = Callable[..., Reply]


def test_many_tables_from_the_beginning(account: Account, said: Run) -> None:
    """Several tables are enabled, backed up, compared and checked with one command each. A table
    that was disabled, and one that a restore made, are skipped where the live table is needed."""
    for name in ("shop-a", "shop-b", "shop-off", "other"):
        account.create(name)
    account.create("shop-copy", tags={"stream-backup:restored": "shop-a"})
    assert said("enable", "shop-off").code == 0
    assert said("disable", "shop-off").code == 0

    enabled = said("enable", "--match", "shop-*", "--json")
    assert (enabled.code, enabled.json["exit_code"]) == (0, 0)
    assert enabled.tables("done") == ["shop-a", "shop-b"]
    assert enabled.tables("skipped") == ["shop-copy", "shop-off"]

    done = said("backfill", "--match", "shop-*", "--json")
    assert done.code == 0, done.err
    assert done.tables("done") == ["shop-a", "shop-b"]
    assert done.tables("skipped") == ["shop-copy", "shop-off"]
    reports = {each["table"]: each["report"] for each in done.json["tables"]}
    assert reports["shop-a"]["counts"]["written"] == 5
    assert reports["shop-off"] is None
    assert "[2/4] shop-b" in done.err
    assert "[3/4]" not in done.err
    assert "shop-off: skipped, because it was disabled; its coverage ended at" in done.err
    assert "4 tables: 2 done, 2 skipped." in done.err

    compared = said("verify", "--match", "shop-*", "--json")
    assert compared.code == 0, compared.err
    assert [each["report"]["equal"] for each in compared.json["tables"] if each["report"]] == [5, 5]

    checked = said("check", "--match", "shop-*", "--json")
    assert checked.code == 0, checked.err
    assert checked.tables("done") == ["shop-a", "shop-b", "shop-off"]
    assert [each["report"]["items"] for each in checked.json["tables"]] == [5, 5, 0]

    shown = said("status", "--match", "shop-*")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count("(stream on)") == 2


def test_a_broken_table_stops_no_other(
    account: Account, said: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each command, the tables after the broken one are processed, what is wrong with it is
    said with a hint, and the exit code is the worst."""
    for name in ("shop-a", "shop-b", "shop-c"):
        account.create(name)
    assert said("enable", "--match", "shop-*").code == 0

    def deny(operation: str, request: dict[str, Any]) -> None:
        if operation == "scan" and request["TableName"] == "shop-b":
            raise refusal("AccessDeniedException")

    account.on_call = deny
    done = said("backfill", "--match", "shop-*", "--json")
    assert (done.code, done.json["exit_code"]) == (3, 3)
    assert done.tables("done") == ["shop-a", "shop-c"]
    assert done.tables("failed") == ["shop-b"]
    assert "shop-b: AWS does not permit" in done.err
    assert "  hint: The role needs" in done.err
    assert done.err.rstrip().splitlines()[-1].startswith("hint: Fix the cause")
    assert "1 of 3 tables failed; they are listed above." in done.err
    account.on_call = lambda *_: None
    assert said("backfill", "--match", "shop-*").code == 0

    account.live["shop-a"].rows.clear()  # nobody reads the stream here
    monkeypatch.setattr("stream_backup.verify.run.grace", lambda _: 0.0)
    wrong = said("verify", "--match", "shop-*", "--json")
    assert wrong.code == 5, wrong.err
    assert wrong.tables("failed") == ["shop-a"]
    first = wrong.json["tables"][0]
    assert (first["exit_code"], first["report"]["extra"]) == (5, 5)
    assert "5 rows of shop-a do not match the archive." in first["reason"]

    account.damage("shop-c")
    for command in ("check", "status"):
        found = said(command, "--match", "shop-*", "--json")
        assert found.code == 5, found.err
        assert found.tables("failed") == ["shop-c"]
        assert found.tables("done") == ["shop-a", "shop-b"]


def test_one_unreadable_table_does_not_end_the_status(account: Account, said: Run) -> None:
    """`status` shows the tables before and after one whose records cannot be read, and that one as
    unreadable; the exit code is 5. The same for one table alone is an error."""
    for name in ("a", "b", "c"):
        account.create(name)
        assert said("enable", name).code == 0
    account.damage("b")
    shown = said("status")
    assert shown.code == 5
    headings = [line for line in shown.out.splitlines() if not line.startswith(" ")]
    assert headings == ["a (stream on)", "b (unreadable)", "c (stream on)"]
    assert "is not in format 1" in shown.out
    assert "1 of 3 tables failed" in shown.err
    assert said("status", "b").code == 5
    assert said("status", "b").out == ""
    assert said("status", "a", "--json").json["table"] == "a"


@pytest.mark.parametrize("command", ["enable", "backfill", "verify", "check", "status", "drill"])
def test_no_table_matches(account: Account, said: Run, command: str) -> None:
    """A pattern that no table matches is a usage error with a hint, with every command."""
    account.create("orders")
    assert said("enable", "orders").code == 0
    found = said(command, "--match", "nothing-*")
    assert (found.code, found.out) == (2, "")
    sentence, hint = found.err.splitlines()
    assert sentence.startswith("No table in ")
    assert sentence.endswith(" matches 'nothing-*'.")
    assert hint.startswith("hint: Check the pattern (in quotes)")


@pytest.mark.parametrize("command", ["enable", "backfill", "verify", "check", "drill"])
def test_neither_a_table_nor_a_pattern(account: Account, said: Run, command: str) -> None:
    """A command that needs a table says so, and refuses both at once."""
    for words, end in ((), "."), (("orders", "--match", "*"), ", not both."):
        found = said(command, *words)
        assert (found.code, found.out) == (2, "")
        assert f"Name one table, or a pattern{end}" in found.err
    assert account.calls.total() == 0


def test_a_table_that_is_gone(account: Account, said: Run) -> None:
    """`check` and `status` find a table that was deleted by its archive. `backfill` and `verify`
    need the live table, and do not."""
    account.create("shop-a")
    account.create("shop-gone")
    assert said("enable", "--match", "shop-*").code == 0
    assert said("backfill", "--match", "shop-*").code == 0
    del account.live["shop-gone"]
    for command in ("check", "status"):
        assert said(command, "--match", "shop-*", "--json").tables("done") == [
            "shop-a",
            "shop-gone",
        ]
    for command in ("backfill", "verify"):
        assert said(command, "--match", "shop-*", "--json").tables("done") == ["shop-a"]


def test_a_table_that_was_never_enabled(account: Account, said: Run) -> None:
    """It matches, so it is expected to be backed up: its failure says that it is not."""
    account.create("orders")
    account.create("users")
    assert said("enable", "orders").code == 0
    done = said("backfill", "--match", "*", "--json")
    assert (done.code, done.tables("failed")) == (3, ["users"])
    assert "The stream of users is off" in done.err
    compared = said("verify", "--match", "*", "--json")
    assert (compared.code, compared.tables("failed")) == (3, ["users"])


def test_ctrl_c_ends_all_tables(account: Account, said: Run) -> None:
    """Ctrl-C during one table ends the command with 130, after it said which tables are done, which
    was interrupted, and which are left. Running it again resumes."""
    for name in ("a", "b", "c"):
        account.create(name)
    assert said("enable", "--match", "*").code == 0

    def interrupt(operation: str, request: dict[str, Any]) -> None:
        if operation == "describe_table" and request["TableName"] == "b" and account.calls["scan"]:
            raise KeyboardInterrupt

    account.on_call = interrupt
    stopped = said("backfill", "--match", "*", "--json")
    assert (stopped.code, stopped.json["exit_code"]) == (130, 130)
    assert [each["result"] for each in stopped.json["tables"]] == ["done", "interrupted", "left"]
    assert "a      done\nb      interrupted\nc      left\n" in stopped.err
    assert stopped.err.splitlines()[-2:] == [
        "Interrupted.",
        "hint: Nothing was lost. Run the same command again to resume.",
    ]
    account.on_call = lambda *_: None
    assert said("backfill", "--match", "*", "--json").tables("done") == ["a", "b", "c"]


def drilled(table: str, result: Any = "passed") -> DrillRecord:
    return DrillRecord(
        name="2026-11-21T12:00:00Z-abcdef",
        table=table,
        archive="s3://backups/",
        began=0,
        ended=60,
        by="somebody",
        result=result,
        reason="" if result == "passed" else "3 items differ",
        seed=1,
        part="all",
    )


def test_many_drills(account: Account, said: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table of the archive that matches is drilled with the same options; one that fails, and
    one that is refused, stop no other. `--report --match` reports the drills of those that
    match."""
    for name in ("a1", "a2", "a3", "b1"):
        account.create(name)
        assert said("enable", name).code == 0
    asked: list[DrillRequest] = []

    def drill(_: Any, request: DrillRequest, *__: Any) -> DrillRecord:
        asked.append(request)
        if request.table == "a2":
            raise CoverageError("No moment is exact.", "Run a backfill.")
        return drilled(request.table, "failed" if request.table == "a1" else "passed")

    monkeypatch.setattr(drill_module, "run_drill", drill)
    found = said("drill", "--match", "a?", "--rows", "10", "--json")
    assert found.code == 5
    assert [(each.table, each.rows) for each in asked] == [("a1", 10), ("a2", 10), ("a3", 10)]
    assert [each["exit_code"] for each in found.json["tables"]] == [5, 4, 0]
    assert found.json["tables"][0]["report"]["result"] == "failed"

    account.catalog("a3").write_drill(drilled("a3"))
    account.catalog("b1").write_drill(drilled("b1"))
    reported = said("drill", "--report", "--match", "a*", "--json")
    assert [each["table"] for each in reported.json] == ["a1", "a2", "a3"]
