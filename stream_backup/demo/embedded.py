"""An AWS on a free loopback port as a child process, and the settings that make every AWS client talk to it alone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from tempfile import TemporaryFile
from urllib.error import URLError
from urllib.request import urlopen

from stream_backup.demo.server import FREE
from stream_backup.errors import StreamBackupError

_START = 30
"""Seconds it may take to answer; on an idle machine it takes less than one."""

_STOP = 5
"""Seconds it may take to end by itself."""

_OTHERS = ("AWS_", "MINISTACK_", "LOCALSTACK_", "LAMBDA_", "STREAM_BACKUP_")
"""Prefixes of settings that would lead a client, or the server, somewhere else. Not one of them is passed on."""

MISLEADING = (
    "AWS_DEFAULT_PROFILE",
    "AWS_ENDPOINT_URL_",
    "AWS_IGNORE_",
    "AWS_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_USE_",
    "STREAM_BACKUP_",
)
"""Prefixes of what a shell must not have set, to work with the server."""


@dataclass(slots=True)
class Embedded:
    """A server that answers. It ends with the block that started it, unless it is set `free`."""

    url: str
    process: subprocess.Popen[bytes]
    stays: bool = False

    def free(self) -> None:
        """Lets it run on after this process has ended."""
        assert self.process.stdin
        self.process.stdin.write(FREE)
        self.process.stdin.flush()
        self.stays = True


def settings(url: str) -> dict[str, str]:
    """What a shell must export to work with the server at `url` and nothing else."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    }


def free_url() -> str:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def environment(own: dict[str, str]) -> Iterator[None]:
    """`own` instead of every AWS setting of this process, and so of its children; afterwards all is as it was."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_OTHERS):
            del os.environ[name]
    os.environ.update(own)
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, AWS_EC2_METADATA_DISABLED="true")
    os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def serve(url: str) -> Iterator[Embedded]:
    """Starts the server and waits until it answers. Raises StreamBackupError, with its last words, when it does not."""
    own = {"GATEWAY_PORT": url.rpartition(":")[2], "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    own |= dict.fromkeys(("IOT_MTLS_ENABLED", "SFTP_ENABLED", "AUTH"), "false")
    own |= dict.fromkeys(("PERSIST_STATE", "S3_PERSIST", "USE_SSL"), "0")
    own["PATH"] = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    )  # its first Python runs functions
    with TemporaryFile() as log:  # a file without a name: nobody has to remove it
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_backup.demo.server"],
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: the server is stopped last
        )
        server = Embedded(url, process)
        try:
            deadline = time.monotonic() + _START
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode(errors="replace").strip().splitlines()
                    raise StreamBackupError(f"The embedded AWS did not start: {words[-1] if words else 'it says nothing'}")
                time.sleep(0.05)
            yield server
        finally:
            if not server.stays:
                stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a child for certain: it is asked, then it is killed."""
    try:
        process.terminate()
        process.wait(_STOP)
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/_ministack/health", timeout=5):  # noqa: S310 - our own http:// on loopback
            return True
    except (URLError, OSError):
        return False
