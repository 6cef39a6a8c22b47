"""A backfill in several processes: it gives the same archive, uses one budget, and leaves no worker
behind."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.segment import Counts
from backfill.share import Share, scan_with
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.store import once
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.patience import PatientAttempts
from stream_backup.core.checkpoints import SegmentCheckpoint
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Run
from stream_backup.errors import IncompleteError, StreamBackupError, UsageError
from stream_backup.workers import crew as workers
from stream_backup.workers.clients import WorkerClients
from stream_backup.workers.credentials import Lent, borrowing, lend
from stream_backup.workers.process import Parent
from tests import loaded
from tests.cli import BIN, SIMPLE, Answer, Between, Lost, Request, Said, Shell, Table, denied, proxy
from tests.servers import Aws
from tests.test_disasters import COMPOSITE, START, Scanned, wire_rows

ROWS = 400
SOON = 15
"""Seconds within which processes must end, on a machine that also runs other tests."""


# Capacity


@given(
    units=st.floats(1, 1000),
    pages=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 128), st.floats(0, 2)), max_size=60),
)
def test_capacity_is_one_budget(units: float, pages: list[tuple[int, float, float]]) -> None:
    """Whatever the segments consume and however long their pages take, at no moment have they
    consumed more than the budget for the elapsed time and one page each."""
    now = [0.0]
    capacity = ReadBudget(units, lambda: now[0])
    free = dict.fromkeys(range(4), 0.0)
    last = dict.fromkeys(range(4), 0.0)
    total = 0.0
    for _, consumed, takes in pages:
        segment = min(free, key=lambda each: free[each])
        now[0] = max(now[0], free[segment]) + takes
        wait = capacity.spend(consumed)
        assert wait >= 0
        free[segment], last[segment] = now[0] + wait, consumed
        total += consumed
        assert total <= units * now[0] + sum(last.values()) + 1e-6


def test_no_limit_is_no_wait() -> None:
    """Without a limit, no segment waits."""
    assert ReadBudget(None).spend(10**9) == 0


UNITS, PAGE, LONG = 200.0, 4.0, 1.5


def _consume(capacity: ReadBudget, into: Any) -> None:
    """Does what a segment does, without scanning between its pages."""
    total, until = 0.0, time.monotonic() + LONG
    while time.monotonic() < until:
        total += PAGE
        time.sleep(capacity.spend(PAGE))
    into.send((total, time.monotonic()))


def test_capacity_is_one_budget_for_all_processes() -> None:
    """Three processes that consume as fast as they may stay within one budget together, and use
    it."""
    spawn = multiprocessing.get_context("spawn")
    started = time.monotonic()
    capacity = ReadBudget(UNITS)
    pipes = [spawn.Pipe(duplex=False) for _ in range(3)]
    processes = [spawn.Process(target=_consume, args=(capacity, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    ended = [ours.recv() for ours, _ in pipes]
    for process in processes:
        process.join()
    total = sum(consumed for consumed, _ in ended)
    assert total <= UNITS * (max(at for _, at in ended) - started) + 3 * PAGE
    assert total >= UNITS * LONG / 4


def test_a_worker_loads_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned worker imports neither the command line nor Powertools, and not the main module of
    its parent, which imports them."""
    main = ModuleType("__main__")
    main.__file__ = str(BIN / "stream-backup")
    monkeypatch.setitem(sys.modules, "__main__", main)
    run = Run("r", "", 0, 0, 0, complete=False, counts={"segments": 2})
    share = Share(run, empty=True, asked=0, kept={0: None, 1: None})
    crew = workers.Workers(2, loaded.report, dict)
    with pytest.raises(UsageError) as raised:
        scan_with(crew, share, ReadBudget(None), lambda _: None)
    names = str(raised.value).split()
    assert "stream_backup.workers.process" in names
    heavy = ("click", "rich", "aws_lambda_powertools", "stream_backup.cli")
    assert [name for name in names if f"{name}.".startswith(tuple(f"{n}." for n in heavy))] == []


def test_workers_report_trouble_with_aws_once() -> None:
    """Workers wait for AWS by themselves, and their parent says once that it is busy."""
    said: list[str] = []
    run = Run("r", "", 0, 0, 0, complete=False, counts={"segments": 2})
    share = Share(run, empty=True, asked=0, kept={0: None, 1: None})
    crew = workers.Workers(2, loaded.troubled, dict, PatientAttempts(said.append).tell)
    with pytest.raises(UsageError, match="over"):
        scan_with(crew, share, ReadBudget(None), lambda _: None)
    assert said == ["AWS is busy"]


