"""`status --check`: what needs attention and what does not, how it is reported, and the exit code
for a monitoring system."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_backup.capture.attention import BEHIND, KINDS, AttentionLimits, attention
from stream_backup.cli.status import status
from stream_backup.core.drill import DrillRecord
from stream_backup.core.moment import iso
from stream_backup.core.records import EnableAttempt, End, Outage
from tests.account import Account, Reply, account, said
from tests.fake_dynamodb import refusal
from tests.test_many_tables import drilled

__all__ = ["account", "said"]

Run = Callable[..., Reply]
HOUR, DAY = 3600, 24 * 3600


@pytest.fixture
def well(account: Account, said: Run) -> Account:
    """An account with two tables that are backed up."""
    for name in ("orders", "users"):
        account.create(name)
        assert said("enable", name).code == 0
        assert said("backfill", name).code == 0
    return account


def read_up_to_now(account: Account) -> None:
    """The watcher runs, and sees that everything has been read."""
    from stream_backup.capture.watch import watch

    for table in account.tables():
        watch(account, table)


def stop_reading(account: Account) -> None:
    """Nothing reads the streams any more."""
    account.get_event_source_mapping = lambda UUID: {"State": "Disabled"}  # type: ignore[method-assign]  # noqa: N803


def kinds(account: Account, table: str = "orders", **limits: Any) -> list[str]:
    return [each.kind for each in attention(account, table, AttentionLimits(**limits))]


def test_all_is_well(well: Account, said: Run) -> None:
    """With nothing to report, stdout is empty and the exit code 0. JSON names the tables that were
    looked at."""
    found = said("status", "--check")
    assert (found.code, found.out) == (0, "")
    assert found.err == "2 tables were checked. None needs attention.\n"
    found = said("status", "--check", "--json")
    assert found.code == 0
    assert found.json == {
        "exit_code": 0,
        "tables": [{"table": "orders", "findings": []}, {"table": "users", "findings": []}],
    }
    assert said("status", "orders", "--check", "--json").json["tables"] == found.json["tables"][:1]
    assert (
        said("status", "--match", "u*", "--check", "--json").json["tables"]
        == (found.json["tables"][1:])
    )


def test_one_line_for_each_finding(well: Account, said: Run) -> None:
    """Each finding is one line on stdout with the table, the kind and a sentence; the exit code is
    6, whatever was found, and a table that cannot be read keeps no other from being looked at."""
    well.create("young")
    assert said("enable", "young").code == 0
    well.damage("orders")
    found = said("status", "--check")
    assert found.code == 6
    first, second = found.out.splitlines()
    assert first.startswith("orders: unreadable: orders/meta/streams/foreign.json in the archive")
    assert second == (
        "young: no-coverage: No backfill was completed while its stream was on, so no moment is"
        " exact."
    )
    assert "  hint: Run: stream-backup backfill young" in found.err
    assert "2 of 3 tables need attention." in found.err
    found = said("status", "--check", "--json")
    assert (found.code, found.json["exit_code"]) == (6, 6)
    listed = {each["table"]: each["findings"] for each in found.json["tables"]}
    assert [each["kind"] for each in listed["young"]] == ["no-coverage"]
    assert listed["users"] == []


def test_an_archive_without_tables_is_not_well(account: Account, said: Run) -> None:
    """An archive that holds no table, or none that matches, is bad input: its address is wrong."""
    assert account.tables() == []
    for words in ((), ("--match", "*"), ("orders",)):
        found = said("status", *words, "--check")
        assert (found.code, found.out) == (2, "")
    assert said("status").code == 0


def test_behind(well: Account) -> None:
    """A table is behind when its newest exact second is older than the limit, and not before."""
    read_up_to_now(well)
    found = next(reversed(well.catalog("orders").streams()))
    witness = well.catalog("orders").witness(found.label)
    assert witness
    stop_reading(well)
    well.second = witness.read + BEHIND - 5
    assert kinds(well) == []
    well.second = witness.read + BEHIND + 5
    assert kinds(well) == ["behind"]
    assert kinds(well, behind=2 * BEHIND) == []


def test_disabled_on_purpose(well: Account, said: Run) -> None:
    """A table that somebody disabled is not expected to get newer: it is well for ever. If it was
    switched off without `disable`, that is a gap."""
    assert said("disable", "orders").code == 0
    well.switch_off("users")
    well.second += 30 * DAY
    assert kinds(well, "orders") == []
    assert kinds(well, "orders", drill_days=1) == []
    assert kinds(well, "users") == ["gap"]


def test_a_gap_is_open_until_a_backfill_closes_it(well: Account, said: Run) -> None:
    """An outage is a gap until a backfill begins a new epoch, and no finding afterwards."""
    stream = well.stream("orders")
    assert stream
    well.second += 600
    now = well.clock()
    well.catalog("orders").write_outage(Outage(stream.label, now - 60, now - 30, "somebody knows"))
    (found,) = attention(well, "orders", AttentionLimits())
    assert found.kind == "gap"
    assert f"No moment after {iso(now - 60)} is exact." in found.reason
    assert "somebody knows" in found.reason
    assert said("backfill", "orders").code == 0
    assert kinds(well) == []


def test_a_table_that_was_deleted(well: Account) -> None:
    """A deletion is reported for a day; after that, the archive is simply that of a former
    table."""
    del well.live["orders"]
    stop_reading(well)
    well.second += HOUR
    assert kinds(well) == ["no-table"]
    well.second += DAY
    assert kinds(well) == []


def test_not_enabled(well: Account) -> None:
    """A table whose last attempt to be enabled failed needs attention, and so does one of which the
    archive has only rows."""
    attempt = EnableAttempt(well.clock(), "The stream has the view type KEYS_ONLY.", "Do this.")
    well.catalog("broken").write_enable_attempt(attempt)
    (found,) = attention(well, "broken", AttentionLimits())
    assert found.kind == "not-enabled"
    assert found.reason.endswith("The stream has the view type KEYS_ONLY.")
    assert found.hint == "Do this."
    assert kinds(well, "nothing") == ["not-enabled"]


def test_failed_batches(well: Account) -> None:
    """Batches in the failures bucket need attention, of a disabled table too."""
    well.failed["aws/lambda/mapping-0/shard/2026/11/21/2026-11-21T12.00.00-x"] = b"{}"
    assert kinds(well, behind=DAY) == ["failed-batches"]
    stream = well.stream("orders")
    assert stream
    well.switch_off("orders")
    well.catalog("orders").write_end(stream.label, End(well.clock(), "switched off"))
    assert kinds(well) == ["failed-batches"]


def test_what_may_not_be_read_is_a_finding(well: Account) -> None:
    """Where a permission is missing, nobody knows that all is well, so the check does not say
    so."""

    def deny(operation: str, _: Any) -> None:
        if operation == "describe_table":
            raise refusal("AccessDeniedException")

    well.on_call = deny
    (found,) = attention(well, "orders", AttentionLimits())
    assert (found.kind, found.reason) == ("unknown", "No permission to describe table orders.")


def record(table: str, ended: int, result: Any = "passed") -> DrillRecord:
    return replace(drilled(table, result), name=iso(ended), began=ended - 60, ended=ended)


def test_drills(well: Account, said: Run) -> None:
    """Where drills are scheduled, a table of which none has passed for so many days needs
    attention. A drill that failed does not count, and a table that was enabled lately may wait."""
    assert kinds(well, drill_days=2, behind=99 * DAY) == []
    begun = well.clock()
    well.second += 3 * DAY
    assert kinds(well, behind=99 * DAY) == []
    assert kinds(well, drill_days=2, behind=99 * DAY) == ["drill"]
    assert kinds(well, drill_days=2, drilled=frozenset(["users"]), behind=99 * DAY) == []
    well.catalog("orders").write_drill(record("orders", begun + 2 * DAY, "failed"))
    assert kinds(well, drill_days=2, behind=99 * DAY) == ["drill"]
    well.catalog("orders").write_drill(record("orders", begun + 2 * DAY))
    assert kinds(well, drill_days=2, behind=99 * DAY) == []

    stack = well.stack
    assert stack
    words = ("status", "--check", "--max-behind", "99d", "--json")
    assert said(*words).code == 0
    well.__dict__["stack"] = replace(stack, drill_tables="*", drill_days=2)
    found = said(*words).json
    assert [[each["kind"] for each in table["findings"]] for table in found["tables"]] == [
        [],
        ["drill"],
    ]
    well.__dict__["stack"] = replace(stack, drill_tables="orders", drill_days=2)
    assert said(*words).code == 0
    elsewhere = replace(stack, archive="s3://other", drill_tables="*", drill_days=2)
    well.__dict__["stack"] = elsewhere  # the stack of another archive says nothing about this one
    assert said(*words).code == 0
    assert said(*words, "--drill-days", "2").code == 6


def test_options_of_the_check(account: Account, said: Run) -> None:
    """Its options need --check, and a limit is a duration."""
    for words in (("--max-behind", "1h"), ("--drill-days", "3")):
        assert "need --check" in said("status", *words).err
    found = said("status", "--check", "--max-behind", "soon")
    assert (found.code, account.calls.total()) == (2, 0)


def test_every_kind_is_documented() -> None:
    """The help and the operations page say of each kind when it is found, in the words of the
    rule."""
    page = Path(__file__).parent.parent / "docs" / "operations.md"
    shown = " ".join(page.read_text().split())
    for kind, sentence in KINDS.items():
        assert f"{kind:<14}  {sentence}" in (status.help or ""), kind
        assert f"| `{kind}` | {sentence} |" in shown, kind
