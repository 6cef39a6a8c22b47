"""Law 16: threads, processes, and the workers of a map do the same slices, with the same counts and
the same results."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest

from backfill.share import Share
from restore.order import RestoreOrder
from restore.usable import DONE
from stream_backup.archive import chunks
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.aws.table import RESTORING
from stream_backup.core.change import Change
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.records import Run
from stream_backup.core.slice import cut_names, cut_scan
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import Lateness
from stream_backup.verify import looks
from stream_backup.verify.shares import VerifyOrder
from tests.cli import BIN, SIMPLE, Between, Request, Shell, Table, proxy
from tests.servers import Aws, environment
from tests.sliced import WAYS, Hands
from tests.test_backfill_workers import gone, said, workers_of

pytestmark = [pytest.mark.server, pytest.mark.once]

SCHEMA = KeySchema(SIMPLE)
ROWS, REMOVED, LATER = 60, 9, 7
"""Rows of the table; items that had been removed at the moment; and items made after it."""

SEGMENTS, PARTS = 3, 4
PAGE = 8


def row(number: int, value: str = "now") -> Item:
    return {"id": {"S": f"row-{number}"}, "v": {"S": value}}


def change(at: int, number: int, value: str | None) -> Change:
    key = {"id": row(number)["id"]}
    body = None if value is None else encode(row(number, value))
    sequence = 10**21 + at * 1000 + number
    return Change(key, Stamp(at, sequence, at, "modify" if body else "remove"), body)


class Set(NamedTuple):
    """A table, its archive, and a moment: the first rows had another value then, the next ones did
    not exist, and others that do not exist now did."""

    aws: Aws
    table: Table
    bucket: str
    moment: int
    then: dict[str, bytes]
    versions: int

    def hands(self, way: str, folder: Path, bucket: str | None = None) -> Hands:
        url = f"s3://{bucket or self.bucket}"
        connection = Connection(None, "us-east-1", url)
        return Hands(way, connection, self.table.name, SCHEMA, folder)


@pytest.fixture(scope="module")
def made(ministack_url: str) -> Set:
    aws = Aws(ministack_url)
    table = Table.create(aws, "sliced")
    table.put_many([row(number) for number in range(ROWS)])
    bucket = aws.bucket()
    archive = Archive(aws.store(bucket), "", table.name, SCHEMA)
    moment = int(time.time()) - 1000
    gone = range(ROWS, ROWS + REMOVED)
    written = [change(moment - 9, each, "then") for each in range(ROWS - LATER)]
    written += [change(moment - 9, each, "then") for each in gone]
    written += [change(moment - 5, each, None) for each in gone]
    written += [change(moment + 5, each, "now") for each in range(ROWS)]
    for each in written:
        archive.put(each)
    then = {
        key_hash({"id": row(each)["id"]}): encode(row(each, "then")) for each in range(ROWS - LATER)
    }
    return Set(aws, table, bucket, moment, then, len(written))


@pytest.fixture(autouse=True)
def few_at_a_time(ministack_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and turns are so small that a slice takes several."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(ministack_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(chunks, "CHUNK_ITEMS", 5)
    monkeypatch.setattr(looks, "CHUNK", 4)
    monkeypatch.setattr(looks, "TURN", 6)
    call = DynamoDB.call

    def small(self: DynamoDB, operation: str, request: Any) -> Answer:
        if operation == "scan":
            request = request | {"Limit": PAGE}
        return call(self, operation, request)

    monkeypatch.setattr(DynamoDB, "call", small)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", ["backfill", "restore", "verify"])
def test_all_do_the_same_slices(engine: str, way: str, made: Set, tmp_path: Path) -> None:
    """Every slice is done once, whoever does it and in however many calls: the counts, and the
    archive, the table, or the findings, are as the data say."""
    {"backfill": backfilled, "restore": restored, "verify": verified}[engine](made, way, tmp_path)


def backfilled(made: Set, way: str, folder: Path) -> None:
    bucket = made.aws.bucket()
    hands = made.hands(way, folder, bucket)
    run = Run("r", "", 0, made.moment, made.moment, complete=False, counts={"segments": SEGMENTS})
    share = Share(run, empty=True, asked=made.moment, kept=dict.fromkeys(range(SEGMENTS)))
    done = hands.backfill(share)
    recorded = replace(share, kept=Catalog(hands.archive).segment_checkpoints("r")).slices
    assert recorded == done.slices == tuple(each.finished() for each in cut_scan(SEGMENTS))
    assert done.counts == {"read": ROWS, "written": ROWS, "already_there": 0, "failed": 0}
    kept = {
        history.name: [version.etag for version in history.versions]
        for history in hands.archive.histories()
    }
    assert kept == {
        key_hash({"id": row(each)["id"]}): [digest(encode(row(each)))] for each in range(ROWS)
    }
    several = done.calls > SEGMENTS
    assert several == (way == "map")


def restored(made: Set, way: str, folder: Path) -> None:
    into = Table.create(made.aws, f"restored-{way}")
    order = RestoreOrder(into.name, made.moment, made.moment - 100, Lateness())
    done = made.hands(way, folder).restore(order, cut_names(PARTS))
    assert done.slices == tuple(each.finished() for each in cut_names(PARTS))
    assert done.counts == {
        "written": len(made.then),
        "failed": 0,
        "absent": LATER + REMOVED,
        "unreadable": 0,
        "versions": made.versions,
    }
    assert into.rows() == sorted(made.then.values())
    assert (done.calls > 2 * PARTS) == (way == "map")


def verified(made: Set, way: str, folder: Path) -> None:
    order = VerifyOrder(made.moment - 100, Lateness())
    hands = made.hands(way, folder)
    made.table.put_many([row(0, "not archived"), row(ROWS + REMOVED, "not archived")])
    made.table.delete({"id": row(1)["id"]})
    try:
        done, findings, suspects = hands.verify(order, cut_scan(SEGMENTS), cut_names(PARTS))
    finally:
        made.table.put_many([row(0), row(1)])
        made.table.delete({"id": row(ROWS + REMOVED)["id"]})
    assert done.slices == tuple(each.finished() for each in cut_names(PARTS))
    assert done.counts == {"equal": ROWS - 2}
    assert findings.versions == made.versions
    wrong = [row(0), row(1), row(ROWS + REMOVED)]
    assert [(each.name, each.live) for each in suspects] == sorted(
        (key_hash({"id": each["id"]}), (live,))
        for each, live in zip(
            wrong,
            (
                digest(encode(row(0, "not archived"))),
                None,
                digest(encode(row(ROWS + REMOVED, "not archived"))),
            ),
            strict=True,
        )
    )
    assert (done.calls > SEGMENTS + PARTS) == (way == "map")


# The commands


@pytest.fixture
def between(made: Set) -> Iterator[Between]:
    with proxy(made.aws.url) as found:
        yield found


def shell_of(made: Set, between: Between, **more: str) -> Shell:
    return Shell(between.aws, f"s3://{made.bucket}", dict(more))


def restore_of(made: Set, into: str, *more: str) -> list[str]:
    at = ["--at", str(made.moment), "--incomplete-ok", "--like", made.table.name]
    return ["restore", made.table.name, *at, "--into", into, *more]


@contextmanager
def at_work(
    shell: Shell, between: Between, operation: str, command: list[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command in its own process group until both of its workers exist and one has sent a
    request of this kind, of which none is answered, so that neither can end."""
    sent, release = Event(), Event()

    def rule(request: Request) -> None:
        if request.operation == operation:
            sent.set()
            release.wait(60)

    between.rule = rule
    pipes = subprocess.PIPE
    with subprocess.Popen(
        [str(BIN / "stream-backup"), *command],
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=pipes,
        stderr=pipes,
        start_new_session=True,
    ) as process:
        try:
            while not sent.is_set() or len(workers_of(process)) < 2:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            yield process
        finally:
            release.set()
            between.rule = lambda _: None
            process.kill()


