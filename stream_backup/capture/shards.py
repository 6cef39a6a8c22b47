"""A stream's shards and their lineage, and one shard read record by record: what `follow` reads
with."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.time_rule import readable

QUIET_READS = 4
"""Empty answers in a row that count as the end of what is in a shard: GetRecords may answer empty
in the middle of one."""

GONE = "TrimmedDataAccessException"
EXPIRED = "ExpiredIteratorException"


class Shard(NamedTuple):
    """A shard and the shard that it continues, None when it continues none."""

    name: str
    parent: str | None


class Description(NamedTuple):
    """A stream's shards by name, whether it is on, and AWS's clock before the shards were
    listed."""

    shards: dict[str, Shard]
    enabled: bool
    moment: int


class TrimmedError(Exception):
    """Records after the position have been removed from the stream."""


def describe_stream(dynamodb: DynamoDB, arn: str) -> Description:
    """Returns every shard of the stream, on however many pages."""
    shards: dict[str, Shard] = {}
    request: dict[str, Any] = {"StreamArn": arn}
    first: int | None = None
    while True:
        data, moment = dynamodb.call("describe_stream", request)
        first = moment if first is None else first
        found = data["StreamDescription"]
        for shard in found["Shards"]:
            shards[shard["ShardId"]] = Shard(shard["ShardId"], shard.get("ParentShardId"))
        if "LastEvaluatedShardId" not in found:
            return Description(shards, found["StreamStatus"] in ("ENABLED", "ENABLING"), first)
        request["ExclusiveStartShardId"] = found["LastEvaluatedShardId"]


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
    delivered yet."""

    dynamodb: DynamoDB
    arn: str
    shard: str
    reached: int
    position: str | None = None
    newest: int = 0
    pending: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    _iterator: str | None = None
    _quiet: deque[int] = field(default_factory=lambda: deque(maxlen=QUIET_READS))

    @property
    def done(self) -> bool:
        """Whether the shard has been read and delivered to its end."""
        return self.ended and not self.pending

    def read(self, now: int) -> bool:
        """Fetches the next records and returns whether there were any. Raises TrimmedError when
        they are gone.

        `now` is an earlier second of AWS's clock. One empty answer does not mean that there is
        nothing more, so only QUIET_READS of them in a row move `reached`.
        """
        if self.ended:
            return False
        try:
            request = {"ShardIterator": self._iterator or self._locate(), "Limit": 1000}
            data, _ = self.dynamodb.call("get_records", request)
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
        self._quiet.append(now)
        if data["Records"]:
            self._quiet.clear()
        elif len(self._quiet) == QUIET_READS:
            self.reached = max(self.reached, readable(self._quiet[0]))
        return bool(data["Records"])

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
