"""What can go wrong on the machine of the operator: a full disk, an output that nobody reads any
more, a question that nobody can answer. Each is one sentence, a hint, and the right exit code."""

import errno
import io
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from restore.file import open_lines
from restore.plan import Step
from stream_backup.cli import console
from stream_backup.cli.local import translate_local
from stream_backup.cli.restore_options import _Question
from stream_backup.errors import IncompleteError
from tests.cli import BIN, Said, Shell, Table
from tests.servers import Aws

ROWS = 600
"""Rows that fill the buffer of a pipe several times."""


@pytest.fixture(scope="module")
def shell(moto_url: str) -> Shell:
    """A table with an archive that is not exact, which does not matter here."""
    aws = Aws(moto_url)
    table = Table.create(aws, "full")
    table.put_many([{"id": {"S": f"row-{n}"}, "x": {"S": "x" * 1000}} for n in range(ROWS)])
    shell = Shell(aws, f"s3://{aws.bucket()}")
    shell.done("backfill", "full", "--without-stream")
    return shell


RESTORE = "$RUN restore full --at 2030-01-01T00:00:00Z --incomplete-ok --like full --to"


def run(shell: Shell, line: str) -> Said:
    """Runs a line of a shell, in which `$RUN` is the program."""
    environment = shell.environment | {"RUN": str(BIN / "stream-backup")}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, timeout=120
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def ended(said: Said, code: int, *words: str) -> None:
    """Checks for one sentence and a hint at the end, and for no other noise."""
    assert said.code == code, said
    assert "Traceback" not in said.err
    assert "Exception ignored" not in said.err
    *_, sentence, hint = said.err.rstrip("\n").split("\n")
    assert hint.startswith("hint: "), said.err
    for word in words:
        assert word in sentence, said.err
    assert said.err.count(sentence) == 1


@pytest.mark.server
def test_a_reader_that_stops(shell: Shell) -> None:
    """`| head -1`: the output is incomplete, and that is said."""
    said = run(shell, f"{RESTORE} - | head -1")
    assert said.out.count("\n") == 1
    ended(said, 3, "stopped reading")


@pytest.mark.server
def test_a_full_disk_under_stdout(shell: Shell) -> None:
    """A device without space takes nothing, and what Python still holds is given up in silence."""
    ended(run(shell, f"{RESTORE} - > /dev/full"), 3, "space")
    ended(run(shell, "$RUN estimate full --items 5 --item-bytes 9 --json > /dev/full"), 3, "space")


@pytest.mark.server
def test_a_log_that_cannot_be_written(shell: Shell) -> None:
    """Where not even the sentence can be written, the exit code says it."""
    said = run(shell, "$RUN restore full --at never --to x 2> /dev/full")
    assert (said.code, said.out) == (2, "")


@pytest.mark.server
def test_stdout_that_is_closed(shell: Shell) -> None:
    said = run(shell, f"{RESTORE} - >&-")
    ended(said, 2, "stdout is closed")


def test_a_question_without_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can answer: that is a no, whether stdin is closed or empty."""
    point: Any = SimpleNamespace(table="orders", moment=1_800_000_000)
    for stdin in (None, io.StringIO("")):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not _Question(point)(1, 2)
    closed = io.StringIO("y\n")
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    assert not _Question(point)(1, 2)


def test_a_file_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file, and nothing of it is left."""
    name = str(tmp_path / "rows.json")

    def write() -> None:
        with open_lines(name, overwrite=False) as rows:
            rows.write(Step("put", "0" * 32, {}, b"{}"))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space") as found:
        write()
    known = translate_local(found.value)
    assert isinstance(known, IncompleteError)
    assert name in str(known)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=repr,
)
def test_temporary_files_on_a_full_disk(error: Exception) -> None:
    """Plans and comparisons are kept in temporary files; the hint says where, and how to change
    it."""
    known = translate_local(error)
    assert isinstance(known, IncompleteError)
    assert "TMPDIR" in known.hint


@pytest.mark.parametrize(
    "error", [OSError(5, "I/O"), sqlite3.OperationalError("locked"), KeyError()]
)
def test_other_errors_have_other_causes(error: Exception) -> None:
    assert translate_local(error) is None


def test_talk_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note to a pipe that was closed is an error like any other, not an exit without a word."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(console, "err", type(console.err)(stderr=True))  # it keeps the note
    with pytest.raises(BrokenPipeError):
        console.say("a note")
