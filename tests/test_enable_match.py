"""`enable --match`: which tables it leaves alone, what it says of those that failed, and where that
is seen later. A mistyped name is answered with the nearest one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.core.nearest import did_you_mean
from tests.cli import Said, Shell, Table, denied, next_second, proxy
from tests.servers import Aws


def stream_of(table: Table, **specification: Any) -> None:
    table.client.update_table(TableName=table.name, StreamSpecification=specification)


def tables(said: Said, result: str) -> list[str]:
    return [each["table"] for each in said.json["tables"] if each["result"] == result]


@pytest.mark.server
def test_many_tables(aws: Aws) -> None:
    """A pattern enables what nobody has decided about. It skips a table that was disabled and one
    that a restore made, and says how to enable them. A table that fails is named with its reason
    and hint; `status` shows it until it is enabled. A table that is enabled by name is not skipped
    after that."""
    shell = Shell(aws, f"s3://{aws.bucket()}")
    fresh, off, source, broken = (
        Table.create(aws, f"many-{name}") for name in ("fresh", "off", "source", "broken")
    )
    source.put({"id": {"S": "a"}})
    for table in (off, source):
        shell.done("enable", table.name, "--stream-only")
    shell.done("backfill", source.name)
    moment = next_second()
    shell.done("restore", source.name, "--at", moment, "--into", "many-copy", "--incomplete-ok")
    shell.done("disable", off.name)
    stream_of(broken, StreamEnabled=True, StreamViewType="KEYS_ONLY")
    match = ("enable", "--match", "many-*", "--stream-only")

    said = shell.run(*match, "--json")
    assert said.code == 3, said
    assert said.json["exit_code"] == 3
    assert tables(said, "done") == [fresh.name, source.name]
    assert tables(said, "failed") == [broken.name]
    skipped = {
        each["table"]: each["reason"] for each in said.json["tables"] if each["result"] == "skipped"
    }
    assert set(skipped) == {"many-copy", off.name}
    assert skipped["many-copy"] == "a restore made it"
    assert skipped[off.name].startswith("it was disabled; its coverage ended at ")
    assert "To enable it all the same: stream-backup enable many-copy" in said.err
    assert f"{broken.name}: The stream of {broken.name} has the view type KEYS_ONLY" in said.err
    assert "\n  hint: If nothing else uses this stream" in said.err
    assert "2 tables enabled, 2 skipped" in said.err
    assert "specification" not in off.client.describe_table(TableName=off.name)["Table"]

    found = shell.done("status", broken.name)
    assert "enable          failed at " in found.out
    assert "KEYS_ONLY" in found.out
    assert f"Run: stream-backup enable {broken.name}" in found.out
    assert f"{broken.name} (" in shell.done("status").out
    assert shell.done("status", broken.name, "--json").json["enable_failed"]["hint"]
    stream_of(broken, StreamEnabled=False)
    shell.done("enable", broken.name, "--stream-only")
    assert shell.done("status", broken.name, "--json").json["enable_failed"] is None
    assert "enable  " not in shell.done("status", broken.name).out

    shell.done("enable", "many-copy", "--stream-only")
    again = shell.done(*match, "--json")
    assert tables(again, "skipped") == [off.name]
    assert tables(again, "done") == [broken.name, "many-copy", fresh.name, source.name]


@pytest.mark.server
def test_a_mistyped_table(aws: Aws) -> None:
    """The hint for a name that does not exist names the nearest one that does, whether the archive
    or AWS was asked, and the command works without permission to list names."""
    table = Table.create(aws, "customers")
    bucket = aws.bucket()
    bare = Shell(aws, f"s3://{bucket}")
    bare.run("enable", "custmers", "--stream-only").refused(2, "Did you mean 'customers'?")
    bare.done("enable", "customers", "--stream-only")
    bare.run("backfill", "Customer").refused(2, "Did you mean 'customers'?", "--region")
    bare.run("verify", "customerss").refused(2, "Did you mean 'customers'?")
    table.client.delete_table(TableName="customers")
    for words in (
        ("status", "customer"),
        ("restore", "custommers", "--at", "5m", "--plan"),
        ("history", "costumers", '{"id": "a"}'),
        ("redrive", "customer", "--failures", bucket),
        ("outage", "customer", "--since", "5m", "--until", "1m"),
    ):
        said = bare.run(*words).refused(2, "Did you mean 'customers'?", "contains nothing of")
        assert said.err.rstrip().splitlines()[-1].startswith("hint: Did you mean")
    bare.run("follow", "customer", "--once").refused(2, "not enabled", "Did you mean 'customers'?")
    bare.run("status", "entirely-different").refused(2, "contains nothing of")
    with proxy(aws.url) as between:
        between.rule = denied("ListTables")
        shell = Shell(between.aws, bare.archive)
        said = shell.run("backfill", "customer").refused(2, "ListTables")
        assert "Did you mean" not in said.err


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("ordres", ["orders", "customers"], "Did you mean 'orders'? "),
        ("ORDERS", ["orders"], "Did you mean 'orders'? "),
        ("orders", [], ""),
        ("zebra", ["orders"], ""),
    ],
)
def test_the_nearest_name(name: str, known: list[str], found: str) -> None:
    """The nearest known name is asked about; where none is near, nothing is."""
    assert did_you_mean(name, known) == found


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=5))
def test_a_suggestion_is_a_known_name(name: str, known: list[str]) -> None:
    """Only known names are suggested, and never the name itself."""
    found = did_you_mean(name, known)
    assert found == "" or found in {f"Did you mean {each!r}? " for each in known if each != name}
