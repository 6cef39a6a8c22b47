"""What botocore reports of a request that it sent more than once."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import may_have_been_written
from tests.servers import ACCESS_KEY, REGION, SECRET_KEY, environment

CONDITION = (400, "ConditionalCheckFailedException")
BROKEN = (500, "InternalServerError")
BUSY = (400, "ProvisionedThroughputExceededException")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """The answers of a DynamoDB, in order. An answer 0 is a connection that is closed."""
    todo: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, code = todo.pop(0)
            if not status:
                self.close_connection = True
                return
            body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}"}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in environment(f"http://127.0.0.1:{server.server_port}").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    try:
        yield todo
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("sequence", "doubt"),
    [
        ([CONDITION], False),
        ([BROKEN, CONDITION], True),
        ([(0, ""), CONDITION], True),
        ([BUSY, CONDITION], True),  # it may be certain, and doubt is safe
        ([BROKEN] * 20, True),
    ],
)
def test_a_request_that_was_sent_again_is_in_doubt(
    answers: list[tuple[int, str]], sequence: list[tuple[int, str]], doubt: bool
) -> None:
    """A request that fails at its first attempt was not executed. After more than one, or an error
    of AWS, it may have been."""
    answers[:] = sequence
    dynamodb = DynamoDB(boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION))
    with pytest.raises(ClientError) as raised:
        dynamodb.call("update_item", {"TableName": "orders"})
    assert may_have_been_written(raised.value) is doubt