def test_workers_are_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients of a worker have a patience that reports to its parent, and the settings that are
    sent to it have none."""
    connection = Connection(None, "us-east-1", "s3://b", attempts=PatientAttempts(print))
    clients = WorkerClients.of(connection, "t", KeySchema((("id", "S"),)))
    assert clients.connection.attempts is once
    monkeypatch.setattr(Connection, "archive", lambda *_: None)
    said: list[str] = []
    clients(Parent(lambda: lend(boto3.Session("key", "secret")), said.append))
    attempts = clients.connection.attempts
    assert isinstance(attempts, PatientAttempts)
    attempts.note("trouble")
    assert said == ["trouble"]


# Shares, errors, credentials


@given(ended=st.lists(st.booleans(), min_size=1, max_size=40), hands=st.integers(1, 12))
def test_a_share_is_dealt_out_whole(ended: list[bool], hands: int) -> None:
    """Every segment is assigned to one worker, and the numbers of open segments of two workers
    differ by at most one."""
    run = Run("r", "", 0, 0, 0, complete=False, counts={"segments": len(ended)})
    kept: dict[int, SegmentCheckpoint | None] = {
        number: SegmentCheckpoint(None, {}) if done else None for number, done in enumerate(ended)
    }
    dealt = Share(run, empty=False, asked=0, kept=kept).deal(hands)
    assert len(dealt) == min(hands, len(ended))
    assert sorted(number for share in dealt for number in share.kept) == list(range(len(ended)))
    opened = [sum(each is None for each in share.kept.values()) for share in dealt]
    assert max(opened) - min(opened) <= 1


def _kinds(kind: type[StreamBackupError]) -> Iterator[type[StreamBackupError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


@pytest.mark.parametrize("kind", list(_kinds(StreamBackupError)))
def test_an_error_survives_the_way_to_another_process(kind: type[StreamBackupError]) -> None:
    """An error keeps its type, sentence, hint, exit code, and origin."""
    error = kind("It is so.", "Do this.")
    error.add_note("there")
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is kind
    assert (str(found), found.hint, found.exit_code, found.__notes__) == (
        "It is so.",
        "Do this.",
        kind.exit_code,
        ["there"],
    )


def test_credentials_are_asked_for_as_they_end() -> None:
    """A worker signs with its parent's credentials, whatever its environment contains, and requests
    new ones before they expire."""
    asked = []

    def ask() -> Lent:
        asked.append(1)
        until = datetime.now(UTC) + timedelta(minutes=5)
        return {
            "access_key": f"A{len(asked)}",
            "secret_key": "s",
            "token": "t",
            "expiry_time": until.isoformat(),
        }

    credentials = borrowing(None, "us-east-1", ask).get_credentials()
    assert credentials.get_frozen_credentials().access_key == "A2"  # the first were about to expire
    assert credentials.get_frozen_credentials().token == "t"


def test_credentials_are_lent_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker gets the credentials with which its parent would sign, and uses them for several
    requests before it asks again."""
    session = Aws("http://localhost").session
    asked = []

    def ask() -> Lent:
        asked.append(1)
        return lend(session)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    credentials = borrowing(None, "us-east-1", ask).get_credentials()
    for _ in range(3):
        found = credentials.get_frozen_credentials()
        assert (found.access_key, found.secret_key, found.token) == ("test", "test", None)
    assert len(asked) == 1


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (8, 8), (96, workers.MOST)])
def test_one_worker_a_core(cores: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is one worker for each core that this process may use, up to a maximum because S3
    slows down more workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert workers.default_workers(workers.SMALL + 1) == expected
    assert workers.default_workers(workers.SMALL) == 1


# Workers without AWS


def _in_memory(_: Any) -> tuple[Any, Archive]:
    return Scanned(wire_rows(30)), Archive(MemoryStore(time.time), "", "Users", COMPOSITE)


def _refused(folder: Path, _: Any) -> tuple[Any, Archive]:
    """Refuses the first worker. The other one waits and never starts to scan."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        time.sleep(600)
    raise UsageError("It is not there.", "Look elsewhere.")


def _share(segments: int) -> Share:
    run = Run("r", "", 0, START, START, complete=False, counts={"segments": segments})
    return Share(run, empty=True, asked=START, kept=dict.fromkeys(range(segments)))


def _nobody() -> Lent:
    raise AssertionError("nobody asked")


def test_counts_add_up() -> None:
    """The counts that the parent receives during the run add up to the counts at the end."""
    told = Counts()
    whole = scan_with(
        workers.Workers(2, _in_memory, _nobody), _share(3), ReadBudget(None), told.add
    )
    assert (
        whole.record()
        == told.record()
        == {
            "read": 30,
            "written": 30,
            "already_there": 0,
            "failed": 0,
        }
    )
    assert multiprocessing.active_children() == []


def _killed(_: Any) -> tuple[Any, Archive]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


def test_a_worker_that_died_is_not_through() -> None:
    """If a worker dies, its segments do not count as scanned."""
    with pytest.raises(IncompleteError, match="died"):
        scan_with(workers.Workers(2, _killed, _nobody), _share(3), ReadBudget(None), lambda _: None)
    assert multiprocessing.active_children() == []


def test_the_error_of_one_ends_all(tmp_path: Path) -> None:
    """The error of one worker is raised unchanged, with its origin, and no other worker is left."""
    crew = workers.Workers(2, partial(_refused, tmp_path), _nobody)
    with pytest.raises(UsageError, match="It is not there") as found:
        scan_with(crew, _share(2), ReadBudget(None), lambda _: None)
    assert found.value.hint == "Look elsewhere."
    assert "in _refused" in found.value.__notes__[0]
    assert multiprocessing.active_children() == []


# The command


@dataclass(frozen=True)
class Kept:
    aws: Aws
    between: Between
    table: Table

    def shell(self, **more: str | None) -> Shell:
        """Returns a shell with a new archive."""
        return Shell(self.between.aws, f"s3://{self.aws.bucket()}", more)

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

    @contextmanager
    def writing(self, shell: Shell, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a backfill with two workers, in its own process group, until it has written some
        rows."""
        start = self.between.requests["PutObject"]
        command = [str(BIN / "stream-backup"), *BACKFILL, "--workers", "2", *more]
        pipes = subprocess.PIPE
        with (
            self.slow("PutObject", 0.1),
            subprocess.Popen(
                command,
                env=shell.environment,
                stdin=subprocess.DEVNULL,
                stdout=pipes,
                stderr=pipes,
                start_new_session=True,
            ) as process,
        ):
            try:
                deadline = time.monotonic() + 60
                while self.between.requests["PutObject"] < start + 100:
                    assert process.poll() is None, process.communicate()
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                yield process
            finally:
                process.kill()


PROGRESS = re.compile(r"backfill: [\d,]+ items, .*/s.*")
BACKFILL = ("backfill", "shared", "--without-stream")


@pytest.fixture(scope="module")
def kept(ministack_url: str) -> Iterator[Kept]:
    """A table of several pages, reached through a proxy."""
    with proxy(ministack_url) as between:
        table = Table.create(Aws(ministack_url), "shared")
        table.put_many([row(number) for number in range(ROWS)])
        yield Kept(Aws(ministack_url), between, table)


def row(number: int) -> Item:
    return {
        "id": {"S": f"row-{number}"},
        "number": {"N": str(number)},
        "filler": {"S": "x" * 9_000},
    }


def held(aws: Aws, shell: Shell) -> dict[str, bytes]:
    """Returns what an archive contains, by name. Each item has one version."""
    assert shell.archive
    archive = Archive(
        aws.store(shell.archive.removeprefix("s3://")), "", "shared", KeySchema(SIMPLE)
    )
    found = {}
    for history in archive.histories():
        (version,) = history.versions
        found[history.name] = archive.read(version).payload
    return found


def processes_below(pid: int) -> dict[int, str]:
    """Returns the command lines of the processes that this one started, by their ids."""
    listed = subprocess.check_output(["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="], text=True)
    each = [line.split(maxsplit=3) for line in listed.splitlines()]
    return {
        int(found[0]): found[3]
        for found in each
        if len(found) == 4 and int(found[1]) == pid and not found[2].startswith("Z")
    }


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, command in processes_below(process.pid).items() if "spawn_main" in command]


