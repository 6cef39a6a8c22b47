"""The command line as a user runs it: a child process that does not see this machine's settings,
and what it printed.

`Shell` runs commands. `Table` is a table and its rows as canonical bytes. `proxy` is between a
command and an AWS emulator: it counts requests by operation, and answers some of them itself, as
`rule` says. `archive_server` serves a bucket in memory over HTTP.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from stream_backup.archive.memory import MemoryStore
from stream_backup.core.item import Item, encode
from stream_backup.core.moment import iso
from stream_backup.core.version import Version
from tests import preloaded
from tests.servers import Aws, environment

BIN = Path(sys.executable).parent
FOLDER = TemporaryDirectory(prefix="shell-")
PATIENCE = 120
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> "Said":
        """Checks that the command ended with an error of this project: the exit code, one sentence
        that contains `words`, a hint, nothing on stdout, and no traceback."""
        assert self.code == code, self
        assert self.out == "", self
        assert "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err, self.err
        *_, sentence, hint = self.err.rstrip("\n").split("\n")
        assert hint.startswith("hint: "), self.err
        assert sentence, self.err
        return self


@dataclass(frozen=True)
class Shell:
    """A terminal with the AWS settings of one emulator and, in most cases, the name of one
    archive."""

    aws: Aws
    archive: str | None
    more: Mapping[str, str | None] = field(default_factory=dict)
    """Additional settings. None removes a setting."""

    folder: Path = Path(FOLDER.name)
    """The current folder of the commands, in which they leave receipts."""

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "STREAM_BACKUP"))
        }
        given: dict[str, str | None] = {
            **kept,
            **environment(self.aws.url),
            "STREAM_BACKUP_ARCHIVE": self.archive,
            **self.more,
        }
        return {name: value for name, value in given.items() if value is not None}

    def run(self, *words: str, typed: str = "", command: tuple[str, ...] = ()) -> Said:
        """Runs a command to its end, with `typed` on its stdin.

        `command` is a program to run instead of `stream-backup`. That one is run from the fork
        server, and is not when it starts processes itself.
        """
        several = "--workers" in words and "--workers 1" not in " ".join(words)
        if command or several:
            program = command or (str(BIN / "stream-backup"),)
            done = subprocess.run(
                [*program, *words],
                input=typed.encode(),
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                timeout=PATIENCE,
            )
        else:
            done = preloaded.run(words, self.environment, self.folder, typed.encode(), PATIENCE)
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def done(self, *words: str, typed: str = "", command: tuple[str, ...] = ()) -> Said:
        """Runs a command that must succeed."""
        said = self.run(*words, typed=typed, command=command)
        assert said.code == 0, said
        return said

    @contextmanager
    def running(self, *words: str) -> Iterator["Running"]:
        """Runs a command in the background, and kills it at the end if it is still running."""
        pipes = subprocess.PIPE
        command = [str(BIN / "stream-backup"), *words]
        with subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=pipes,
            stderr=pipes,
        ) as process:
            try:
                yield Running(process)
            finally:
                process.kill()


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]

    def interrupt(self) -> Said:
        """Presses Ctrl-C and returns what the command printed and its exit code."""
        assert self.process.poll() is None, "it ended before it could be interrupted"
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> Said:
        out, err = self.process.communicate(timeout=PATIENCE)
        return Said(self.process.returncode, out.decode(), err.decode())


SIMPLE = (("id", "S"),)
COMPOSITE = (("pk", "S"), ("sk", "N"))


@dataclass(frozen=True)
class Table:
    aws: Aws
    name: str

    @cached_property
    def client(self) -> Any:
        return self.aws.client("dynamodb")

    @classmethod
    def create(
        cls, aws: Aws, name: str, key: tuple[tuple[str, str], ...] = SIMPLE, **settings: Any
    ) -> "Table":
        made = cls(aws, name)
        defined = [{"AttributeName": name, "AttributeType": kind} for name, kind in key]
        schema = [
            {"AttributeName": name, "KeyType": kind}
            for (name, _), kind in zip(key, ("HASH", "RANGE"), strict=False)
        ]
        given = {
            "KeySchema": schema,
            "AttributeDefinitions": defined,
            "BillingMode": "PAY_PER_REQUEST",
        } | settings
        made.client.create_table(TableName=name, **given)
        return made

    def put(self, *items: Item) -> None:
        for item in items:
            self.client.put_item(TableName=self.name, Item=item)

    def put_many(self, items: list[Item]) -> None:
        for start in range(0, len(items), 25):
            requests = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            assert not self.client.batch_write_item(RequestItems={self.name: requests})[
                "UnprocessedItems"
            ]

    def delete(self, *keys: Item) -> None:
        for key in keys:
            self.client.delete_item(TableName=self.name, Key=key)

    def rows(self) -> list[bytes]:
        """Returns all rows in canonical bytes, sorted."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        return sorted(encode(item) for page in pages for item in page["Items"])

    def exists(self) -> bool:
        return self.name in self.client.list_tables()["TableNames"]

    def tags(self) -> dict[str, str]:
        arn = self.client.describe_table(TableName=self.name)["Table"]["TableArn"]
        return {
            tag["Key"]: tag["Value"]
            for tag in self.client.list_tags_of_resource(ResourceArn=arn)["Tags"]
        }


