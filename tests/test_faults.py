"""Faults between the function and S3, and functions that are killed: after recovery, the archive
equals the table's history."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from obstore.store import S3Store as Objects

from stream_backup.archive.layout import Archive
from stream_backup.archive.s3 import S3Store
from stream_backup.capture.batch import Handler, make_handler
from tests.event_source_mapping import Clock, EventSourceMapping, Killed
from tests.journal import SCHEMA, Journal, check_equal, restored
from tests.servers import ACCESS_KEY, REGION, SECRET_KEY, Aws, environment

pytestmark = pytest.mark.server

FAULTS = ("slow down", "internal error", "reset", "answer lost", "hang", "late")
"""What may happen to a put. `reset`: S3 never receives it. `answer lost`: it is done, but the
client does not receive the answer. `late`: it is done long after the client has given up and
retried."""

PATIENCE = 0.4
"""Seconds that the function waits for S3 in these tests. A put that hangs or is late takes three
times as long."""

ERRORS = {"slow down": (503, b"SlowDown"), "internal error": (500, b"InternalError")}


@dataclass
class Weather:
    """The faults of the following puts. `spells` are (number of puts, share of them with a fault).
    After the spells, there are no faults."""

    spells: list[tuple[int, float]] = field(default_factory=list)
    kinds: tuple[str, ...] = FAULTS
    random: Random = field(default_factory=lambda: Random(0))
    puts: int = 0
    met: Counter[str] = field(default_factory=Counter)
    on_put: Callable[[int], object] = lambda number: None
    """Called with the number of each put before the put is processed."""

    late: int = 0
    """The number of puts that are still running although no client waits for them."""

    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def away(self) -> Iterator[None]:
        with self._lock:
            self.late += 1
        try:
            yield
        finally:
            with self._lock:
                self.late -= 1

    def next(self) -> str | None:
        with self._lock:
            self.puts += 1
            self.on_put(self.puts)
            start = 0
            for length, share in self.spells:
                start += length
                if self.puts <= start:
                    fault = self.random.choice(self.kinds) if self.random.random() < share else None
                    self.met[fault or "well"] += 1
                    return fault
        return None


@contextmanager
def faulty(upstream: str, weather: Weather) -> Iterator[str]:
    """Starts a proxy in front of `upstream` that applies the faults to puts."""
    target = urlsplit(upstream).netloc

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fault = weather.next()
            if fault in ERRORS:
                status, code = ERRORS[fault]
                self.answer(status, b"<Error><Code>%s</Code></Error>" % code)
                return
            if fault in ("hang", "late"):
                with weather.away():
                    time.sleep(3 * PATIENCE)
                    found = self.forward(body) if fault == "late" else None
            else:
                found = None if fault == "reset" else self.forward(body)
            if fault or not found:
                self.close_connection = True  # closes without an answer
            else:
                self.answer(*found)

        def forward(self, body: bytes) -> tuple[int, bytes, str]:
            connection = HTTPConnection(target, timeout=60)
            try:
                connection.request("PUT", self.path, body, dict(self.headers.items()))
                found = connection.getresponse()
                return found.status, found.read(), found.getheader("etag") or ""
            finally:
                connection.close()

        def answer(self, status: int, body: bytes, etag: str = "") -> None:
            self.send_response(status)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has this name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Does nothing: the client has closed the connection."""

    server = Server(("127.0.0.1", 0), Between)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        while weather.late:
            time.sleep(0.05)
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class World:
    """A table's journal of the last minutes, and its archive on ministack."""

    aws: Aws
    weather: Weather
    journal: Journal = field(default_factory=lambda: Journal(start=int(time.time()) - 120))

    def __post_init__(self) -> None:
        self.bucket = self.aws.bucket()
        self.archive = Archive(self.aws.store(self.bucket), "", "orders", SCHEMA)

    def mapping(self, function: Any, **settings: Any) -> EventSourceMapping:
        return EventSourceMapping(function, Clock(self.journal.now + 1), **settings)

    def handler(self, url: str) -> Handler:
        """Returns the real handler, with few and short retries of its own, so that the mapping's
        retries matter."""
        objects = Objects(
            self.bucket,
            endpoint=url,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": timedelta(seconds=PATIENCE)},
            retry_config={
                "max_retries": 1,
                "backoff": {
                    "base": 2,
                    "init_backoff": timedelta(milliseconds=5),
                    "max_backoff": timedelta(milliseconds=20),
                },
                "retry_timeout": timedelta(seconds=2),
            },
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            region=REGION,
        )
        store = S3Store(self.bucket, objects)
        return make_handler(lambda table: Archive(store, "", table))


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("kind", FAULTS)
def test_after_a_spell_of_faults(aws: Aws, kind: str, share: float) -> None:
    """After any fault of S3, for between one in twenty puts and all of them, nothing is lost,
    nothing is added, and every restore gives the table's history."""
    weather = Weather([(60, share)], kinds=(kind,))
    world = World(aws, weather)
    world.journal.fill(80, keys=12)
    with faulty(aws.url, weather) as url:
        mapping = world.mapping(world.handler(url), batch_size=40)
        mapping.read(world.journal.records)
    assert weather.met[kind] > 0
    if share == 1.0:
        assert len(mapping.calls) > 2
    check_answers(world)
    if kind != "late":  # a late put arrives after newer ones, so only the stamps give the order
        check_equal(world.archive, world.journal, ())


