"""`stream-backup` in a child process that has already imported it, which is most of a short run.

The margins of time are smaller there than users have them, because all servers of a test share one
clock, and a stand-in delivers a record as soon as it answered the write. The walk through the
operations page, the demo, and whatever starts the installed program wait as long as users do.

The child is forked from multiprocessing's fork server, which has imported the command line and
nothing else of the tests, and has read what AWS clients read first (tests/warm.py). It gets its own
environment and standard streams, and ends with the exit code of the command, as the installed
program does.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest.mock import patch

from stream_backup.capture import shards
from stream_backup.cli.main import main
from stream_backup.core import time_rule

SMALL = {"SKEW": 2, "MARGIN": 2, "QUIET": 3, "QUIET_READS": 6}
"""The margins of a command that `run` starts: see `core/time_rule.py`."""

STREAMS = ("stdin", "stdout", "stderr")
_forks = get_context("forkserver")
_forks.set_forkserver_preload(["tests.warm"])


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    where: Path,
    typed: bytes,
    timeout: float,
    program: Callable[[], object] = main,
    started: Callable[[int], object] = lambda _: None,
) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` returns; it raises TimeoutExpired as that does. `program` is run
    instead of the command line; `started` receives the child's process ID."""
    with TemporaryDirectory(prefix="command-") as folder:
        stdin, stdout, stderr = (Path(folder, name) for name in STREAMS)
        stdin.write_bytes(typed)
        given = (words, dict(environment), where, folder, program)
        process = _forks.Process(target=_command, args=given)
        with patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            process.start()  # otherwise the child imports the main module of the tests
        assert process.pid
        started(process.pid)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout)
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(words, code, stdout.read_bytes(), stderr.read_bytes())


def _command(
    words: Sequence[str],
    environment: dict[str, str],
    where: Path,
    folder: str,
    program: Callable[[], object],
) -> None:
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(STREAMS):
        opened = os.open(Path(folder, name), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    vars(time_rule).update(SMALL)
    vars(shards).update(QUIET_READS=SMALL["QUIET_READS"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has put another there
    sys.argv = ["stream-backup", *words]
    program()
