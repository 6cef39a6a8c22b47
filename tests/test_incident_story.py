"""`incident` as the installed program, on an emulated AWS: a new table first, then an undo that is
compared with the archive row by row."""

import subprocess
from pathlib import Path

import pytest

from stream_backup.core.item import Item, encode
from tests.cli import BIN, Shell, Table, next_second
from tests.servers import Aws
from tests.terminal import Terminal

pytestmark = [pytest.mark.server, pytest.mark.once]


def order(number: int, state: str) -> Item:
    return {"id": {"S": f"order-{number}"}, "state": {"S": state}}


def test_a_new_table_and_an_undo(ministack_url: str, tmp_path: Path) -> None:
    """What it prints is what it does, with real clients: a new table is as before the damage, and
    the undo leaves what is good."""
    aws = Aws(ministack_url)
    shell = Shell(aws, f"s3://{aws.bucket()}", folder=tmp_path)
    table = Table.create(aws, "guided")
    table.put_many([order(number, "paid") for number in range(10)])
    shell.done("enable", "guided", "--stream-only")
    shell.done("backfill", "guided")
    next_second()
    table.put_many([order(number, "undefined") for number in range(6)])
    until = next_second()
    table.put(order(7, "shipped"))
    shell.done("follow", "guided", "--once")

    def run(words: list[str]) -> int:
        # A process of its own: the clients of earlier tests do not work after a fork.
        command = [str(BIN / "stream-backup"), *words]
        return subprocess.run(command, cwd=tmp_path, env=shell.environment, check=False).returncode

    what = [
        ("First second", ""),
        ("Last second", until),
        ("Are these the seconds", "y"),
        ("Enter for all items", ""),
    ]
    new = [("undo, rewind, table", "table"), ("Name of the new", "guided-before"), ("Create", "y")]
    undo = [
        ("undo, rewind, table", "undo"),
        ("How many rows", "2"),
        ("Undo this", "y"),
        ("Undo the other 4", "y"),
        ("Compare every row", "y"),
    ]
    with Terminal(run, list) as terminal:
        made = terminal.run(["incident", "guided"], what + new)
        assert made.code == 0, made.screen
        undone = terminal.run(["incident", "guided"], what + undo)
        assert undone.code == 0, undone.screen
    before = sorted(encode(order(number, "paid")) for number in range(10))
    assert Table(aws, "guided-before").rows() == before
    rows = [order(number, "shipped" if number == 7 else "paid") for number in range(10)]
    assert table.rows() == sorted(map(encode, rows))
    assert f"--archive {shell.archive}" in undone.screen
    assert "10 items were written, and 10 were planned." in made.screen
    assert "10 rows match the archive." in undone.screen
    assert len([*tmp_path.glob("guided-incident-*.md")]) == 2