def next_second() -> str:
    """Waits until the present second is over and returns it as a moment. Earlier writes belong to
    that moment, and later writes do not."""
    now = time.time()
    time.sleep(int(now) + 1.1 - now)
    return iso(int(now))


def lines(path: Path | bytes | str) -> list[bytes]:
    """Returns the items of a file of DynamoDB JSON lines, in canonical bytes, sorted."""
    content = (
        path.read_bytes()
        if isinstance(path, Path)
        else path.encode()
        if isinstance(path, str)
        else path
    )
    return sorted(encode(json.loads(line)["Item"]) for line in content.splitlines())


class Request(NamedTuple):
    operation: str
    """The operation's name in AWS: `Scan`, `BatchWriteItem`, `PutObject`, `ListObjectVersions`."""

    path: str
    body: bytes
    method: str = ""
    caller: str = ""
    """The lines of the product that made it, where the process says so (tests/callers.py)."""


CALLER = "x-called-by"
"""The header with the caller."""

Answer = tuple[int, bytes]


class Lost(NamedTuple):
    """No answer: the connection is closed, once the request was `executed` or not, and `then` was
    called."""

    executed: bool
    then: Callable[[], object] = lambda: None


Rule = Callable[[Request], Answer | Lost | None]


def denied(*operations: str) -> Rule:
    """Returns a rule that answers these operations as IAM does when it denies them."""

    def rule(request: Request) -> Answer | None:
        if request.operation not in operations:
            return None
        if request.operation.endswith(("Object", "Versions", "Bucket", "Versioning")):
            return 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        message = (
            "User: arn:aws:iam::1:user/night is not authorized to perform:"
            f" dynamodb:{request.operation}"
        )
        return (
            400,
            json.dumps(
                {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": message}
            ).encode(),
        )

    return rule


@dataclass
class Between:
    """A proxy with the number of requests by operation, and the rule that answers some of them."""

    url: str
    rule: Rule = lambda request: None
    requests: Counter[str] = field(default_factory=Counter)
    _under_way: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def aws(self) -> Aws:
        return Aws(self.url)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Counts a request that is under way."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def settle(self) -> None:
        """Returns when no request is under way."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._under_way, PATIENCE)


class Found(NamedTuple):
    """What an emulator answers: `length` is the Content-Length that it says, also of a HEAD."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: str | None


Upstream = Callable[[Request, Mapping[str, str]], Found]
"""Executes a request with these headers."""


@contextmanager
def proxy(upstream: str, execute: Upstream | None = None) -> Iterator[Between]:
    """Starts a proxy in front of `upstream`. With `execute`, that executes the requests instead,
    without another connection."""
    target = urlsplit(upstream).netloc

    class Handler(_Quiet):
        def setup(self) -> None:
            super().setup()
            self.upstream = HTTPConnection(target, timeout=60)

        def finish(self) -> None:
            self.upstream.close()
            super().finish()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = Request(
                _operation(self.command, self.path, self.headers.get("x-amz-target")),
                self.path,
                body,
                self.command,
                self.headers.get(CALLER, ""),
            )
            with between.working():
                self.answer_to(request)

        def answer_to(self, request: Request) -> None:
            between.requests[request.operation] += 1
            own_answer = between.rule(request)
            if isinstance(own_answer, Lost):
                if own_answer.executed:
                    self.ask(request)
                own_answer.then()
                self.close_connection = True
                return
            if own_answer:
                self.reply(own_answer[0], own_answer[1], {})
                return
            found = self.ask(request)
            skipped = ("transfer-encoding", "connection", "content-length", "date", "server")
            headers = {name: value for name, value in found.headers if name.lower() not in skipped}
            self.reply(found.status, found.body, headers, found.length)

        def ask(self, request: Request) -> Found:
            headers = dict(self.headers.items())
            if execute:
                return execute(request, headers)
            self.upstream.request(self.command, self.path, request.body, headers)
            found = self.upstream.getresponse()
            length = found.getheader("content-length")
            return Found(found.status, found.getheaders(), found.read(), length)

    with _serving(Handler) as url:
        between = Between(url)
        yield between


def _operation(method: str, path: str, target: str | None) -> str:
    if target:
        return target.rpartition(".")[2]
    parts = urlsplit(path)
    asked = parse_qs(parts.query, keep_blank_values=True)
    if "versioning" in asked:
        return "GetBucketVersioning"
    if "versions" in asked:
        return "ListObjectVersions"
    whole_bucket = "/" not in parts.path.strip("/")
    if whole_bucket:
        return {"GET": "ListObjectsV2", "HEAD": "HeadBucket"}.get(method, f"{method} bucket")
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}.get(method, method)


