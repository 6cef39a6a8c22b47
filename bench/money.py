"""What `stream-backup estimate` says beforehand, beside what the servers were then asked: a backfill, a capture through the
handler, and a restore, by the commands themselves on the embedded AWS.

A proxy counts at the server's side. It also says what the embedded AWS does not: DescribeTable's bytes (there every item has
200), and the capacity of a page by AWS's rules; that of a write the server reckons itself.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from ministack.services.dynamodb import _item_size_bytes as item_size

from stream_backup.demo.embedded import environment, free_url, serve, settings

TABLE, BUCKET = "estimated", "estimates"
APART = 8
"""Seconds between the backfill and the changes: versions written closer together are both read by a restore."""

WORKERS = ("--workers", "1")
"""So that a table is scanned in as many segments on every machine."""

PROGRAM = str(Path(sys.executable).with_name("stream-backup"))
Item = dict[str, dict[str, str]]


@dataclass
class Meter:
    """Requests by name, and the capacity of scans and batches. Requests for what lies under `meta/` are counted too."""

    upstream: str
    counts: Counter[str] = field(default_factory=Counter)
    described: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def before(self, operation: str, body: bytes) -> bytes:
        if operation != "BatchWriteItem":
            return body
        return json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "TOTAL"}).encode()

    def after(self, operation: str, path: str, request: bytes, answer: bytes) -> bytes:
        """Counts it; the answer as AWS would give it."""
        counts = Counter({operation: 1, f"{operation} meta": int("/meta/" in unquote(path))})
        if operation == "Scan" and json.loads(request).get("ConsistentRead"):
            size = sum(map(item_size, json.loads(answer)["Items"]))
            counts["RCU"] = max(1, -(-size // 4096))
        elif operation == "BatchWriteItem":
            counts["WCU"] = sum(int(each["CapacityUnits"]) for each in json.loads(answer)["ConsumedCapacity"])
        elif operation == "DescribeTable" and self.described and b'"Table"' in answer:
            found = json.loads(answer)
            found["Table"] |= self.described
            answer = json.dumps(found).encode()
        with self.lock:
            self.counts += counts
        return answer


def operation_of(method: str, path: str, target: str | None) -> str:
    """DynamoDB's by its own name, S3's as the price list has it; those that nobody asks the price of by their method."""
    if target:
        return target.rpartition(".")[2]
    parts = urlsplit(path)
    asked = parse_qs(parts.query, keep_blank_values=True)
    if "versions" in asked:
        return "LIST"
    of_object = "/" in parts.path.strip("/") and "versioning" not in asked
    return method if of_object else f"{method} bucket"


@contextmanager
def metered(upstream: str) -> Iterator[tuple[str, Meter]]:
    """A proxy before `upstream`: its URL, and what it counts."""
    meter, target = Meter(upstream), urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def answer(self) -> None:
            operation = operation_of(self.command, self.path, self.headers.get("x-amz-target"))
            request = meter.before(operation, self.rfile.read(int(self.headers.get("content-length") or 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            behind = HTTPConnection(target, timeout=60)  # one a request: the server hangs up on those that wait
            behind.request(self.command, self.path, request, headers | {"Content-Length": str(len(request))})
            found = behind.getresponse()
            body = found.read()
            behind.close()
            if found.status < 300:
                body = meter.after(operation, self.path, request, body)
            self.send_response(found.status)
            for name, value in found.getheaders():
                if name.lower() not in (
                    "transfer-encoding",
                    "connection",
                    "content-length",
                    "date",
                    "server",
                    "x-amz-crc32",
                ):
                    self.send_header(name, value)
            length = found.getheader("content-length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            pass

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = lambda self: self.answer()  # noqa: N815 - as it is looked up

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", meter
    finally:
        server.shutdown()
        server.server_close()


def run(*words: str) -> str:
    """What a command says on stdout; it must succeed."""
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(f"stream-backup {' '.join(words)} ended with {done.returncode}.\n{done.stderr}")
    return done.stdout


def rows(count: int, large: float, seed: int = 7) -> list[Item]:
    """Items of 60 to 3,000 bytes, most of them small, and a share of 100 KB."""
    chance = random.Random(seed)
    sizes = [100_000 if chance.random() < large else min(3000, int(60 + chance.expovariate(1 / 500))) for _ in range(count)]
    return [
        {"id": {"S": f"item-{number:08}"}, "n": {"N": "0"}, "text": {"S": "x" * size}} for number, size in enumerate(sizes)
    ]


@dataclass(frozen=True)
class Compared:
    """`said` beforehand and `counted` afterwards, by step and name."""

    said: dict[str, dict[str, float]]
    counted: dict[str, dict[str, float]]

    def __iter__(self) -> Iterator[tuple[str, str, float, float]]:
        for step, counts in self.said.items():
            for name, count in counts.items():
                yield step, name, count, self.counted[step].get(name, 0)


def compare(items: list[Item], changes: int) -> Compared:
    """The whole life of one table: an estimate; then the real thing, counted. Every tenth change makes a new item."""
    with (
        serve(free_url()) as upstream,
        metered(upstream.url) as (url, meter),
        environment(settings(url) | {"STREAM_BACKUP_ARCHIVE": f"s3://{BUCKET}"}),
        TemporaryDirectory() as folder,
    ):
        table = _table(upstream.url, items)
        meter.described = {"ItemCount": len(items), "TableSizeBytes": sum(map(item_size, items))}
        given = ("--changes-per-month", str(changes), "--months", "1", "--json", *WORKERS)
        estimate = json.loads(run("estimate", TABLE, *given))
        run("enable", TABLE, "--stream-only")
        counted = {"backfill": _counted(meter, "backfill", TABLE, *WORKERS)}
        time.sleep(APART)
        for number in range(changes):
            item = items[number * len(items) // changes]
            name = f"new-{number:08}" if number % 10 == 9 else item["id"]["S"]
            table.put_item(TableName=TABLE, Item=item | {"id": {"S": name}, "n": {"N": str(number + 1)}})
        table.close()  # the server waits for those that are connected when it is to end
        counted["capture"] = _counted(meter, "follow", TABLE, "--once")  # the function's handler, called here
        counted["capture"]["PUT"] -= counted["capture"].pop("PUT meta", 0)  # how far it has read; a function keeps nothing
        at = json.loads(run("status", TABLE, "--json"))["latest"]
        counted["into_table"] = _counted(meter, "restore", TABLE, "--at", at, "--into", f"{TABLE}-again")
        counted["to_file"] = _counted(meter, "restore", TABLE, "--at", at, "--to", f"{folder}/rows")
    parts = {"backfill": estimate["backfill"], "capture": estimate["capture"]}
    parts |= {name: estimate["restore"][name] for name in ("into_table", "to_file")}
    named = ("PUT", "LIST", "GET", "Scan", "BatchWriteItem", "RCU", "WCU")
    said = {
        step: {name: count for name, count in (part["requests"] | part["capacity"]).items() if name in named}
        for step, part in parts.items()
    }
    return Compared(said, counted)


def _table(url: str, items: list[Item]) -> Any:
    """The table with these items, and the bucket; a client beside the proxy."""
    s3 = boto3.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.close()
    client = boto3.client("dynamodb", endpoint_url=url)
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for start in range(0, len(items), 25):
        client.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]})
    return client


def _counted(meter: Meter, *words: str) -> dict[str, float]:
    before = meter.counts.copy()
    run(*words)
    return dict(meter.counts - before)


def check_estimate(count: int = 4000, changes: int = 800) -> Iterator[str]:
    """Every count of the estimate beside the real one, of small items alone and with some of 100 KB among them."""
    yield "| items | step | what | estimate | counted | off |"
    yield "|---|---|---|--:|--:|--:|"
    for named, large in (("60 bytes to 3 KB", 0.0), ("2 % of them 100 KB", 0.02)):
        for step, name, said, counted in compare(rows(count, large), changes):
            off = f"{said / counted - 1:+.1%}" if counted else "–"
            yield f"| {count:,}, {named} | {step} | {name} | {said:,.0f} | {counted:,.0f} | {off} |"