def test_weather_of_every_kind(aws: Aws) -> None:
    """The same holds with all faults mixed, with parallel lanes, and with more to write after
    recovery."""
    weather = Weather([(60, 0.05), (60, 1.0), (60, 0.3)], random=Random(7))
    world = World(aws, weather)
    world.journal.fill(200, keys=25)
    with faulty(aws.url, weather) as url:
        world.mapping(world.handler(url), batch_size=50, parallel=2).read(world.journal.records)
    assert set(weather.met) == {"well", *FAULTS}
    check_answers(world)


def check_answers(world: World) -> None:
    """Checks that nothing is lost, nothing is added, and every moment is correct, whatever the
    order of the writes."""
    moments = world.journal.moments
    for moment in (moments[0], *moments[1:-1:7], moments[-1]):
        assert restored(world.archive, moment) == world.journal.at(moment), moment
    written = {
        (history.name, world.archive.stat(each).stamp.sequence)
        for history in world.archive.histories()
        for each in history.versions
    }
    assert len(written) == len(world.journal.records)


# -------------------------------------------------------------------------------------------------
# functions that die

PROCESS = """
import json, sys
from stream_backup.handler import handler
answer = handler(json.load(sys.stdin), None)
print(json.dumps(answer))
"""


@dataclass
class Process:
    """The function in its own process, as in Lambda, which may be killed."""

    world: World
    url: str
    running: subprocess.Popen[bytes] | None = None

    def __call__(self, event: dict[str, Any], context: Any) -> Any:
        given = (
            os.environ
            | environment(self.url)
            | {"STREAM_BACKUP_ARCHIVE": f"s3://{self.world.bucket}"}
        )
        pipes = subprocess.PIPE
        command = [sys.executable, "-c", PROCESS]
        with subprocess.Popen(
            command, stdin=pipes, stdout=pipes, stderr=pipes, env=given
        ) as self.running:
            out, _ = self.running.communicate(json.dumps(event).encode())
        if self.running.returncode:
            raise Killed
        return json.loads(out.splitlines()[-1])

    def kill(self) -> None:
        if self.running:
            self.running.kill()


def test_killed_in_the_middle_of_a_batch(aws: Aws) -> None:
    """A function that is killed twice while it writes a batch leaves a partly written batch, which
    is delivered again. Every restore is then correct, and even the order of the writes."""
    weather = Weather()
    world = World(aws, weather)
    world.journal.fill(100, keys=40)
    with faulty(aws.url, weather) as url:
        function = Process(world, url)
        weather.on_put = lambda number: function.kill() if number in (25, 60) else None
        mapping = world.mapping(function, batch_size=100)
        mapping.read(world.journal.records)
    assert len(mapping.calls) > 2
    assert weather.puts > 100
    check_equal(world.archive, world.journal)


@pytest.mark.parametrize("killed", [False, True])
def test_two_copies_run_the_same_batch(aws: Aws, killed: bool) -> None:
    """Two processes that write the same batch at the same time, one of which may be killed, leave
    every restore correct."""
    weather = Weather()
    world = World(aws, weather)
    world.journal.fill(100, keys=10)
    event = {"Records": world.journal.records}
    with faulty(aws.url, weather) as url:
        copies = [Process(world, url), Process(world, url)]
        if killed:
            weather.on_put = lambda number: copies[0].kill() if number == 70 else None
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(copies[0], event, None)
            while not weather.puts and not first.done():
                time.sleep(0.01)
            second = pool.submit(copies[1], event, None)
            assert second.result() == {"batchItemFailures": []}
            assert isinstance(first.exception(), Killed) or first.result() == {
                "batchItemFailures": []
            }
    assert weather.puts > 100
    check_answers(world)
