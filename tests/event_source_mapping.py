"""Lambda's event source mapping for a DynamoDB stream, by AWS's rules: when it calls the handler,
with which records, and what it does with batches that fail. No emulator follows these rules.

From the AWS Lambda Developer Guide ("Process DynamoDB records with Lambda", "Configuring partial
batch response with DynamoDB and Lambda", "Retain discarded records for a DynamoDB event source in
Lambda"):

- The records of a shard are delivered in batches of at most `batch_size`. With several `parallel`
  lanes, each lane receives the keys that hash to it, so that the changes of one item stay in order.
- A partial-batch response names records. Everything before the lowest of them is done, and the
  rest is tried again. A response that names no record of the batch, or has an empty name, fails
  the whole batch.
- A function that fails (with an error, a time-out, or because it was killed) fails the whole batch.
  With `bisect`, the batch is then split in two, which does not count as a retry, and each half is
  tried separately, the older one first.
- A batch is retried `retries` times, and no longer than `record_age` seconds after its oldest
  record; -1 means no limit. After that, it is written to the destination with its records, and the
  shard continues with the next batch.
- After 24 hours, a record is gone from the stream, whatever the settings, and is not kept anywhere.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from zlib import crc32

from stream_backup.core.key import key_json
from stream_backup.core.moment import iso

RETENTION = 24 * 3600

Record = dict[str, Any]
Function = Callable[[dict[str, Any], Any], Any]
Destination = Callable[[str, bytes], object]
"""Receives an object's path and content: a put to the failures bucket."""


class Killed(BaseException):
    """The function's process was killed, so it cannot report anything."""


@dataclass
class Clock:
    """Epoch seconds, which advance only with `sleep`."""

    now: float

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Context:
    """What the function sees of its invocation: the remaining time."""

    clock: Clock
    deadline: float

    def get_remaining_time_in_millis(self) -> float:
        return max(0.0, self.deadline - self.clock.now) * 1000


@dataclass
class Batch:
    """Records that are tried together, and the number of tries so far."""

    records: list[Record]
    tries: int = 0