class Served(NamedTuple):
    url: str
    requests: Counter[str]


@contextmanager
def archive_server(bucket: str, store: MemoryStore) -> Iterator[Served]:
    """Serves a versioned bucket in memory over HTTP: GetBucketVersioning, ListObjectVersions,
    GetObject, HeadObject, PutObject.

    It counts the requests. Each prefix is listed only once, so nothing may be written under a
    prefix that was listed.
    """
    requests: Counter[str] = Counter()
    listings: dict[str, list[Version]] = {}
    places: dict[tuple[str, str, str], int] = {}
    lock = threading.Lock()

    def listed(prefix: str) -> list[Version]:
        with lock:
            if prefix not in listings or "/meta/" in prefix:
                listings[prefix] = list(store.versions(prefix))
                for place, version in enumerate(listings[prefix]):
                    places[prefix, version.path, version.version_id] = place
            return listings[prefix]

    def page(asked: dict[str, list[str]]) -> bytes:
        prefix = asked.get("prefix", [""])[0]
        every = listed(prefix)
        marker = (prefix, asked.get("key-marker", [""])[0], asked.get("version-id-marker", [""])[0])
        start = places[marker] + 1 if marker[1] else 0
        part = every[start : start + 1000]
        entries = "".join(
            f"<Version><Key>{escape(quote(each.path))}</Key><VersionId>{each.version_id}</VersionId>"
            f"<LastModified>{iso(each.written)}</LastModified><ETag>&quot;{each.etag}&quot;</ETag>"
            f"<Size>{each.size}</Size></Version>"
            for each in part
        )
        more = start + len(part) < len(every)
        last = part[-1] if part else None
        following = (
            f"<NextKeyMarker>{quote(last.path)}</NextKeyMarker><NextVersionIdMarker>{last.version_id}</NextVersionIdMarker>"
            if more and last
            else ""
        )
        return (
            f"<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{following}{entries}</ListVersionsResult>"
        ).encode()

    class Handler(_Quiet):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            operation = _operation(self.command, self.path, None)
            requests[operation] += 1
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query, keep_blank_values=True)
            path = unquote(parts.path).removeprefix(f"/{bucket}/")
            if operation == "GetBucketVersioning":
                self.reply(
                    200,
                    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
                    {},
                )
            elif operation == "ListObjectVersions":
                self.reply(200, page(asked), {"content-type": "application/xml"})
            elif operation == "PutObject":
                store.put(path, body, {})
                self.reply(200, b"", {"etag": '"0"'})
            elif operation in ("GetObject", "HeadObject"):
                payload, metadata = store.get(path, asked["versionId"][0])
                headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
                headers |= {"etag": '"0"', "last-modified": self.date_time_string()}
                self.reply(
                    200, payload if operation == "GetObject" else b"", headers, str(len(payload))
                )
            else:
                self.reply(501, b"", {})

    with _serving(Handler) as url:
        yield Served(url, requests)


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self) -> None:
        raise NotImplementedError

    def reply(
        self, status: int, body: bytes, headers: Mapping[str, str], length: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header(
            "Content-Length", length if self.command == "HEAD" and length else str(len(body))
        )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has this name
        pass

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = lambda self: self.answer()  # noqa: N815 - the base class looks these names up


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: an interrupted client closes its connection, which is expected."""


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def seconds_of(text: str) -> list[str]:
    """Returns the ISO moments in a text."""
    return re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