def gone(pids: list[int], within: float = SOON) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def said(process: subprocess.Popen[bytes]) -> Said:
    out, err = process.communicate(timeout=SOON)
    return Said(process.returncode, out.decode(), err.decode())


def told(found: Said) -> list[str]:
    """Returns the lines on stderr, without the progress of a slow backfill."""
    return [line for line in found.err.splitlines() if line and not PROGRESS.fullmatch(line)]


def resume(kept: Kept, shell: Shell, workers: int, segments: int) -> None:
    """Resumes the backfill with this many workers, to its end. It keeps its original segments."""
    report = shell.done(*BACKFILL, "--workers", str(workers), "--json").json
    assert report["resumed"]
    assert report["complete"]
    assert (report["counts"]["read"], report["counts"]["segments"]) == (ROWS, segments)
    assert len(held(kept.aws, shell)) == ROWS


@pytest.mark.server
def test_two_workers_give_the_same_archive_as_one(kept: Kept) -> None:
    """Two workers archive every row once, their counts add up, and a second run writes nothing."""
    alone, together = kept.shell(), kept.shell()
    first = alone.done(*BACKFILL, "--workers", "1", "--json").json["counts"]
    second = together.done(*BACKFILL, "--workers", "2", "--json").json["counts"]
    assert first == {"segments": 4, "read": ROWS, "written": ROWS, "already_there": 0, "failed": 0}
    assert second == first | {"segments": 8}
    assert held(kept.aws, alone) == held(kept.aws, together)
    third = together.done(*BACKFILL, "--workers", "2", "--segments", "3", "--json").json["counts"]
    assert third == {"segments": 3, "read": ROWS, "written": 0, "already_there": ROWS, "failed": 0}


