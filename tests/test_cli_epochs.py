"""A table is deleted, recreated, and enabled again: earlier coverage stays, and nothing in between
is claimed."""

import time
from dataclasses import replace

import pytest

from stream_backup.core.item import Item
from tests.cli import Shell, Table, lines, next_second, proxy
from tests.servers import Aws
from tests.stack import Deployed

pytestmark = pytest.mark.server


def row(number: int, note: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "note": {"S": note}}


def test_a_table_deleted_and_made_again(ministack_url: str) -> None:
    """A deleted table is restored under its own name. After it is enabled again, an exact moment of
    the deleted table can still be restored, into a file and in place. The time in between is
    refused, and rows of the deleted table do not come back."""
    aws = Aws(ministack_url)
    shell, table = Shell(aws, f"s3://{aws.bucket()}"), Table.create(aws, "lost")
    table.put(*(row(number, "first life") for number in range(6)))
    shell.done("enable", "lost", "--stream-only")
    shell.done("backfill", "lost")
    table.put(row(1, "changed"))
    table.delete({"id": {"S": "row-2"}})
    good = next_second()
    first = table.rows()
    table.put(row(3, "BAD"))
    shell.done("follow", "lost", "--once")
    table.client.delete_table(TableName="lost")
    assert shell.done("status", "lost", "--json").json["state"] == "no table"

    for _ in range(2):  # a likely first reaction, and a second try
        said = shell.run("follow", "lost", "--once")
        assert said.code == 0 or said.refused(2, "gone")
    shell.done("restore", "lost", "--at", good, "--into", "lost")
    assert table.rows() == first

    table.delete({"id": {"S": "row-4"}}, {"id": {"S": "row-5"}})
    between = next_second()
    shell.run("backfill", "lost").refused(2, "stream of lost is off")
    shell.done("enable", "lost", "--stream-only")
    shell.done("backfill", "lost")
    table.put(row(7, "second life"))
    again = next_second()
    second = table.rows()
    shell.done("follow", "lost", "--once")

    report = shell.done("status", "lost", "--json").json
    assert len(report["epochs"]) == 2
    assert len(report["gaps"]) == 1
    said = shell.run("restore", "lost", "--at", between, "--to", "-").refused(4, "outside")
    assert report["epochs"][0]["start"] in said.err
    assert report["epochs"][1]["start"] in said.err
    assert lines(shell.done("restore", "lost", "--at", good, "--to", "-").out) == first
    assert lines(shell.done("restore", "lost", "--at", again, "--to", "-").out) == second
    shell.done("restore", "lost", "--at", good, "--in-place", "--yes")
    assert table.rows() == first
    shell.done("restore", "lost", "--at", again, "--in-place", "--yes")
    assert table.rows() == second


def test_a_stream_nobody_read(ministack_url: str) -> None:
    """After a backfill, no later moment is claimed while nobody has read the stream, even if it is
    switched off. Running follow in the wrong Region does no harm."""
    aws = Aws(ministack_url)
    shell, table = Shell(aws, f"s3://{aws.bucket()}"), Table.create(aws, "never-read")
    table.put(row(1, "x"))
    shell.done("enable", "never-read", "--stream-only")
    shell.done("backfill", "never-read")
    table.put(row(1, "nobody has seen this"))
    moment = next_second()
    truth = table.rows()
    time.sleep(8)  # the last seconds before a stream goes off are not claimed
    shell.done("disable", "never-read")
    shell.run("restore", "never-read", "--at", moment, "--to", "-").refused(4)
    said = shell.run("follow", "never-read", "--once", "--region", "eu-west-1").refused(
        2, "eu-west-1"
    )
    assert "--region us-east-1" in said.err
    shell.done("follow", "never-read", "--once")
    assert lines(shell.done("restore", "never-read", "--at", moment, "--to", "-").out) == truth


def test_a_dropped_table_that_a_function_read_is_restored_under_its_own_name(aws: Aws) -> None:
    """A restore of a deleted table under its own name is resumed after it was cut off, although the
    half-filled table has the name of the old one; and the epoch of the old table, in which nothing
    was changed after the backfill, stays exact when the new one is complete."""
    deployed = Deployed.make(aws)
    shell, table = deployed.shell, Table.create(aws, "quiet")
    table.put(*(row(number, "first life") for number in range(40)))
    shell.done("enable", "quiet")
    covered = shell.done("backfill", "quiet", "--json").json["answered"]
    good, rows = next_second(), table.rows()
    table.client.delete_table(TableName="quiet")
    restore = ("restore", "quiet", "--at", good, "--into", "quiet", "--json")
    with proxy(aws.url) as between:
        refused = 400, b'{"__type": "com.amazon#ItemCollectionSizeLimitExceededException"}'
        between.rule = lambda asked: refused if asked.operation == "BatchWriteItem" else None
        assert replace(shell, aws=between.aws).run(*restore).code == 3
    assert table.rows() == []
    assert shell.done("status", "quiet", "--json").json["earliest"] == covered
    shell.run("restore", "quiet", "--at", next_second(), "--to", "-").refused(4, "outside")
    resumed = shell.done(*restore).json
    assert (resumed["resumed"], table.rows()) == (True, rows)
    assert shell.done("status", "quiet", "--json").json["earliest"] == covered
    assert lines(shell.done("restore", "quiet", "--at", covered, "--to", "-").out) == rows
    shell.run("restore", "quiet", "--at", next_second(), "--to", "-").refused(4, "outside")
