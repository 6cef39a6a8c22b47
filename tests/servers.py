"""AWS emulators on free loopback ports: moto in a thread, and ministack and SeaweedFS as child
processes.

Each is a context manager that yields its endpoint URL and leaves nothing behind. Where an emulator
differs from AWS in a way that matters to a test, that test says so.
"""

import json
import logging
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from socket import socket
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import boto3
from moto.server import ThreadedMotoServer

from stream_backup.archive.s3 import S3Store, open_objects

REGION = "us-east-1"
ACCESS_KEY = SECRET_KEY = "test"

_START = 60
"""Seconds that a server may take to start, on a machine that also runs other tests."""

_BIN = Path(sys.executable).parent
_BUCKETS = count(1)


@dataclass(frozen=True)
class Aws:
    """One emulator, and a boto3 session for it. Clients of other processes use AWS_ENDPOINT_URL,
    which the fixture sets."""

    url: str
    session: Any = field(
        default_factory=lambda: boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    )

    def bucket(self) -> str:
        """Creates a versioned bucket and returns its name."""
        name = f"backups-{os.getpid()}-{next(_BUCKETS)}"
        client = self.client("s3")
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def client(self, service: str) -> Any:
        return self.session.client(service, endpoint_url=self.url)

    def store(self, bucket: str) -> S3Store:
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": REGION}
        return S3Store(bucket, open_objects(bucket, endpoint=self.url, **keys), self.client("s3"))


def environment(url: str) -> dict[str, str]:
    """Returns the settings with which every AWS client of a process uses `url` and ignores this
    machine's own settings."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def moto() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def ministack(work: Path) -> Iterator[str]:
    (port,) = _free_ports(1)
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "false"}
    own = {"TMPDIR": str(work), "S3_DATA_DIR": str(work / "s3")}
    with _child(
        [str(_BIN / "ministack")],
        work,
        f"http://127.0.0.1:{port}",
        "/_ministack/health",
        settings | own,
    ) as url:
        yield url


@contextmanager
def seaweedfs(work: Path) -> Iterator[str]:
    """Starts master, volume server, filer, and S3 gateway in one process, each with its gRPC
    port."""
    names = [
        f"{part}.port{kind}"
        for part in ("master", "volume", "filer", "s3")
        for kind in ("", ".grpc")
    ]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    config, data = work / "s3.json", work / "data"
    data.mkdir()
    (work / "master.toml").write_text(
        "[master.volume_growth]\ncopy_1 = 1\n"
    )  # one volume per bucket instead of seven
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    config.write_text(
        json.dumps(
            {"identities": [{"name": "test", "credentials": credentials, "actions": ["Admin"]}]}
        )
    )
    command = [
        str(_BIN / "weed"),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
    ]
    command += [
        f"-s3.config={config}",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    command += [
        "-master.volumeSizeLimitMB=64",
        "-volume.max=2000",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with _child(command, work, f"http://127.0.0.1:{ports['s3.port']}", "/", {}) as url:
        yield url


@contextmanager
def _child(
    command: list[str], work: Path, url: str, health: str, settings: dict[str, str]
) -> Iterator[str]:
    log = work / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=work, env=os.environ | settings, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + _START
            while not _answers(url + health):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield url
        finally:
            process.kill()  # no data is kept, so nothing needs to be flushed
            process.wait()


def _answers(url: str) -> bool:
    # Since Python 3.12, urlopen reads SSL_CERT_FILE once; a new context reads it each time.
    trust = ssl.create_default_context() if url.startswith("https:") else None
    try:
        with urlopen(url, timeout=5, context=trust):
            return True
    except HTTPError as error:
        error.close()
        return error.code < 500  # SeaweedFS refuses unsigned requests, but it is running
    except (URLError, OSError):
        return False


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