@pytest.mark.server
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGKILL, 3, ("died", "-9", "to resume")),
        (signal.SIGTERM, 130, ("Interrupted", "to resume")),
    ],
)
def test_a_worker_that_is_killed(
    kept: Kept, number: int, code: int, words: tuple[str, ...]
) -> None:
    """If a worker is killed, the command ends together with the other worker. A run with another
    number of workers resumes it."""
    shell = kept.shell()
    with kept.writing(shell) as process:
        pids = workers_of(process)
        assert len(pids) == 2
        os.kill(pids[0], number)
        said(process).refused(code, *words)
        assert gone(pids)
    assert len(held(kept.aws, shell)) < ROWS
    resume(kept, shell, workers=1, segments=8)


@pytest.mark.server
@pytest.mark.parametrize(
    ("whole", "number"),
    [(True, signal.SIGINT), (False, signal.SIGTERM)],
    ids=["everybody", "the parent"],
)
def test_interrupted(kept: Kept, whole: bool, number: int) -> None:
    """Ctrl-C is sent to every process of a terminal, and `kill` to one. In both cases the command
    reports it once, with exit code 130, and leaves no process behind. A run with another number of
    workers resumes it."""
    shell = kept.shell()
    with kept.writing(shell, "--segments", "2") as process:
        pids = list(processes_below(process.pid))
        if whole:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        found = said(process).refused(130, "Interrupted")
        assert len(told(found)) == 2, found.err
        assert gone(pids)
    if whole:
        resume(kept, shell, workers=3, segments=2)


@pytest.mark.server
def test_interrupted_as_the_workers_start(kept: Kept) -> None:
    """The parent also handles Ctrl-C before a worker has begun."""
    shell = kept.shell()
    command = [str(BIN / "stream-backup"), *BACKFILL, "--workers", "8"]
    pipes = subprocess.PIPE
    with subprocess.Popen(
        command, env=shell.environment, stdout=pipes, stderr=pipes, start_new_session=True
    ) as process:
        while len(workers_of(process)) < 2:
            assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        found = said(process).refused(130, "Interrupted")
        assert len(told(found)) == 2, found.err


@pytest.mark.server
def test_a_parent_that_is_killed(kept: Kept) -> None:
    """A worker ignores Ctrl-C, but ends when its parent is killed, although nothing can notify it
    and its requests hang."""
    shell = kept.shell()
    with kept.writing(shell) as process:
        pids, below = workers_of(process), list(processes_below(process.pid))
        with kept.slow("PutObject", 0.5):
            for pid in pids:
                os.kill(pid, signal.SIGINT)
            time.sleep(1.2)
            assert workers_of(process) == pids
        with kept.slow("PutObject", SOON):
            process.kill()
            assert gone(below, SOON / 2)
    resume(kept, shell, workers=2, segments=8)


