"""After Ctrl-C in the middle of every long command, the exit code is 130, and the same command
resumes and gives what an uninterrupted one gives."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stream_backup.core.item import Item, decode, encode
from tests.cli import Answer, Between, Request, Said, Shell, Table, lines, next_second, proxy
from tests.servers import Aws

pytestmark = pytest.mark.server

ROWS = 600
SOON = 15
"""Seconds within which an interrupted command must end, on a machine that also runs other tests."""


def row(number: int, note: str) -> Item:
    return {"id": {"S": f"row-{number}"}, "note": {"S": note}, "filler": {"S": "x" * 9_000}}


@dataclass(frozen=True)
class Kept:
    shell: Shell
    between: Between
    table: Table
    earlier: str
    good: str
    truth: list[bytes]

    @contextmanager
    def slow(self, operation: str, seconds: float) -> Iterator[None]:
        """Makes AWS slow for one operation."""

        def rule(request: Request) -> Answer | None:
            if request.operation == operation:
                time.sleep(seconds)
            return None

        self.between.rule = rule
        try:
            yield
        finally:
            self.between.rule = lambda request: None

    def interrupt(self, *words: str, after: tuple[str, int]) -> Said:
        """Runs a command and interrupts it after it has sent a number of requests of one kind."""
        operation, number = after
        start = self.between.requests[operation]
        with self.shell.running(*words) as running:
            deadline = time.monotonic() + 60
            while self.between.requests[operation] < start + number:
                assert running.process.poll() is None, running.wait()
                assert time.monotonic() < deadline, f"{operation} was not called"
                time.sleep(0.02)
            pressed = time.monotonic()
            said = running.interrupt()
        assert time.monotonic() - pressed < SOON
        return said.refused(130, "Interrupted")


@pytest.fixture(scope="module")
def kept(ministack_url: str) -> Iterator[Kept]:
    """A table whose backfill was interrupted and resumed."""
    with proxy(ministack_url) as between:
        shell = Shell(between.aws, f"s3://{Aws(ministack_url).bucket()}")
        table = Table.create(Aws(ministack_url), "long")
        table.put_many([row(number, "good") for number in range(ROWS)])
        shell.done("enable", "long", "--stream-only")
        kept = Kept(shell, between, table, "", "", [])
        with kept.slow("PutObject", 0.05):
            said = kept.interrupt("backfill", "long", after=("PutObject", 200))
        assert "same command again" in said.err
        assert shell.done("status", "long", "--json").json["unfinished_backfills"]
        report = shell.done("backfill", "long", "--json").json
        assert report["resumed"]
        assert report["counts"]["read"] == ROWS
        assert 0 < report["counts"]["written"] <= ROWS
        earlier = next_second()
        for number in range(100):
            table.put(row(number, "better"))
        good = next_second()
        truth = table.rows()
        for number in range(150):
            table.put(row(number, "BAD"))
        yield replace(kept, earlier=earlier, good=good, truth=truth)


def test_follow(kept: Kept) -> None:
    """`follow` keeps its position when it is interrupted or terminated, and the next run loses
    nothing."""
    with kept.slow("PutObject", 0.1):
        kept.interrupt("follow", "long", "--once", after=("PutObject", 60))
    with kept.shell.running("follow", "long") as running:
        time.sleep(3)
        running.process.terminate()
        assert running.wait().code == 130
    kept.shell.done("follow", "long", "--once")
    history = kept.shell.done("history", "long", '{"id": "row-7"}', "--json").json["versions"]
    assert [each["item"]["note"]["S"] for each in history] == ["good", "better", "BAD"]
    assert (
        lines(kept.shell.done("restore", "long", "--at", kept.good, "--to", "-").out) == kept.truth
    )


@pytest.fixture(scope="module")
def read(kept: Kept) -> Kept:
    kept.shell.done("follow", "long", "--once")
    return kept


def test_restore_into_a_table(read: Kept) -> None:
    """A partly filled table is tagged, refused for another moment, and completed by the same
    command."""
    words = ("restore", "long", "--at", read.good, "--into", "half")
    with read.slow("BatchWriteItem", 0.3):
        read.interrupt(*words, after=("BatchWriteItem", 8))
    half = Table(read.table.aws, "half")
    rows = half.rows()
    assert 0 < len(rows) < ROWS
    assert set(rows) < set(read.truth)
    assert half.tags()["stream-backup:restoring"].endswith(f" {read.good} long")
    said = read.shell.run("restore", "long", "--at", read.earlier, "--into", "half").refused(
        2, "partly filled"
    )
    assert read.good in said.err
    assert half.rows() == rows
    assert read.shell.done(*words, "--json").json["resumed"]
    assert half.rows() == read.truth
    ((name, value),) = half.tags().items()
    assert (name, *value.split()[:2]) == ("stream-backup:restored", read.good, "long")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_is_closed(read: Kept, tmp_path: Path, number: signal.Signals) -> None:
    """When the terminal is closed, or the process is terminated, a restore into a file ends as
    after Ctrl-C, and its partial file with real rows does not stay."""
    words = ("restore", "long", "--at", read.good, "--to", str(tmp_path / "rows.json"))
    with read.slow("GetObject", 0.05), read.shell.running(*words) as running:
        deadline = time.monotonic() + 60
        while not [*tmp_path.iterdir()]:
            assert running.process.poll() is None, running.wait()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.process.send_signal(number)
        running.wait().refused(130, "Interrupted")
    assert not [*tmp_path.iterdir()]


def test_restore_at_a_low_rate(read: Kept) -> None:
    """A restore that waits because of --rate is also interrupted soon, and does not mark anything
    as done that is not written."""
    words = ("restore", "long", "--at", read.good, "--into", "rated")
    read.interrupt(*words, "--rate", "20", after=("BatchWriteItem", 2))
    rated = Table(read.table.aws, "rated")
    assert len(rated.rows()) < ROWS
    read.shell.done(*words)
    assert rated.rows() == read.truth


def test_restore_over_a_table(read: Kept) -> None:
    """A restore that was interrupted while it replaced a table's rows is refused without
    --overwrite, and resumes with it."""
    over = Table.create(read.table.aws, "over")
    over.put_many([row(number, "foreign") for number in range(1000, 1100)])
    words = ("restore", "long", "--at", read.good, "--into", "over")
    with read.slow("BatchWriteItem", 0.3):
        read.interrupt(*words, "--overwrite", after=("BatchWriteItem", 8))
    read.shell.run(*words).refused(2, "over")
    read.shell.done(*words, "--overwrite")
    assert over.rows() == read.truth
    assert over.tags() == {}


def test_restore_to_a_file(read: Kept, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file is written completely or not at all."""
    folder = tmp_path_factory.mktemp("files")
    with read.slow("GetObject", 0.1):
        read.interrupt(
            "restore",
            "long",
            "--at",
            read.good,
            "--to",
            str(folder / "x"),
            after=("GetObject", 100),
        )
    assert list(folder.iterdir()) == []


