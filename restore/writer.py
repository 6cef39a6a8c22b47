"""Writes items in wire form to a table with BatchWriteItem, until each is written or known not to
be.

The archive's bytes are the wire form, so they are copied into the request as they are.
`UnprocessedItems` are sent again with backoff for as long as anything is still written, and for
PATIENCE seconds more.
"""

import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from restore.pace import Pace, SharedPace
from stream_backup.aws.capacity import WriteBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import is_transient
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema

BATCH = 25
"""Requests in one BatchWriteItem at most (Amazon DynamoDB API Reference)."""

PATIENCE = 600.0
LONGEST_PAUSE = 5.0


class Failure(NamedTuple):
    """A put or delete that was not done: its request as JSON, and the reason."""

    request: bytes
    reason: str

    def key(self, schema: KeySchema) -> Item:
        """Returns the key of the item."""
        ((_, content),) = json.loads(self.request).items()
        return schema.key_of(content.get("Item") or content["Key"])


@dataclass(slots=True)
class BatchWriter:
    """Writes to `table` at no more than `rate` items a second, None for no limit, or within a
    `budget` that other processes use too. Once `stop` is set nothing more is sent, and what was not
    sent is no failure. Thread-safe."""

    dynamodb: DynamoDB
    table: str
    rate: float | None = None
    patience: float = PATIENCE
    stop: Event = field(default_factory=Event)
    budget: WriteBudget | None = None
    _pace: Pace | SharedPace = field(init=False)

    def __post_init__(self) -> None:
        shared = self.budget and SharedPace(self.budget, self.stop)
        self._pace = shared or Pace(self.rate, self.stop)

    def put(self, bodies: Iterable[bytes]) -> list[Failure]:
        """Puts items given as canonical JSON; returns those that could not be written."""
        return self._write([b'{"PutRequest":{"Item":' + body + b"}}" for body in bodies])

    def delete(self, keys: Iterable[bytes]) -> list[Failure]:
        """Deletes items by the canonical JSON of their key; returns those that could not be
        deleted."""
        return self._write([b'{"DeleteRequest":{"Key":' + key + b"}}" for key in keys])

    def _write(self, requests: Sequence[bytes]) -> list[Failure]:
        failures = []
        for start in range(0, len(requests), BATCH):
            failures += self._write_batch(list(requests[start : start + BATCH]))
        return failures

    def _write_batch(self, batch: list[bytes]) -> list[Failure]:
        self._pace.wait(len(batch))
        pause, give_up = 0.05, time.monotonic() + self.patience
        while batch and not self.stop.is_set():
            try:
                left = self._send(batch)
                reason = "the table did not process it"
            except ClientError as error:
                code, reason = error.response["Error"]["Code"], str(error)
                if code == "ValidationException" and len(batch) > 1:
                    return [
                        failure for request in batch for failure in self._write_batch([request])
                    ]
                if not is_transient(error):
                    return [Failure(request, reason) for request in batch]
                left = batch
            if len(left) < len(batch):
                pause, give_up = 0.05, time.monotonic() + self.patience
            elif time.monotonic() > give_up:
                return [Failure(request, reason) for request in left]
            if left:
                self.stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(2 * pause, LONGEST_PAUSE)
            batch = left
        return []

    def _send(self, batch: Sequence[bytes]) -> list[bytes]:
        """Returns the requests that were left unprocessed."""
        table = json.dumps(self.table).encode()
        body = b'{"RequestItems":{' + table + b":[" + b",".join(batch) + b"]}}"
        answer: dict[str, Any] = self.dynamodb.call("batch_write_item", body).data
        return [
            json.dumps(request).encode()
            for request in answer.get("UnprocessedItems", {}).get(self.table, [])
        ]
