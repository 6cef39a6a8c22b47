"""A null S3 and DynamoDB: one process, one epoll loop, keep-alive, answers that follow from the request alone.

    python -m bench.server PORT [DELAY_MS]

It stores nothing, checks no signature, and knows the requests of the hot paths: PutObject, GetObject by version,
ListObjectVersions, Scan, BatchWriteItem. With a delay every answer waits that long, as on a network, without holding up
others. `GET /_stats` tells its own CPU seconds and the requests it has answered, by kind.
"""

import json
import socket
import sys
import time
from collections import Counter, deque
from email.utils import formatdate
from hashlib import md5
from select import EPOLLIN, EPOLLOUT, epoll
from typing import Any
from urllib.parse import parse_qs

from bench import rows
from stream_backup.moment import iso

SCANNED = 1000
"""Rows in a page of a scan: about 640 KB, where DynamoDB would end it at 1 MB."""

LISTED = 1000
"""Versions in a page of a listing, as in S3."""


class Connection:
    __slots__ = ("buffer", "out", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.out = b""


class Server:
    def __init__(self, port: int, delay: float) -> None:
        self.delay = delay
        self.requests: Counter[str] = Counter()
        self.poll = epoll()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.listener.setblocking(False)
        self.poll.register(self.listener, EPOLLIN)
        self.connections: dict[int, Connection] = {}
        self.waiting: deque[tuple[float, Connection, bytes]] = deque()
        self.second = 0
        self.common = b""

    def run(self) -> None:
        while True:
            wait = -1.0
            if self.waiting:
                wait = max(0.0, self.waiting[0][0] - time.monotonic())
            self.tick()
            for number, flags in self.poll.poll(wait, 256):
                if number == self.listener.fileno():
                    self.accept()
                elif connection := self.connections.get(number):
                    if flags & ~EPOLLOUT:
                        self.read(connection)
                    if flags & EPOLLOUT:
                        self.send(connection, b"")
            now = time.monotonic()
            while self.waiting and self.waiting[0][0] <= now:
                _, connection, answer = self.waiting.popleft()
                self.send(connection, answer)

    def tick(self) -> None:
        now = int(time.time())
        if now != self.second:
            self.second = now
            self.common = b"\r\nDate: " + formatdate(now, usegmt=True).encode() + b"\r\nx-amz-request-id: 0\r\n"

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[sock.fileno()] = Connection(sock)
            self.poll.register(sock, EPOLLIN)

    def read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(connection)
            return
        data = connection.buffer + data if connection.buffer else data
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                break
            head = data[:end]
            size = length(head)
            if len(data) < end + 4 + size:
                if b"100-continue" in head and len(data) == end + 4:
                    connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                break
            body, data = data[end + 4 : end + 4 + size], data[end + 4 + size :]
            answer = self.answer(head, body)
            if self.delay and b"/_stats" not in head[:12]:
                self.waiting.append((time.monotonic() + self.delay, connection, answer))
            else:
                self.send(connection, answer)
        connection.buffer = data

    def send(self, connection: Connection, data: bytes) -> None:
        waited = bool(connection.out)
        data = connection.out + data if waited else data
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close(connection)
            return
        connection.out = data[sent:]
        if bool(connection.out) != waited:
            self.poll.modify(connection.sock, EPOLLIN | EPOLLOUT if connection.out else EPOLLIN)

    def close(self, connection: Connection) -> None:
        if self.connections.pop(connection.sock.fileno(), None):
            self.poll.unregister(connection.sock)
            connection.sock.close()

    def answer(self, head: bytes, body: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        if method == b"PUT":
            self.requests["put"] += 1
            return (
                b'HTTP/1.1 200 OK\r\nETag: "0123456789abcdef0123456789abcdef"\r\nx-amz-version-id: 1\r\n'
                b"Content-Length: 0" + self.common + b"\r\n"
            )
        if method == b"POST":
            return self.dynamodb(head, body)
        path, _, query = target.partition(b"?")
        if path == b"/_stats":
            return self.ok(json.dumps({"cpu": time.process_time(), "requests": self.requests}).encode())
        if b"versionId=" in query:
            answer = self.version(query.split(b"versionId=", 1)[1].split(b"&", 1)[0])
            self.requests["head" if method == b"HEAD" else "get"] += 1
            return answer[: answer.index(b"\r\n\r\n") + 4] if method == b"HEAD" else answer
        if b"versions" in query:
            self.requests["list"] += 1
            return self.ok(listing(parse_qs(query.decode(), keep_blank_values=True)), b"Content-Type: application/xml\r\n")
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    def ok(self, body: bytes, headers: bytes = b"") -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d" % len(body) + self.common + headers + b"\r\n" + body

    def version(self, version_id: bytes) -> bytes:
        """The version's own name says which row it is of, and which of its versions."""
        number, version = map(int, version_id.split(b"."))
        at = rows.at(version)
        body = rows.body(number, version)
        headers = (
            b'ETag: "%s"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n'
            b"x-amz-version-id: %s\r\nx-amz-meta-format: 1\r\nx-amz-meta-kind: %s\r\nx-amz-meta-at: %d\r\n"
            b"x-amz-meta-sequence: %d\r\nx-amz-meta-seen: %d\r\n"
        ) % (
            md5(body, usedforsecurity=False).hexdigest().encode(),
            version_id,
            b"modify" if version else b"insert",
            at,
            10**20 + at,
            at,
        )
        return self.ok(body, headers)

    def dynamodb(self, head: bytes, body: bytes) -> bytes:
        json_type = b"Content-Type: application/x-amz-json-1.0\r\n"
        lower = head.lower()
        if b".batchwriteitem" in lower:
            self.requests["write"] += 1
            return self.ok(b'{"UnprocessedItems":{}}', json_type)
        if b".scan" in lower:
            self.requests["scan"] += 1
            return self.ok(scan(json.loads(body)), json_type)
        if b".getitem" in lower:
            self.requests["read"] += 1
            return self.ok(b'{"Item":' + live(json.loads(body), "Key") + b"}", json_type)
        if b".putitem" in lower:
            self.requests["put"] += 1
            return self.ok(b'{"Attributes":' + live(json.loads(body), "Item") + b"}", json_type)
        return self.ok(b"{}", json_type)


def length(head: bytes) -> int:
    start = head.find(b"ontent-")
    while start >= 0:
        if head[start + 7 : start + 14].lower() == b"length:":
            return int(head[start + 14 :].split(b"\r\n", 1)[0])
        start = head.find(b"ontent-", start + 7)
    return 0


def live(request: dict[str, Any], where: str) -> bytes:
    """The row a request for one row is about, as it is now; it stays as it is."""
    number = int(request[where]["id"]["S"].removeprefix("order-"))
    return rows.body(number, rows.newest(request["TableName"], number) or 0)


def scan(request: dict[str, object]) -> bytes:
    """A page of the segment, rows by number."""
    count = rows.count_of(str(request["TableName"]))
    total, segment = int(str(request.get("TotalSegments", 1))), int(str(request.get("Segment", 0)))
    first, end = count * segment // total, count * (segment + 1) // total
    if start := request.get("ExclusiveStartKey"):
        first = int(start["id"]["S"].removeprefix("order-")) + 1  # type: ignore[index]
    stop = min(end, first + SCANNED)
    name = str(request["TableName"])
    page = b",".join(rows.body(number, rows.newest(name, number) or 0) for number in range(first, stop))
    last = b"" if stop == end else b',"LastEvaluatedKey":' + json.dumps(rows.key(stop - 1)).encode()
    found = stop - first
    return (
        b'{"ConsumedCapacity":{"TableName":"t","CapacityUnits":128.0},"Count":%d,"ScannedCount":%d,"Items":['
        % (found, found)
        + page
        + b"]"
        + last
        + b"}"
    )


def listing(query: dict[str, list[str]]) -> bytes:
    """A page of versions under the prefix, in the shape of S3's."""
    prefix = query["prefix"][0]
    folder, _, start = prefix.rpartition("/")
    table = rows.table(rows.count_of(folder))
    first, end = table.after(start, query.get("key-marker", [""])[0].rpartition("/")[2])
    stop = min(end, first + LISTED // rows.VERSIONS)
    entries = [
        _ENTRY
        % (
            folder,
            table.names[place],
            table.numbers[place],
            version,
            "true" if version == last else "false",
            _WRITTEN[version],
            table.names[place] if newest is None else md5(rows.body(table.numbers[place], version)).hexdigest(),
            _SIZE,
        )
        for place in range(first, stop)
        for newest in (rows.newest(folder, table.numbers[place]),)
        for last in (rows.VERSIONS - 1 if newest is None else newest,)
        for version in range(last, -1, -1)
    ]
    more = stop < end
    markers = f"<NextKeyMarker>{folder}/{table.names[stop - 1]}</NextKeyMarker><NextVersionIdMarker>0</NextVersionIdMarker>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{rows.BUCKET}</Name><Prefix>{prefix}</Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker>"
        f"{markers if more else ''}<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
        f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{''.join(entries)}</ListVersionsResult>"
    ).encode()


_ENTRY = (
    "<Version><Key>%s/%s</Key><VersionId>%d.%d</VersionId><IsLatest>%s</IsLatest><LastModified>%s</LastModified>"
    "<ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass>"
    "<Owner><ID>0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef</ID></Owner></Version>"
)
_SIZE = len(rows.body(0, 0))
_WRITTEN = [iso(rows.at(version) + 1).replace("Z", ".000Z") for version in range(rows.VERSIONS + 1)]

if __name__ == "__main__":
    Server(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0).run()
