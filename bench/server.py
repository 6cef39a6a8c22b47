"""A null server: an S3 and a DynamoDB that store nothing, in one process with one epoll loop.

    python -m bench.server PORT [DELAY_MS]

It checks no signature and supports only the requests of the hot paths: PutObject, GetObject with a
version, ListObjectVersions, Scan, BatchWriteItem, GetItem, and PutItem. With a delay, every answer
is sent that much later, as on a network, without delaying others. `GET /_stats` returns the CPU
seconds of the server and the requests it has answered, by kind.
"""

import json
import socket
import sys
import time
from collections import Counter, deque
from email.utils import formatdate
from select import EPOLLIN, EPOLLOUT, epoll

from bench import answers

_JSON = b"Content-Type: application/x-amz-json-1.0\r\n"
_XML = b"Content-Type: application/xml\r\n"
_PUT = (
    b'HTTP/1.1 200 OK\r\nETag: "0123456789abcdef0123456789abcdef"\r\nx-amz-version-id: 1\r\n'
    b"Content-Length: 0"
)


class ClientSocket:
    """A connection of a client, with what was received and what is still to be sent."""

    __slots__ = ("buffer", "out", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.out = b""


class Server:
    """Answers requests at a loopback port, each after `delay` seconds."""

    def __init__(self, port: int, delay: float) -> None:
        self.delay = delay
        self.requests: Counter[str] = Counter()
        self.poll = epoll()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.listener.setblocking(False)
        self.poll.register(self.listener, EPOLLIN)
        self.connections: dict[int, ClientSocket] = {}
        self.waiting: deque[tuple[float, ClientSocket, bytes]] = deque()
        self.second = 0
        self.common = b""

    def run(self) -> None:
        """Answers until the process is killed."""
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
        """Updates the headers of all answers once a second."""
        now = int(time.time())
        if now != self.second:
            self.second = now
            self.common = (
                b"\r\nDate: "
                + formatdate(now, usegmt=True).encode()
                + b"\r\nx-amz-request-id: 0\r\n"
            )

    def accept(self) -> None:
        """Accepts waiting connections."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[sock.fileno()] = ClientSocket(sock)
            self.poll.register(sock, EPOLLIN)

    def read(self, connection: ClientSocket) -> None:
        """Reads from a connection and answers its complete requests."""
        try:
            data = connection.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(connection)
            return
        connection.buffer = self.take(connection, connection.buffer + data)

    def take(self, connection: ClientSocket, data: bytes) -> bytes:
        """Answers the complete requests in `data`; returns the rest."""
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
        return data

    def send(self, connection: ClientSocket, data: bytes) -> None:
        """Sends data, and keeps what the socket does not accept now."""
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

    def close(self, connection: ClientSocket) -> None:
        """Closes a connection."""
        if self.connections.pop(connection.sock.fileno(), None):
            self.poll.unregister(connection.sock)
            connection.sock.close()

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Returns the answer to a request."""
        method, target, _ = head.split(b" ", 2)
        if method == b"PUT":
            self.requests["put"] += 1
            return _PUT + self.common + b"\r\n"
        if method == b"POST":
            return self.dynamodb(head, body)
        path, _, query = target.partition(b"?")
        if path == b"/_stats":
            return self.ok(
                json.dumps({"cpu": time.process_time(), "requests": self.requests}).encode()
            )
        if b"versionId=" in query:
            version_id = query.split(b"versionId=", 1)[1].split(b"&", 1)[0]
            answer = self.ok(*answers.version(version_id))
            self.requests["head" if method == b"HEAD" else "get"] += 1
            return answer[: answer.index(b"\r\n\r\n") + 4] if method == b"HEAD" else answer
        if b"versions" in query:
            self.requests["list"] += 1
            return self.ok(answers.listing(query.decode()), _XML)
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    def ok(self, body: bytes, headers: bytes = b"") -> bytes:
        """Returns an answer with the status 200."""
        return (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d" % len(body)
            + self.common
            + headers
            + b"\r\n"
            + body
        )

    def dynamodb(self, head: bytes, body: bytes) -> bytes:
        """Returns the answer to a request of DynamoDB."""
        lower = head.lower()
        if b".batchwriteitem" in lower:
            self.requests["write"] += 1
            return self.ok(b'{"UnprocessedItems":{}}', _JSON)
        if b".scan" in lower:
            self.requests["scan"] += 1
            return self.ok(answers.scan(json.loads(body)), _JSON)
        if b".getitem" in lower:
            self.requests["read"] += 1
            return self.ok(b'{"Item":' + answers.live(json.loads(body), "Key") + b"}", _JSON)
        if b".putitem" in lower:
            self.requests["put"] += 1
            return self.ok(b'{"Attributes":' + answers.live(json.loads(body), "Item") + b"}", _JSON)
        return self.ok(b"{}", _JSON)


def length(head: bytes) -> int:
    """Returns the Content-Length of a request; 0 without one."""
    start = head.find(b"ontent-")
    while start >= 0:
        if head[start + 7 : start + 14].lower() == b"length:":
            return int(head[start + 14 :].split(b"\r\n", 1)[0])
        start = head.find(b"ontent-", start + 7)
    return 0


if __name__ == "__main__":
    Server(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0).run()