def test_plan(read: Kept) -> None:
    """A plan is interrupted soon, even while all slices are being read."""
    with read.slow("HeadObject", 0.3):
        read.interrupt("restore", "long", "--at", read.good, "--plan", after=("HeadObject", 40))


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("ListObjectVersions", ("restore", "long", "--at", "{good}", "--plan")),
        ("GetObject", ("restore", "long", "--at", "{good}", "--to", "never")),
    ],
)
def test_while_aws_is_out_of_reach(read: Kept, operation: str, words: tuple[str, ...]) -> None:
    """A command whose threads all wait for AWS is interrupted soon."""
    busy = 503, b"<Error><Code>SlowDown</Code></Error>"
    read.between.rule = lambda request: busy if request.operation == operation else None
    try:
        read.interrupt(*(word.format(good=read.good) for word in words), after=(operation, 9))
    finally:
        read.between.rule = lambda request: None


def test_restore_in_place(read: Kept) -> None:
    """An interrupted rewind has rewound some rows, and names their receipt. The same command
    rewinds the others, and no row is lost in between."""
    words = ("restore", "long", "--at", read.good, "--in-place", "--yes")
    with read.slow("PutItem", 0.5):
        said = read.interrupt(*words, after=("PutItem", 20))
    assert "Receipt of what was written: long-rewind-" in said.err
    rows = read.table.rows()
    assert len(rows) == ROWS
    left = len(set(rows) - set(read.truth))
    assert 0 < left < 150
    report = read.shell.done(*words, "--json").json
    assert report["rewound"] == left
    assert read.table.rows() == read.truth
    assert all(encode(decode(line)) == line for line in read.truth)
