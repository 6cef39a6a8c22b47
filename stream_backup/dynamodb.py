"""DynamoDB and DynamoDB Streams in wire form: JSON bytes in, JSON bytes out, over boto3's transport.

boto3 turns every value into Python and back (binary into bytes, times into datetimes), at ten times the cost of the JSON
itself, and a spliced request body is not possible with it. So the payload goes around its serialiser and parser, by two of
botocore's client events, while botocore keeps what it is good at: endpoints, credentials, signing, retries, errors.
"""

import json
from email.utils import parsedate_to_datetime
from threading import local
from typing import Any, NamedTuple

import orjson
from botocore.config import Config

_CONFIG = Config(
    parameter_validation=False,
    user_agent="stream-backup",  # botocore would build its own anew for every request
    retries={"mode": "standard", "max_attempts": 8},
    max_pool_connections=64,
    account_id_endpoint_mode="disabled",
)


class Answer(NamedTuple):
    """`moment` is AWS's clock (the `Date` header), in epoch seconds."""

    data: Any
    moment: int


class DynamoDB:
    """Both services of one Region; `session` is boto3's. Thread-safe, like the clients it holds.

    Failures raise botocore's ClientError, as always.
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
        """One operation by its boto3 name, e.g. `call("scan", {"TableName": "t"})`; `request` may be its JSON already."""
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
            self._call.moment = int(parsedate_to_datetime(response_dict["headers"]["date"]).timestamp())
            response_dict["body"] = b"{}"


_FOR_ENDPOINT: dict[str, dict[str, Any]] = {"batch_write_item": {"RequestItems": {}}}
"""Arguments that botocore's endpoint rules insist on reading; the payload replaces them."""

_OF_STREAMS = {"describe_stream", "get_shard_iterator", "get_records"}