@dataclass
class EventSourceMapping:
    """`calls` are the batches with which the function was called. `lost` are the records that
    expired from the stream, or were dropped, before they were written."""

    function: Function
    clock: Clock
    batch_size: int = 100
    parallel: int = 1
    retries: int = -1
    record_age: int = -1
    bisect: bool = True
    timeout: float = 60
    destination: Destination | None = None
    uuid: str = field(default_factory=lambda: str(uuid4()))
    pause: float = 1
    """Seconds between two tries of a batch. AWS waits longer with every try."""

    calls: list[list[Record]] = field(default_factory=list)
    lost: list[Record] = field(default_factory=list)

    def read(
        self, records: Iterable[Record], shard: str = "shardId-00000001573689847184-864758bb"
    ) -> None:
        """Delivers all records of a shard: each one is written, sent to the destination, or
        lost."""
        lanes = self._lanes(list(records), shard)
        while lanes:  # the lanes of a shard take turns
            lanes = [lane for lane in lanes if next(lane, None) is not None]

    def _lanes(self, records: list[Record], shard: str) -> list[Iterator[bool]]:
        split: dict[int, list[Record]] = {}
        for record in records:
            split.setdefault(_hash(record) % self.parallel, []).append(record)
        return [self._lane(lane, shard) for lane in split.values()]

    def _lane(self, records: list[Record], shard: str) -> Iterator[bool]:
        """Delivers one batch after another, with one call per step."""
        size = self.batch_size
        todo = deque(Batch(records[start : start + size]) for start in range(0, len(records), size))
        while todo:
            batch = todo.popleft()
            self._trim(batch)
            if batch.records and not self._given_up(batch, shard):
                todo.extendleft(reversed(self._try(batch)))
            yield True

    def _trim(self, batch: Batch) -> None:
        gone = [record for record in batch.records if self._age(record) > RETENTION]
        self.lost += gone
        del batch.records[: len(gone)]

    def _given_up(self, batch: Batch, shard: str) -> bool:
        too_old = self.record_age >= 0 and self._age(batch.records[0]) > self.record_age
        exhausted = self.retries >= 0 and batch.tries > self.retries
        if not too_old and not exhausted:
            return False
        if self.destination is None:
            self.lost += batch.records
        else:
            condition = "RecordAgeExceeded" if too_old else "RetryAttemptsExhausted"
            self.destination(
                self._path(shard),
                discarded(batch.records, shard, condition, batch.tries, self.clock.now),
            )
        return True

    def _try(self, batch: Batch) -> list[Batch]:
        """Calls the function and returns what is left of the batch."""
        records = batch.records
        self.calls.append(records)
        if batch.tries:
            self.clock.sleep(self.pause)
        started = self.clock.now
        event = json.loads(json.dumps({"Records": records}))
        try:
            answer = self.function(event, Context(self.clock, started + self.timeout))
            failed = _failed(records, answer)
            if self.clock.now > started + self.timeout:
                raise TimeoutError("Task timed out")
        except (Exception, Killed):  # noqa: BLE001 - any failure of the function
            if self.bisect and len(records) > 1:
                middle = len(records) // 2
                return [Batch(records[:middle], batch.tries), Batch(records[middle:], batch.tries)]
            return [Batch(records, batch.tries + 1)]
        if failed is None:
            return []
        return [Batch(records[failed:], batch.tries + 1 if failed == 0 else 1)]

    def _age(self, record: Record) -> float:
        moment = record.get("dynamodb", {}).get("ApproximateCreationDateTime")
        return self.clock.now - moment if isinstance(moment, int | float) else 0.0

    def _path(self, shard: str) -> str:
        now = iso(int(self.clock.now))
        day, time = now[:10].replace("-", "/"), now[:19].replace(":", ".")
        return f"aws/lambda/{self.uuid}/{shard}/{day}/{time}-{uuid4()}"


def discarded(records: list[Record], shard: str, condition: str, tries: int, now: float) -> bytes:
    """Returns the object that Lambda writes for a batch that it gave up on."""
    first, last = records[0], records[-1]
    return json.dumps(
        {
            "requestContext": {
                "requestId": str(uuid4()),
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:stream-backup",
                "condition": condition,
                "approximateInvokeCount": tries,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "version": "1.0",
            "timestamp": iso(int(now)).replace("Z", ".000Z"),
            "DDBStreamBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": first["dynamodb"].get("SequenceNumber"),
                "endSequenceNumber": last["dynamodb"].get("SequenceNumber"),
                "approximateArrivalOfFirstRecord": _arrival(first),
                "approximateArrivalOfLastRecord": _arrival(last),
                "batchSize": len(records),
                "streamArn": first["eventSourceARN"],
            },
            "payload": json.dumps({"Records": records}),
        }
    ).encode()


def _arrival(record: Record) -> str | None:
    moment = record["dynamodb"].get("ApproximateCreationDateTime")
    return iso(int(moment)) if isinstance(moment, int | float) else None


def _failed(records: list[Record], answer: Any) -> int | None:
    """Returns the position in the batch to resume from, or None when all of it is done. Raises
    ValueError for an answer that fails the whole batch."""
    failures = (answer or {}).get("batchItemFailures") or []
    places = {
        record["dynamodb"].get("SequenceNumber"): place for place, record in enumerate(records)
    }
    named = [failure.get("itemIdentifier") for failure in failures]
    if any(not name or name not in places for name in named):
        raise ValueError("the answer names no record of the batch")
    return min((places[name] for name in named), default=None)


def _hash(record: Record) -> int:
    try:
        return crc32(key_json(record["dynamodb"]["Keys"]).encode())
    except (KeyError, TypeError, ValueError, AttributeError):
        return 0
