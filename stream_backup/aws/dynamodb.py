"""A client for DynamoDB and DynamoDB Streams that sends and returns JSON in wire form over boto3's
transport.

boto3 converts every value to a Python object and back (binary to bytes, times to datetimes), which
takes ten times as long as the JSON itself, and it does not accept a request body that is already
JSON. This module therefore uses two of botocore's client events to replace the request body and to
read the response body without boto3's serializer and parser. Botocore still handles endpoints,
credentials, signing, retries and errors.
"""

import json
from email.utils import parsedate_to_datetime
from threading import local
from typing import Any, NamedTuple, Protocol

import orjson
from botocore.config import Config

from stream_backup.archive.slices import CONCURRENCY

_CONFIG = Config(
    parameter_validation=False,
    user_agent="stream-backup",  # Botocore would create its own for every request.
    retries={"mode": "standard", "max_attempts": 8},
    max_pool_connections=CONCURRENCY,
    account_id_endpoint_mode="disabled",
)


class Answer(NamedTuple):
    """A response: `data` is its JSON in wire form, `moment` the time of AWS's clock when it was
    sent (the `Date` header), in epoch seconds."""

    data: Any
    moment: int


class Caller(Protocol):
    """What can call the operations of DynamoDB and DynamoDB Streams."""

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation like DynamoDB.call."""


class DynamoDB:
    """DynamoDB and DynamoDB Streams in the Region of `session`, a boto3 session.

    It is thread-safe, like the two clients that it uses. Errors of AWS are raised as botocore's
    ClientError.
    """

    def __init__(self, session: Any) -> None:
        self.tables = session.client("dynamodb", config=_CONFIG)
        self.streams = session.client("dynamodbstreams", config=_CONFIG)
        self._call = local()
        for client in (self.tables, self.streams):
            service = client.meta.service_model.service_id.hyphenize()
            client.meta.events.register_last(f"before-call.{service}", self._fill)
            client.meta.events.register_last(f"before-parse.{service}", self._take)

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation by its boto3 name, for example `call("scan", {"TableName": "t"})`.
        `request` is in wire form, as a dictionary or as JSON bytes."""
        client = self.streams if operation in _OF_STREAMS else self.tables
        self._call.request = request if isinstance(request, bytes) else json.dumps(request).encode()
        try:
            getattr(client, operation)(**_FOR_ENDPOINT.get(operation, {}))
            return Answer(orjson.loads(self._call.answer), self._call.moment)
        finally:
            self._call.__dict__.clear()

    def _fill(self, params: dict[str, Any], **_: Any) -> None:
        if request := getattr(self._call, "request", None):
            params["body"] = request

    def _take(self, response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] == 200 and hasattr(self._call, "request"):
            self._call.answer = response_dict["body"]
            self._call.moment = int(
                parsedate_to_datetime(response_dict["headers"]["date"]).timestamp()
            )
            response_dict["body"] = b"{}"


_FOR_ENDPOINT: dict[str, dict[str, Any]] = {"batch_write_item": {"RequestItems": {}}}
"""Arguments that botocore's endpoint rules require for an operation. They are not sent, because
`request` replaces the body."""

_OF_STREAMS = {"describe_stream", "get_shard_iterator", "get_records"}
