"""`stream-backup` in a child process that has already imported it, which is most of a short run.

The child is forked from multiprocessing's fork server, which has imported the command line and
nothing else of the tests. It gets its own environment and standard streams, and ends with the exit
code of the command, as the installed program does.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from stream_backup.cli.main import main

STREAMS = ("stdin", "stdout", "stderr")
_forks = get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def run(
    words: Sequence[str],
    environment: Mapping[str, str],
    where: Path,
    typed: bytes,
    timeout: float,
) -> subprocess.CompletedProcess[bytes]:
    """What `subprocess.run` returns; it raises TimeoutExpired as that does."""
    with TemporaryDirectory(prefix="command-") as folder:
        stdin, stdout, stderr = (Path(folder, name) for name in STREAMS)
        stdin.write_bytes(typed)
        process = _forks.Process(target=_command, args=(words, dict(environment), where, folder))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout)
        code = process.exitcode
        process.close()
        return subprocess.CompletedProcess(words, code, stdout.read_bytes(), stderr.read_bytes())


def _command(words: Sequence[str], environment: dict[str, str], where: Path, folder: str) -> None:
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(STREAMS):
        opened = os.open(Path(folder, name), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has put another there
    sys.argv = ["stream-backup", *words]
    main()
