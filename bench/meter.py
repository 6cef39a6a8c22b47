"""A proxy that counts requests and consumed capacity on the server's side.

It also corrects what the embedded AWS does not calculate as AWS does: the size of a table in
DescribeTable (200 bytes for each item), and the read units of a page. Write units are those that
the server reports.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ministack.services.dynamodb import _item_size_bytes as item_size

_NOT_FORWARDED = {
    "transfer-encoding",
    "connection",
    "content-length",
    "date",
    "server",
    "x-amz-crc32",
}


@dataclass
class Meter:
    """Counts requests by name, and RCU and WCU of scans and batches.

    Requests for objects under `meta/` are counted a second time as `NAME meta`. `described` are
    fields that replace those of DescribeTable.
    """

    counts: Counter[str] = field(default_factory=Counter)
    described: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def before(self, operation: str, body: bytes) -> bytes:
        """Returns the body to send: a batch asks for its consumed capacity."""
        if operation != "BatchWriteItem":
            return body
        return json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "TOTAL"}).encode()

    def after(self, operation: str, path: str, request: bytes, answer: bytes) -> bytes:
        """Counts a request; returns the answer as AWS would send it."""
        counts = Counter({operation: 1, f"{operation} meta": int("/meta/" in unquote(path))})
        if operation == "Scan" and json.loads(request).get("ConsistentRead"):
            size = sum(map(item_size, json.loads(answer)["Items"]))
            counts["RCU"] = max(1, -(-size // 4096))
        elif operation == "BatchWriteItem":
            consumed = json.loads(answer)["ConsumedCapacity"]
            counts["WCU"] = sum(int(each["CapacityUnits"]) for each in consumed)
        elif operation == "DescribeTable" and self.described and b'"Table"' in answer:
            found = json.loads(answer)
            found["Table"] |= self.described
            answer = json.dumps(found).encode()
        with self.lock:
            self.counts += counts
        return answer


def operation_of(method: str, path: str, target: str | None) -> str:
    """Returns the name of a request.

    For DynamoDB it is the operation in the header `target`. For S3 it is the name in the price
    list, or the method and `bucket` for requests about a bucket.
    """
    if target:
        return target.rpartition(".")[2]
    parts = urlsplit(path)
    asked = parse_qs(parts.query, keep_blank_values=True)
    if "versions" in asked:
        return "LIST"
    is_about_object = "/" in parts.path.strip("/") and "versioning" not in asked
    return method if is_about_object else f"{method} bucket"


@contextmanager
def metered(upstream: str) -> Iterator[tuple[str, Meter]]:
    """Runs a proxy for the server at `upstream`; yields its URL and its meter."""
    meter = Meter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(meter, urlsplit(upstream).netloc))
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", meter
    finally:
        server.shutdown()
        server.server_close()


def _handler(meter: Meter, target: str) -> type[BaseHTTPRequestHandler]:
    """Returns the class that handles the proxy's requests; `target` is HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def answer(self) -> None:
            operation = operation_of(self.command, self.path, self.headers.get("x-amz-target"))
            length = int(self.headers.get("content-length") or 0)
            request = meter.before(operation, self.rfile.read(length))
            found, body = self.forward(request)
            if found.status < 300:
                body = meter.after(operation, self.path, request, body)
            self.reply(found, body)

        def forward(self, request: bytes) -> tuple[HTTPResponse, bytes]:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() != "content-length"
            }
            # one connection per request, because the server closes idle ones
            connection = HTTPConnection(target, timeout=60)
            connection.request(
                self.command, self.path, request, headers | {"Content-Length": str(len(request))}
            )
            found = connection.getresponse()
            body = found.read()
            connection.close()
            return found, body

        def reply(self, found: HTTPResponse, body: bytes) -> None:
            self.send_response(found.status)
            for name, value in found.getheaders():
                if name.lower() not in _NOT_FORWARDED:
                    self.send_header(name, value)
            length = found.getheader("content-length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = lambda self: self.answer()  # noqa: N815 - looked up by name

    return Handler
