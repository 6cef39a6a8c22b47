"""One thing done for each of several tables: what becomes of each, in which order, and with which
exit code. AWS is not needed for any of this."""

import json
import threading
from collections.abc import Callable
from itertools import permutations
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.aws.matching import archived_tables, live_tables, matching
from stream_backup.aws.several import (
    WORST,
    Deliver,
    Several,
    SeveralError,
    TableOutcome,
    TableOutcomes,
    worst,
)
from stream_backup.cli import several as module
from stream_backup.cli.options import Chosen, table_or_match
from stream_backup.errors import (
    ArchiveError,
    CoverageError,
    IncompleteError,
    StreamBackupError,
    UsageError,
)

ERRORS = {
    "usage": UsageError("no", "try"),
    "incomplete": IncompleteError("half", "again"),
    "coverage": CoverageError("too early", "later"),
    "archive": ArchiveError("unreadable", "look"),
    "bug": KeyError("n"),
}


def work_of(errors: dict[str, BaseException]) -> Callable[[str, Deliver], None]:
    """Work that delivers a report of each table and then raises its error."""

    def work(table: str, deliver: Deliver) -> None:
        deliver({"table": table})
        if table in errors:
            raise errors[table]

    return work


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_failure_stops_no_other_table(at_once: int) -> None:
    """Every table is processed, whatever happened to the others, and an error that nobody knows is
    the failure of its table alone. What a table reported before it failed is kept."""
    tables = [*sorted(ERRORS), "orders", "users"]
    told: list[TableOutcome] = []
    found = Several(tables, work_of({**ERRORS}), ended=told.append, at_once=at_once).run()
    assert [each.table for each in found.every] == tables
    assert [each.table for each in found.named("failed")] == sorted(ERRORS)
    assert [each.table for each in found.named("done")] == ["orders", "users"]
    assert {each.table for each in told} == {*tables}
    assert [each.report for each in found.every] == [{"table": table} for table in tables]
    codes = {each.table: each.exit_code for each in found.every}
    assert codes == {
        "archive": 5,
        "bug": 1,
        "coverage": 4,
        "incomplete": 3,
        "usage": 3,
        "orders": 0,
        "users": 0,
    }
    assert {each.table: each.hint for each in found.every}["archive"] == "look"
    assert found.exit_code == 5
    with pytest.raises(SeveralError, match="5 of 7 tables failed") as raised:
        found.complain()
    assert raised.value.exit_code == 5


def test_the_worst_exit_code() -> None:
    """5 is worse than 1, 1 than 4, 4 than 3, and 3 than 0, in whichever order the tables come; the
    2 of one table counts as 3; whatever was interrupted is 130."""
    for codes in permutations((0, 2, 3, 4, 1, 5)):
        assert worst(codes) == 5
    assert [worst([0, code]) for code in (0, 2, 3, 4, 1, 5, 130)] == [0, 3, 3, 4, 1, 5, 130]
    assert [worst([1, code]) for code in (3, 4, 5)] == [1, 1, 5]
    assert worst([3, 4]) == 4


@given(st.lists(st.sampled_from([*WORST, 2]), min_size=1, max_size=5))
def test_the_worst_is_one_of_them(codes: list[int]) -> None:
    """Several tables have the exit code of one of them, and 0 only when all are done."""
    assert worst(codes) in {3 if code == 2 else code for code in codes}
    assert (worst(codes) == 0) == (set(codes) == {0})


def test_a_table_is_left_as_it_is() -> None:
    """A table with a reason to skip it is not processed, and is no failure; one whose reason cannot
    be learned is a failure."""

    def skip(table: str) -> str:
        if table == "broken":
            raise ArchiveError("unreadable")
        return "it was disabled" if table == "off" else ""

    begun: list[tuple[str, int]] = []
    found = Several(
        ["broken", "off", "on"],
        work_of({}),
        skip=skip,
        begins=lambda table, number: begun.append((table, number)),
    ).run()
    assert [(each.table, each.result, each.reason) for each in found.every] == [
        ("broken", "failed", "unreadable"),
        ("off", "skipped", "it was disabled"),
        ("on", "done", ""),
    ]
    assert begun == [("on", 3)]
    assert found.named("skipped")[0].report is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), click.Abort(), BrokenPipeError()])
def test_an_interruption_ends_all(stop: BaseException) -> None:
    """Ctrl-C ends the work on all tables: those that are done stay done, the one that was being
    processed is interrupted, the others are left, and what stopped it is raised again."""
    errors = {"a": ArchiveError("no"), "c": stop}
    stops = (BrokenPipeError, click.Abort)
    found = Several(["a", "b", "c", "d", "e"], work_of(errors), stops=stops).run()
    results = [each.result for each in found.every]
    assert results == ["failed", "done", "interrupted", "left", "left"]
    assert found.exit_code == 130
    with pytest.raises(type(stop)) as raised:
        found.complain()
    assert raised.value is stop


def test_an_interruption_of_many_at_once() -> None:
    """With several tables at once, those that were begun come to their end, and no other begins."""
    both = threading.Barrier(2)

    def work(table: str, _: Deliver) -> None:
        both.wait(timeout=60)
        if table == "a":
            raise BrokenPipeError

    found = Several(["a", "b"], work, at_once=2).run()
    assert [each.result for each in found.every] == ["interrupted", "done"]
    assert found.exit_code == 130


