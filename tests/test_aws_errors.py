"""What an error of AWS becomes: one sentence without AWS's whole answer, and a hint that names what
to change."""

import re
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from stream_backup.archive import s3
from stream_backup.archive.s3 import S3Store, open_objects
from stream_backup.aws.actions import DIFFERENT, SERVICES, action_of
from stream_backup.aws.errors import translate
from tests.cli import _serving

SECRET = "arn:aws:sts::123456789012:assumed-role/payroll \x1b[31m"
BODY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>User '
    f"{SECRET} is not authorized</Message><RequestId>4442587FB7D0A2F9</RequestId>"
    "<HostId>uuid-host</HostId></Error>"
)


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    """A server that answers every request with the status in its path, and with a whole error."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            body = b"" if self.command == "HEAD" else BODY.encode()
            self.send_response(int(re.findall(r"status(\d{3})", self.path)[0]))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

        do_PUT = do_HEAD = do_GET  # noqa: N815 - the base class looks these names up

    with _serving(Handler) as url:
        yield url


REQUESTS: dict[str, Callable[[S3Store, str], object]] = {
    "put": lambda store, path: store.put(path, b"x", {}),
    "create": lambda store, path: store.create(path, b"x", {}),
    "replace": lambda store, path: store.replace(path, b"x", {}, "0" * 32),
    "current": lambda store, path: store.current(path),
    "get": lambda store, path: store.get(path, "v1"),
    "stat": lambda store, path: store.stat(path, "v1"),
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 501])
@pytest.mark.parametrize("request_", sorted(REQUESTS))
def test_no_error_has_the_answer_of_s3(
    answering: str, monkeypatch: pytest.MonkeyPatch, request_: str, status: int
) -> None:
    """Neither the error of a request, nor its traceback, nor what becomes of it has the body of
    S3's answer. It has the status, and from a body that exists the code and the request ID."""
    monkeypatch.setattr(s3, "PATIENCE", 0)
    keys = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
    store = S3Store("backups", open_objects("backups", endpoint=answering, **keys), None)
    try:
        REQUESTS[request_](store, f"orders/status{status}")
    except Exception as error:  # noqa: BLE001 - obstore's, and those of the system
        known = translate(error)
        assert known is not None
        told = str(error)
        shown = "".join((*traceback.format_exception(error), str(known), known.hint))
        for word in ("payroll", "\x1b", "<Error", "Debug source", "uuid-host"):
            assert word not in shown
        if "conflicting" not in told:
            assert f"failed, status code: {status}" in told
        if request_ in ("put", "get") and "conflicting" not in told:
            assert "(Code AccessDenied, RequestId 4442587FB7D0A2F9)" in told
    else:
        assert status in (404, 409, 412), "only these are answers"


@pytest.mark.parametrize(
    ("request_", "action"),
    [
        ("put", "s3:PutObject"),
        ("create", "s3:PutObject"),
        ("current", "s3:GetObject"),
        ("get", "s3:GetObjectVersion"),
        ("stat", "s3:GetObjectVersion"),
    ],
)
def test_a_denied_object_names_its_action(answering: str, request_: str, action: str) -> None:
    """The hint of a request of an object that is denied names the IAM action."""
    keys = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
    store = S3Store("backups", open_objects("backups", endpoint=answering, **keys), None)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - obstore's
        REQUESTS[request_](store, "orders/status403")
    known = translate(raised.value)
    assert known is not None
    assert known.exit_code == 2
    assert f"the action {action}," in known.hint


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("ListObjectVersions", "s3:ListBucketVersions"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("HeadBucket", "s3:ListBucket"),
        ("GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration"),
        ("GetBucketVersioning", "s3:GetBucketVersioning"),
        ("Scan", "dynamodb:Scan"),
        ("GetRecords", "dynamodb:GetRecords"),
        ("TagResource", "dynamodb:TagResource"),
        ("Invoke", "lambda:InvokeFunction"),
        ("CreateEventSourceMapping", "lambda:CreateEventSourceMapping"),
        ("GetMetricStatistics", "cloudwatch:GetMetricStatistics"),
        ("DescribeStacks", "cloudformation:DescribeStacks"),
    ],
)
def test_a_hint_names_the_action_and_not_the_call(operation: str, action: str) -> None:
    """The hint for a call that is denied names what a policy must allow."""
    known = translate(ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, operation))
    assert known is not None
    assert known.hint == f"The role needs the action {action}."


def test_what_aws_says_comes_first() -> None:
    """Where AWS's message names the action, the hint names the same one."""
    message = "User: arn:aws:iam::1:user/a is not authorized to perform: kms:Decrypt on resource: x"
    assert action_of("GetItem", message) == "kms:Decrypt"
    denied = {"Code": "AccessDeniedException", "Message": f"{message} with an explicit deny"}
    known = translate(ClientError({"Error": denied}, "GetItem"))
    assert known is not None
    assert known.hint.startswith("A policy denies kms:Decrypt explicitly")


def test_every_call_in_the_table_exists() -> None:
    """Each call whose action has another name is one of a service that this project calls."""
    session = botocore.session.get_session()
    every = {name for each in SERVICES for name in session.get_service_model(each).operation_names}
    assert DIFFERENT.keys() <= every
    assert action_of("ListBananas") == "the action that allows ListBananas"


def test_an_answer_that_cannot_be_parsed() -> None:
    """botocore repeats an answer that is not XML in its error; this project does not."""
    known = translate(ResponseParserError(f"Unable to parse response: {BODY!r}"))
    assert known is not None
    assert "payroll" not in str(known)
    assert "AWS_ENDPOINT_URL" in known.hint
