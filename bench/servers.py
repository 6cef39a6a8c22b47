"""Starts the null servers of a round, each in a process of its own."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.clients import Endpoints


@contextmanager
def servers(delay: float = 0) -> Iterator[Endpoints]:
    """Starts a null S3 and a null DynamoDB; `delay` is the time until an answer, in ms."""
    ports = _free_port(), _free_port()
    started = [
        subprocess.Popen([sys.executable, "-m", "bench.server", str(port), str(delay)])
        for port in ports
    ]
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            _wait(url)
        yield Endpoints(*urls)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/_stats").close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"The null server at {url} did not start.")