def after_the_first(operation: str, answer: Answer) -> Any:
    """Returns a rule that gives this answer to an operation, except the first time, which is the
    parent's request."""
    asked = []

    def rule(request: Request) -> Answer | None:
        if request.operation != operation:
            return None
        asked.append(request)
        return answer if len(asked) > 1 else None

    return rule


NO_BUCKET = (
    b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not"
    b" exist</Message></Error>"
)


@pytest.mark.server
@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        (
            denied("Scan"),
            2,
            ("does not permit Scan", "user/night", "hint: The role needs the action"),
        ),
        (
            denied("PutObject"),
            2,
            ("does not permit", "hint: The role needs the action s3:PutObject"),
        ),
        (
            after_the_first("GetBucketVersioning", (404, NO_BUCKET)),
            2,
            ("There is no bucket", "hint: Check --archive"),
        ),
    ],
    ids=["Scan", "PutObject", "no bucket"],
)
def test_an_error_in_a_worker(kept: Kept, rule: Any, code: int, words: tuple[str, ...]) -> None:
    """An error in a worker is reported once, with the same words as without workers."""
    kept.between.rule = rule
    try:
        shell = kept.shell()
        found = shell.run(*BACKFILL, "--workers", "2").refused(code, *words)
        assert len(told(found)) == 2, found.err
    finally:
        kept.between.rule = lambda request: None


@pytest.mark.server
def test_rows_that_cannot_be_written(kept: Kept) -> None:
    """Two workers report failures as one does, and no coverage is claimed."""

    def rule(request: Request) -> Answer | Lost | None:
        refuses = request.operation == "PutObject" and "/meta/" not in request.path
        return denied("PutObject")(request) if refuses else None

    kept.between.rule = rule
    try:
        shell = kept.shell()
        for number in ("1", "2"):
            found = shell.run(*BACKFILL, "--workers", number).refused(
                3, f"{ROWS} of {ROWS} items could not be written"
            )
            assert "AccessDenied" in found.err
    finally:
        kept.between.rule = lambda request: None
    resume(kept, shell, workers=2, segments=4)


@pytest.mark.server
def test_workers_share_the_read_capacity(kept: Kept) -> None:
    """By the server's count, at no moment have two workers consumed more than the budget since the
    first page and one page per segment."""
    units, page, segments, pages = 100.0, 10.0, 4, 10
    answered: list[float] = []
    started: dict[int, int] = {}

    def rule(request: Request) -> Answer | None:
        if request.operation != "Scan":
            return None
        segment = json.loads(request.body)["Segment"]
        started[segment] = started.get(segment, 0) + 1
        answered.append(time.monotonic())
        answer: dict[str, Any] = {
            "Items": [],
            "ConsumedCapacity": {"TableName": "shared", "CapacityUnits": page},
        }
        if started[segment] < pages:
            answer["LastEvaluatedKey"] = {"id": {"S": "x"}}
        return 200, json.dumps(answer).encode()

    kept.between.rule = rule
    try:
        limits = ("--workers", "2", "--segments", str(segments), "--read-units", str(units))
        kept.shell().done(*BACKFILL, *limits)
    finally:
        kept.between.rule = lambda request: None
    assert started == dict.fromkeys(range(segments), pages)
    for count, at in enumerate(sorted(answered), 1):
        assert count * page <= units * (at - min(answered)) + segments * page
    assert max(answered) - min(answered) < 5 * segments * pages * page / units


@pytest.mark.server
def test_credentials_are_asked_for_once(kept: Kept, tmp_path: Path) -> None:
    """Credentials that may prompt for an MFA code are requested once per command, not once per
    worker."""
    script, calls = tmp_path / "credentials.py", tmp_path / "calls"
    secret = {"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "test"}
    script.write_text(f"open({str(calls)!r}, 'a').write('x')\nprint({json.dumps(secret)!r})\n")
    config = tmp_path / "config"
    config.write_text(
        f"[profile night]\nregion = us-east-1\ncredential_process = {sys.executable} {script}\n"
    )
    shell = kept.shell(AWS_CONFIG_FILE=str(config))
    report = shell.done(*BACKFILL, "--workers", "2", "--profile", "night", "--json").json
    assert report["counts"]["written"] == ROWS
    assert calls.read_text() == "x"
