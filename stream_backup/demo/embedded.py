"""The embedded AWS: ministack as a child process, on a free loopback port."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from tempfile import TemporaryFile
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from stream_backup.demo.server import KEEP
from stream_backup.errors import StreamBackupError

_START = 30
"""Seconds until the server must answer. On an idle computer it needs less than one."""

_STOP = 5
"""Seconds until a process that was asked to end is killed."""


@dataclass(slots=True)
class Embedded:
    """A running server. It ends with the block that started it, unless `keep` was called."""

    url: str
    process: subprocess.Popen[bytes]
    kept: bool = False

    def keep(self) -> None:
        """Lets the server run after this process has ended."""
        assert self.process.stdin
        self.process.stdin.write(KEEP)
        self.process.stdin.flush()
        self.kept = True


def free_url() -> str:
    """Returns a loopback URL with a free port."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def serve(url: str) -> Iterator[Embedded]:
    """Starts the server at `url` and waits until it answers.

    Raises StreamBackupError with the last line of its output if it does not start.
    """
    with TemporaryFile() as log:  # has no name, so nobody has to delete it
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_backup.demo.server"],
            env=os.environ | _server_settings(url),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C ends this process first, and then the server
        )
        server = Embedded(url, process)
        try:
            _wait(server, log)
            yield server
        finally:
            if not server.kept:
                stop(process)


def _server_settings(url: str) -> dict[str, str]:
    own = {"GATEWAY_PORT": url.rpartition(":")[2], "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    own |= dict.fromkeys(("IOT_MTLS_ENABLED", "SFTP_ENABLED", "AUTH"), "false")
    own |= dict.fromkeys(("PERSIST_STATE", "S3_PERSIST", "USE_SSL"), "0")
    # the server runs functions with the first Python in PATH
    path = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    return own | {"PATH": os.pathsep.join(path)}


def _wait(server: Embedded, log: IO[bytes]) -> None:
    """Returns when the server answers. Raises StreamBackupError if it does not start."""
    deadline = time.monotonic() + _START
    while not _answers(server.url):
        if server.process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else "it has no output"
            raise StreamBackupError(f"The embedded AWS did not start: {reason}")
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a child process: it is terminated, and killed if it does not end in time."""
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/_ministack/health", timeout=5):  # noqa: S310 - our own http:// URL
            return True
    except (URLError, OSError):
        return False
