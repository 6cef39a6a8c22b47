"""Reads a table's stream in this process and feeds the handler, as Lambda's event source mapping would.

Every shard is read after its parent (Amazon DynamoDB Developer Guide, "Reading and processing a stream"), every record is
delivered at least once and none is skipped: a batch that fails is delivered again from its first failed record on, while
the other shards go on. How far it has read is kept in the archive, so that the next `follow` goes on there, on whatever
machine. Records that were trimmed before they were read are an outage, recorded as one.

It does not promise to see a change at once: `caught_up` is the second up to which every shard has been read, as its
records and, when it is quiet, AWS's clock tell, less the seconds a change is given to show up.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.coverage import Outage, Stream
from stream_backup.dynamodb import DynamoDB
from stream_backup.handler import Handler
from stream_backup.meta import Meta
from stream_backup.moment import from_iso, iso
from stream_backup.shards import SETTLE, Description, ShardReader, TrimmedError, describe_stream, ready

RETENTION = 24 * 3600
BATCH = 1000
POLL = 0.25
"""Seconds between two rounds when nothing is new: GetRecords may be called five times a second on a shard."""

BEAT = 5
"""Seconds between two checkpoints while nothing happens."""

LONGEST_WAIT = 30.0

Tell = Callable[[str], None]


@dataclass(slots=True)
class Retry:
    """A shard whose batch failed waits longer each time."""

    failures: int = 0
    until: float = 0.0

    def failed(self) -> None:
        self.until = time.monotonic() + min(LONGEST_WAIT, 0.2 * 2**self.failures)
        self.failures += 1


@dataclass(slots=True)
class Follower:
    """One stream being read. `changes` counts delivered records."""

    dynamodb: DynamoDB
    meta: Meta
    stream: Stream
    handle: Handler
    tell: Tell
    changes: int = 0
    caught_up: int = 0
    started: int = 0
    drained: bool = False
    """The stream was switched off, and everything in it has been read."""

    readers: dict[str, ShardReader] = field(default_factory=dict)
    _done: dict[str, str | None] = field(default_factory=dict)  # shard → parent
    _retries: dict[str, Retry] = field(default_factory=dict)
    _beaten: float = 0.0
    _newest: int = 0
    _healed: int = 0

    def start(self) -> None:
        """Goes on where the last checkpoint stands. Raises UsageError when the table or stream cannot be read."""
        kept = self.meta.checkpoint(self.stream.label)
        self.caught_up = from_iso(kept["caught_up"]) if kept else self.stream.floor - 1  # its first second is yet to be read
        description = self._describe()
        now = self.started = description.moment
        if self._is_late(now) and not (kept and kept["drained"]):
            since = max(self.caught_up, self.stream.recorded)
            self._outage(since, now, "nobody read the stream for more than 24 hours")
        for name, state in kept["shards"].items() if kept else ():
            if state["done"]:
                self._done[name] = state["parent"]
            elif name in description.shards:
                self.readers[name] = self._reader(name, state["position"])
            else:
                self._outage(self.caught_up, now, f"{name} expired before it was read to its end")
                self._done[name] = state["parent"]

    def round(self) -> bool:
        """Reads every shard once and delivers what came; whether anything did. Call it again and again."""
        description = self._describe()
        self._begin_shards(description)
        busy = finished = False
        for name, reader in list(self.readers.items()):
            busy |= self._advance(reader, description.moment)
            if reader.done:
                finished = True  # its children begin in the next round: until then nothing is claimed
                self._done[name] = description.shards[name].parent if name in description.shards else None
                del self.readers[name]
                self._newest = max(self._newest, reader.newest)
        if not finished and self.readers:
            slowest = min(reader.reached for reader in self.readers.values())
            self.caught_up = max(self.caught_up, min(slowest, description.moment - SETTLE))
        self.drained = not description.enabled and not finished and not self.readers
        if self.drained:
            self.caught_up = max(self.caught_up, self._newest)  # nothing more will ever come
        return busy or finished

    def checkpoint(self, *, running: bool, force: bool = False) -> None:
        """Keeps how far it is, every BEAT seconds, or at once."""
        if not force and time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        shards: dict[str, Any] = {name: {"done": True, "parent": parent} for name, parent in self._done.items()}
        for name, reader in self.readers.items():
            shards[name] = {"done": False, "position": reader.position, "parent": None}
        beat = iso(int(time.time()))
        kept = {"caught_up": iso(self.caught_up), "beat": beat, "running": running, "drained": self.drained}
        self.meta.write_checkpoint(self.stream.label, kept | {"shards": shards})

    @property
    def stuck(self) -> int:
        """How often the most reluctant shard has failed in a row."""
        return max((retry.failures for retry in self._retries.values()), default=0)

    def _describe(self) -> Description:
        return describe_stream(self.dynamodb, self.stream.arn)

    def _begin_shards(self, description: Description) -> None:
        first = not self._done and not self.readers
        for shard in list(ready(description.shards, set(self._done), self.readers)):
            orphan = shard.parent and shard.parent not in self._done and shard.parent not in description.shards
            if orphan and not first:
                self._outage(self.caught_up, description.moment, f"{shard.parent} expired before it was read")
            elif self._is_late(description.moment):
                self._outage(self.caught_up, description.moment, f"{shard.name} was begun more than 24 hours late")
            self.readers[shard.name] = self._reader(shard.name, None)
        for name in set(self._done) - set(description.shards):
            if not any(shard.parent == name for shard in description.shards.values()):
                del self._done[name]  # nothing can refer to it any more

    def _is_late(self, now: int) -> bool:
        """Whether records may be gone that no error tells of: a shard read from its beginning begins with what is left."""
        return now - max(self.caught_up, self.stream.recorded, self._healed) > RETENTION

    def _reader(self, shard: str, position: str | None) -> ShardReader:
        return ShardReader(self.dynamodb, self.stream.arn, shard, self.caught_up, position)

    def _advance(self, reader: ShardReader, now: int) -> bool:
        retry = self._retries.setdefault(reader.shard, Retry())
        if retry.until > time.monotonic():
            return False
        try:
            came = bool(reader.pending) or reader.read(now)
        except TrimmedError:
            self._outage(self.caught_up, now, f"records of {reader.shard} were trimmed unread")
            reader.restart()
            return True
        if reader.pending:
            batch = reader.pending[:BATCH]
            arrived = self._deliver(batch)
            self.changes += arrived
            reader.delivered(arrived)
            if arrived < len(batch):
                if arrived:
                    retry.failures = 0
                retry.failed()
                sequence = reader.pending[0]["dynamodb"]["SequenceNumber"]
                self.tell(f"{reader.shard}: record {sequence} was not written; trying again from it")
            else:
                self._retries.pop(reader.shard)
        return came

    def _deliver(self, batch: list[dict[str, Any]]) -> int:
        """How many records from the first on have arrived for certain, by the rules of a partial-batch response."""
        event = {"Records": [record | {"eventSourceARN": self.stream.arn} for record in batch]}
        try:
            failed = {failure["itemIdentifier"] for failure in self.handle(event, None)["batchItemFailures"]}
        except Exception as error:  # noqa: BLE001 - a function that fails is called again, whatever it failed of
            self.tell(f"The handler failed: {error}")
            return 0
        sequences = [record["dynamodb"]["SequenceNumber"] for record in batch]
        if failed - set(sequences):
            return 0  # an answer that names no record of the batch fails it whole
        return next((index for index, sequence in enumerate(sequences) if sequence in failed), len(batch))

    def _outage(self, since: int, until: int, reason: str) -> None:
        self._healed = until
        self.meta.write_outage(Outage(self.stream.label, since, until, reason))
        self.tell(f"Changes after {iso(since)} may be lost: {reason}. A backfill starts coverage again.")


def is_gone(error: ClientError) -> bool:
    """Whether the stream does not exist any more: a stream lives 24 hours after it was switched off."""
    return bool(error.response["Error"]["Code"] == "ResourceNotFoundException")