def test_what_is_said_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    """Each failure is said at once with its hint, a summary of every table comes at the end, both
    on stderr, and stdout has one JSON value."""
    errors: dict[str, Any] = {"users": ArchiveError("3 rows differ.", "Look at them.")}
    with pytest.raises(SeveralError) as raised:
        module.run_several(
            ["carts", "orders", "users"],
            work_of(errors),
            as_json=True,
            skip=lambda table: "it was disabled" if table == "carts" else "",
        )
    assert raised.value.exit_code == 5
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "exit_code": 5,
        "tables": [
            outcome("carts", "skipped", reason="it was disabled"),
            outcome("orders", "done", report={"table": "orders"}),
            outcome("users", "failed", 5, "3 rows differ.", "Look at them.", {"table": "users"}),
        ],
    }
    assert said.err == (
        "carts: skipped, because it was disabled.\n"
        "\n[2/3] orders\n"
        "\n[3/3] users\n"
        "users: 3 rows differ.\n  hint: Look at them.\n"
        "\ntable   result\n"
        "carts   skipped      it was disabled\n"
        "orders  done\n"
        "users   failed       3 rows differ.\n"
        "3 tables: 1 skipped, 1 done, 1 failed.\n"
    )


def outcome(
    table: str,
    result: str,
    code: int = 0,
    reason: str | None = None,
    hint: str | None = None,
    report: Any = None,
) -> dict[str, Any]:
    return {
        "table": table,
        "result": result,
        "exit_code": code,
        "reason": reason,
        "hint": hint,
        "report": report,
    }


def test_the_summary_comes_after_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is raised again once the summary and the JSON value say which tables are done."""
    with pytest.raises(KeyboardInterrupt):
        module.run_several(["a", "b", "c"], work_of({"b": KeyboardInterrupt()}), as_json=True)
    said = capsys.readouterr()
    assert '"exit_code": 130' in said.out
    assert "a      done\nb      interrupted\nc      left\n" in said.err


def test_one_table_reports_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """A command for one table prints its own value and raises its own error."""
    module.run_one("orders", work_of({}), as_json=True)
    assert capsys.readouterr().out == '{\n  "table": "orders"\n}\n'
    with pytest.raises(CoverageError):
        module.run_one("coverage", work_of({**ERRORS}), as_json=False)
    assert capsys.readouterr().out == ""


def test_names_match_as_typed() -> None:
    """`*`, `?` and `[…]` match, in which case matters, and the names are sorted."""
    names = ["prod-b", "prod-a", "Prod-c", "prod-ab", "test-a"]
    assert matching(names, "prod-?") == ["prod-a", "prod-b"]
    assert matching(names, "prod-[a]*") == ["prod-a", "prod-ab"]
    assert matching(names, "*") == sorted(names)


class Places:
    """An account with one table, and an archive with another, which was deleted."""

    location = "s3://backups/"

    @property
    def dynamodb(self) -> "Places":
        return self

    def call(self, _: str, request: dict[str, Any]) -> Any:
        class Page:
            data: Any = (
                {"TableNames": ["orders-2"]}
                if request
                else {"TableNames": ["orders-1"], "LastEvaluatedTableName": "orders-1"}
            )

        return Page()

    def tables(self) -> list[str]:
        return ["orders-0"]


def test_a_pattern_is_looked_for_in_the_right_place() -> None:
    """Live tables are those of the account, on every page of its answer; those of the archive are
    found even if they were deleted. Where none matches, that is a usage error with a hint."""
    places: Any = Places()
    assert live_tables(places, "orders-*") == ["orders-1", "orders-2"]
    assert archived_tables(places, "orders-*") == ["orders-0"]
    for find, where in (
        (live_tables, "this account and Region"),
        (archived_tables, "s3://backups/"),
    ):
        with pytest.raises(UsageError, match=r"No table in .* matches 'carts'") as raised:
            find(places, "carts")
        assert where in str(raised.value)
        assert "in quotes" in raised.value.hint


def choice(*words: str, required: bool = True) -> Chosen:
    """What a command receives for these words."""
    found: list[Chosen] = []

    @click.command("back")
    @table_or_match("Back up", required=required)
    def back(chosen: Chosen) -> None:
        found.append(chosen)

    back.main([*words], "back", standalone_mode=False)
    return found[0]


def test_a_table_or_a_pattern() -> None:
    """A command takes exactly one table or one pattern; where it takes neither, it still does not
    take both."""
    assert choice("orders") == Chosen("orders", None)
    assert choice("--match", "prod-*") == Chosen(None, "prod-*")
    assert choice(required=False) == Chosen(None, None)
    for words in ((), ("orders", "--match", "*")):
        with pytest.raises(UsageError, match="Name one table, or a pattern") as raised:
            choice(*words)
        assert raised.value.hint == "back TABLE, or --match PATTERN for every table that matches."
    with pytest.raises(UsageError):
        choice("orders", "--match", "*", required=False)
    for required in (True, False):
        with pytest.raises(UsageError):
            choice("--match", "", required=required)
    with pytest.raises(UsageError, match="not the name of a table"):
        choice("a/b")


def test_nothing_failed() -> None:
    """Nothing is raised when every table is done or skipped."""
    found = TableOutcomes((TableOutcome("a", "done"), TableOutcome("b", "skipped", reason="off")))
    found.complain()
    assert found.exit_code == 0
    assert isinstance(SeveralError("a", "b", 4), StreamBackupError)
