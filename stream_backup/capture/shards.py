"""A stream's shards and their lineage, and one shard read record by record: what `follow` reads
with.

A shard has been read to its end only when GetRecords returns no NextShardIterator: an empty answer
may come in the middle of it. A shard that is closed, or has a child, is therefore read until then.
Only of a shard that was open when it was described, empty answers show something, after a while:
`time_rule.quiet` states the assumption.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import Caller
from stream_backup.core.time_rule import QUIET_READS, quiet, readable

PAGE_PAUSE = 0.2
"""Seconds between two pages of a description: DescribeStream may be called ten times a second, and
others call it too."""

GONE = "TrimmedDataAccessException"
EXPIRED = "ExpiredIteratorException"


class Shard(NamedTuple):
    """A shard and the shard that it continues, None when it continues none. No record is added to a
    `closed` one any more."""

    name: str
    parent: str | None
    closed: bool = False


class Description(NamedTuple):
    """A stream's shards by name, whether it is on, and AWS's clock before the shards were
    listed."""

    shards: dict[str, Shard]
    enabled: bool
    moment: int


class TrimmedError(Exception):
    """Records after the position have been removed from the stream."""


def describe_stream(dynamodb: Caller, arn: str) -> Description:
    """Returns every shard of the stream, on however many pages."""
    shards: dict[str, Shard] = {}
    request: dict[str, Any] = {"StreamArn": arn}
    first: int | None = None
    while True:
        data, moment = dynamodb.call("describe_stream", request)
        first = moment if first is None else first
        found = data["StreamDescription"]
        for shard in found["Shards"]:
            closed = "EndingSequenceNumber" in shard.get("SequenceNumberRange", {})
            shards[shard["ShardId"]] = Shard(shard["ShardId"], shard.get("ParentShardId"), closed)
        if "LastEvaluatedShardId" not in found:
            break
        request["ExclusiveStartShardId"] = found["LastEvaluatedShardId"]
        time.sleep(PAGE_PAUSE)
    for parent in [shard.parent for shard in shards.values()]:
        if parent in shards:
            shards[parent] = shards[parent]._replace(closed=True)
    return Description(shards, found["StreamStatus"] in ("ENABLED", "ENABLING"), first)


def ready(
    shards: Mapping[str, Shard], done: set[str], reading: Mapping[str, object]
) -> Iterator[Shard]:
    """Yields the shards that may be begun: not read yet, and their parent read to its end or gone
    from the stream."""
    for shard in shards.values():
        waits = shard.parent in shards and shard.parent not in done
        if shard.name not in done and shard.name not in reading and not waits:
            yield shard


@dataclass(slots=True)
class ShardReader:
    """One shard. `position` is the sequence number of the last record that was delivered, None
    before the first; `reached` the second up to which everything in this shard is delivered;
    `newest` the second of the last record delivered; `pending` holds records that were read and not
    delivered yet; `closed` says that the shard gets no more records."""

    dynamodb: Caller
    arn: str
    shard: str
    reached: int
    position: str | None = None
    newest: int = 0
    pending: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    ended: bool = False
    _iterator: str | None = None
    _first_empty: int | None = None
    _empty: deque[int] = field(default_factory=lambda: deque(maxlen=QUIET_READS))

    @property
    def done(self) -> bool:
        """Whether the shard has been read and delivered to its end."""
        return self.ended and not self.pending

    def read(self, now: int) -> bool:
        """Fetches the next records and returns whether there were any. Raises TrimmedError when
        they are gone.

        `now` is an earlier second of AWS's clock.
        """
        if self.ended:
            return False
        try:
            if self._iterator is None:
                self._first_empty = None  # read from an earlier place again
                self._iterator = self._locate()
            request = {"ShardIterator": self._iterator, "Limit": 1000}
            data, answered = self.dynamodb.call("get_records", request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == EXPIRED:
                self._iterator = None
                return True  # there may be more: read again
            if code == GONE:
                self._iterator = None
                raise TrimmedError(self.shard) from error
            raise
        self.pending += data["Records"]
        self._iterator = data.get("NextShardIterator")
        self.ended = self._iterator is None
        if data["Records"]:
            self._first_empty = None
        else:
            self._read_nothing(now, answered)
        return bool(data["Records"])

    def _read_nothing(self, now: int, answered: int) -> None:
        if self._first_empty is None:
            self._first_empty = answered
            self._empty.clear()
            return
        self._empty.append(now)
        if not self.closed and not self.pending:
            self.reached = max(self.reached, quiet(self._first_empty, self._empty))

    def delivered(self, count: int) -> None:
        """Records that the first `count` pending records have been written."""
        if count:
            last = self.pending[count - 1]["dynamodb"]
            self.position = last["SequenceNumber"]
            self.newest = int(last["ApproximateCreationDateTime"])
            self.reached = max(self.reached, readable(self.newest))
            del self.pending[:count]

    def restart(self) -> None:
        """Continues from the oldest record that the shard still has."""
        self.position, self._iterator = None, None

    def _locate(self) -> str:
        request = {
            "StreamArn": self.arn,
            "ShardId": self.shard,
            "ShardIteratorType": "TRIM_HORIZON",
        }
        last = self.pending[-1]["dynamodb"]["SequenceNumber"] if self.pending else self.position
        if last is not None:
            request |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last}
        return str(self.dynamodb.call("get_shard_iterator", request).data["ShardIterator"])


def is_gone(error: ClientError) -> bool:
    """Whether the stream does not exist any more: a stream is kept for 24 hours after it was
    switched off."""
    return bool(error.response["Error"]["Code"] == "ResourceNotFoundException")
