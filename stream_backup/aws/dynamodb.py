"""A client for DynamoDB and DynamoDB Streams, and for the keys of tables in KMS, that sends and
returns JSON in wire form over boto3's transport.

boto3 converts every value to a Python object and back (binary to bytes, times to datetimes), which
takes ten times as long as the JSON itself, and it does not accept a request body that is already
JSON. This module therefore uses two of botocore's client events to replace the request body and to
read the response body without boto3's serializer and parser. Botocore still handles endpoints,
credentials, signing, retries and errors.
"""

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Lock, local
from typing import Any, NamedTuple, Protocol

import orjson
from botocore.config import Config

from stream_backup.core.in_flight import MOST

_CONFIG = Config(
    parameter_validation=False,
    user_agent="stream-backup",  # Botocore would create its own for every request.
    max_pool_connections=MOST,
    account_id_endpoint_mode="disabled",
)


_KMS_CONFIG = _CONFIG.merge(
    Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 3})
)
"""A network that has endpoints only for DynamoDB and S3 cannot reach KMS, so nothing waits long."""


class Answer(NamedTuple):
    """A response: `data` is its JSON in wire form, `moment` the time of AWS's clock when it was
    sent (the `Date` header), in epoch seconds."""

    data: Any
    moment: int


class Caller(Protocol):
    """What can call the operations of DynamoDB and DynamoDB Streams."""

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation like DynamoDB.call."""


@dataclass(slots=True)
class Clocked:
    """A caller that knows AWS's clock: `clock` is the latest second that an answer had."""

    caller: Caller
    clock: int = 0

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation like DynamoDB.call."""
        answer = self.caller.call(operation, request)
        self.clock = max(self.clock, answer.moment)
        return answer


class DynamoDB:
    """DynamoDB, DynamoDB Streams and KMS in the Region of `session`, a boto3 session.

    It is thread-safe, like the clients that it uses. The one for KMS is created when it is first
    used, because most tables have no key in KMS. Errors of AWS are raised as botocore's
    ClientError.
    """

    def __init__(self, session: Any) -> None:
        self.tables = session.client("dynamodb", config=_CONFIG)
        self.streams = session.client("dynamodbstreams", config=_CONFIG)
        self._call = local()
        self._session, self._kms, self._lock = session, None, Lock()
        for client in (self.tables, self.streams):
            self._hook(client)

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Calls an operation by its boto3 name, for example `call("scan", {"TableName": "t"})`.
        `request` is in wire form, as a dictionary or as JSON bytes."""
        client = self._client(operation)
        self._call.request = request if isinstance(request, bytes) else json.dumps(request).encode()
        try:
            getattr(client, operation)(**_FOR_ENDPOINT.get(operation, {}))
            return Answer(orjson.loads(self._call.answer), self._call.moment)
        finally:
            self._call.__dict__.clear()

    def _client(self, operation: str) -> Any:
        if operation in _OF_STREAMS:
            return self.streams
        if operation not in _OF_KMS:
            return self.tables
        with self._lock:
            if self._kms is None:
                self._kms = self._hook(self._session.client("kms", config=_KMS_CONFIG))
            return self._kms

    def _hook(self, client: Any) -> Any:
        service = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register_last(f"before-call.{service}", self._fill)
        client.meta.events.register_last(f"before-parse.{service}", self._take)
        return client

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
_OF_KMS = {"describe_key"}