def test_a_restore_with_workers_replaces_a_table(made: Set, between: Between) -> None:
    """Two workers make a table equal to the moment that had other rows, which are deleted, and
    report what one process would report."""
    into = Table.create(made.aws, "replaced")
    into.put_many([row(ROWS + 1, "other"), row(3, "other"), {"id": {"S": "other"}}])
    shell = shell_of(made, between)
    command = restore_of(made, into.name, "--overwrite", "--workers", "2", "--json")
    report = shell.done(*command).json
    assert into.rows() == sorted(made.then.values())
    assert (report["put"], report["absent"]) == (len(made.then), LATER + REMOVED)
    assert (report["written"], report["left"]) == (len(made.then), [])
    assert report["versions_listed"] == made.versions
    assert report["requests"]["get"] >= len(made.then)
    assert not {RESTORING, DONE} & into.tags().keys()


def test_a_restore_whose_worker_is_killed(made: Set, between: Between) -> None:
    """When a worker is killed, no process is left, and the same command resumes with another number
    of workers. Until then the table is known to be incomplete."""
    shell, into = shell_of(made, between), Table(made.aws, "killed")
    command = restore_of(made, into.name, "--workers")
    with at_work(shell, between, "BatchWriteItem", [*command, "2"]) as process:
        pids = workers_of(process)
        os.kill(pids[0], signal.SIGKILL)
        found = said(process).refused(3, "died", "to resume")
        assert found.err.count("hint:") == 1
        assert gone(pids)
    assert RESTORING in into.tags()
    report = shell.done(*command, "3", "--json").json
    assert report["resumed"]
    assert into.rows() == sorted(made.then.values())
    assert RESTORING not in into.tags()


def test_verify_with_workers_finds_the_same(made: Set, between: Between, tmp_path: Path) -> None:
    """Two workers find what one process finds, and leave no file, and no process when
    somebody presses Ctrl-C."""
    shell = shell_of(made, between, TMPDIR=str(tmp_path))
    made.table.put_many([row(0, "not archived"), row(ROWS + REMOVED, "not archived")])
    made.table.delete({"id": row(1)["id"]})
    command = ["verify", made.table.name, "--workers"]
    try:
        with at_work(shell, between, "Scan", [*command, "2"]) as process:
            pids = workers_of(process)
            os.killpg(process.pid, signal.SIGINT)
            said(process).refused(130, "Interrupted")
            assert gone(pids)
        ended = [shell.run(*command, number, "--json") for number in "12"]
    finally:
        made.table.put_many([row(0), row(1)])
        made.table.delete({"id": row(ROWS + REMOVED)["id"]})
    assert [each.code for each in ended] == [5, 5]
    found = [each.json for each in ended]
    one, two = (each | {"requests": None} for each in found)
    assert one == two
    assert (one["equal"], one["differs"], one["missing"], one["extra"]) == (ROWS - 2, 1, 1, 1)
    assert one["versions_listed"] == made.versions
    assert found[0]["requests"]["list"] <= found[1]["requests"]["list"] + 3
    assert list(tmp_path.iterdir()) == []
