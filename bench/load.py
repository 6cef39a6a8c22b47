"""Measures how many requests a null server answers per second.

    python -m bench.load PORT SECONDS

The client uses little CPU: it sends prepared requests over raw keep-alive sockets, one at a time
on each connection, in one epoll loop, and counts the answers.
"""

import json
import os
import socket
import sys
import time
from select import EPOLLIN, epoll

from bench import rows

CONNECTIONS = 32
_PUT = (
    b"PUT /bench/orders/%032d HTTP/1.1\r\nhost: x\r\nx-amz-meta-at: 1\r\n" % 7
    + b"content-length: 700\r\n\r\n"
    + b"x" * 700
)
_GET = b"GET /bench/orders/%032d?versionId=7.3 HTTP/1.1\r\nhost: x\r\n\r\n" % 7
_WRITE = (
    b"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.BatchWriteItem\r\n"
    + b"Content-Length: 17500\r\n\r\n"
    + b"x" * 17500
)
_LIST = (
    b"GET /bench?versions&prefix=%s/0&encoding-type=url HTTP/1.1\r\nhost: x\r\n\r\n"
    % rows.table_name(4000).encode()
)
_SCAN_BODY = json.dumps(
    {"TableName": rows.table_name(4000), "Segment": 0, "TotalSegments": 4}
).encode()
_SCAN = (
    b"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.Scan\r\n"
    + b"Content-Length: %d\r\n\r\n%s" % (len(_SCAN_BODY), _SCAN_BODY)
)

REQUESTS = {"put": _PUT, "get": _GET, "write": _WRITE, "list": _LIST, "scan": _SCAN}


def rate(port: int, request: bytes, seconds: float) -> float:
    """Returns the answers per second to one kind of request."""
    poll, socks, left = epoll(), {}, {}
    for _ in range(CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port))
        socks[sock.fileno()] = sock
        left[sock.fileno()] = 0
        poll.register(sock, EPOLLIN)
        sock.sendall(request)
    done, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < seconds:
        for number, _ in poll.poll(1):
            data = socks[number].recv(1 << 20)
            if not left[number]:
                head = data.index(b"\r\n\r\n")
                size = int(data[data.index(b"ontent-Length: ") + 15 :].split(b"\r\n", 1)[0])
                left[number] = head + 4 + size
            left[number] -= len(data)
            if not left[number]:
                done += 1
                socks[number].sendall(request)
    return done / taken


if __name__ == "__main__":
    found = {
        kind: rate(int(sys.argv[1]), request, float(sys.argv[2]))
        for kind, request in REQUESTS.items()
    }
    os.write(1, json.dumps(found).encode())
