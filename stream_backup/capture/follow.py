"""Reads a table's stream in this process and calls the handler, as Lambda's event source mapping
would.

Every shard is read after its parent (Amazon DynamoDB Developer Guide, "Reading and processing a
stream"). Every record is delivered at least once and none is skipped: a batch that fails is
delivered again from its first failed record on, while the other shards continue. How far the stream
has been read is kept in the archive, so that the next `follow` resumes there on any machine.
Records that were trimmed before they were read are recorded as an outage.

A change is not seen at once: `caught_up` is the second up to which every shard has been read, as
its records and, when it is quiet, AWS's clock show, minus the seconds after which a change can be
read.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.capture.batch import Handler
from stream_backup.capture.shards import (
    Description,
    ShardReader,
    TrimmedError,
    describe_stream,
    ready,
)
from stream_backup.core.checkpoints import FollowCheckpoint, ShardPosition
from stream_backup.core.moment import iso
from stream_backup.core.records import Outage, Stream
from stream_backup.core.time_rule import readable
from stream_backup.progress import Progress

RETENTION = 24 * 3600
"""Seconds for which a stream keeps a record (Amazon DynamoDB Developer Guide, "Change data capture
for DynamoDB Streams")."""

BATCH = 1000
"""Records delivered to the handler at once."""

POLL = 0.25
"""Seconds between two rounds when nothing is new: GetRecords may be called five times a second on a
shard."""

BEAT = 5
"""Seconds between two checkpoints while nothing happens."""

LONGEST_WAIT = 30.0
"""Seconds at most before a failed batch is delivered again."""


@dataclass(slots=True)
class Retry:
    """A shard whose batch failed waits longer each time."""

    failures: int = 0
    until: float = 0.0

    def failed(self) -> None:
        """Counts a failure and sets how long to wait."""
        self.until = time.monotonic() + min(LONGEST_WAIT, 0.2 * 2**self.failures)
        self.failures += 1


@dataclass(slots=True)
class Follower:
    """One stream that is being read. `changes` counts delivered records; `drained` says that the
    stream was switched off and everything in it has been read."""

    dynamodb: DynamoDB
    catalog: Catalog
    stream: Stream
    handle: Handler
    progress: Progress
    changes: int = 0
    caught_up: int = 0
    started: int = 0
    drained: bool = False
    readers: dict[str, ShardReader] = field(default_factory=dict)
    _done: dict[str, str | None] = field(default_factory=dict)  # shard → parent
    _retries: dict[str, Retry] = field(default_factory=dict)
    _beaten: float = 0.0
    _newest: int = 0
    _healed: int = 0

    def start(self) -> None:
        """Resumes from the last checkpoint. Raises UsageError when the table or stream cannot be
        read."""
        kept = self.catalog.follow_checkpoint(self.stream.label)
        # The stream's first second has not been read yet.
        self.caught_up = kept.caught_up if kept else self.stream.floor - 1
        description = self._describe()
        now = self.started = description.moment
        if self._is_late(now) and not (kept and kept.drained):
            since = max(self.caught_up, self.stream.recorded)
            self._outage(since, now, "nobody read the stream for more than 24 hours")
        for name, position in kept.shards.items() if kept else ():
            if position.done:
                self._done[name] = position.parent
            elif name in description.shards:
                self.readers[name] = self._reader(name, position.position)
            else:
                self._outage(self.caught_up, now, f"{name} expired before it was read to its end")
                self._done[name] = position.parent

    def round(self) -> bool:
        """Reads every shard once and delivers its records; returns whether there were any. Call it
        repeatedly."""
        description = self._describe()
        self._begin_shards(description)
        busy = finished = False
        for name, reader in list(self.readers.items()):
            busy |= self._advance(reader, description.moment)
            if reader.done:
                finished = (
                    True  # its children begin in the next round; until then nothing is claimed
                )
                shard = description.shards.get(name)
                self._done[name] = shard.parent if shard else None
                del self.readers[name]
                self._newest = max(self._newest, reader.newest)
        if not finished and self.readers:
            slowest = min(reader.reached for reader in self.readers.values())
            self.caught_up = max(self.caught_up, min(slowest, readable(description.moment)))
        self.drained = not description.enabled and not finished and not self.readers
        if self.drained:
            self.caught_up = max(self.caught_up, self._newest)  # the stream gets no further record
        return busy or finished

    def checkpoint(self, *, running: bool, force: bool = False) -> None:
        """Stores how far the stream has been read: every BEAT seconds, or now with `force`."""
        if not force and time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        shards = {name: ShardPosition(True, parent) for name, parent in self._done.items()}
        for name, reader in self.readers.items():
            shards[name] = ShardPosition(False, None, reader.position)
        kept = FollowCheckpoint(
            caught_up=self.caught_up,
            beat=int(time.time()),
            running=running,
            drained=self.drained,
            shards=shards,
        )
        self.catalog.write_follow_checkpoint(self.stream.label, kept)

    @property
    def stuck(self) -> int:
        """The number of times in a row that the shard with the most failures has failed."""
        return max((retry.failures for retry in self._retries.values()), default=0)

    def _describe(self) -> Description:
        return describe_stream(self.dynamodb, self.stream.arn)

    def _begin_shards(self, description: Description) -> None:
        first = not self._done and not self.readers
        shards = description.shards
        for shard in list(ready(shards, set(self._done), self.readers)):
            orphan = shard.parent and shard.parent not in self._done and shard.parent not in shards
            if orphan and not first:
                lost = f"{shard.parent} expired before it was read"
                self._outage(self.caught_up, description.moment, lost)
            elif self._is_late(description.moment):
                late = f"reading of {shard.name} began more than 24 hours late"
                self._outage(self.caught_up, description.moment, late)
            self.readers[shard.name] = self._reader(shard.name, None)
        for name in set(self._done) - set(shards):
            if not any(shard.parent == name for shard in shards.values()):
                del self._done[name]  # no shard can refer to it any more

    def _is_late(self, now: int) -> bool:
        """Whether records may be gone without any error: a shard read from its beginning begins
        with what is left of it."""
        return now - max(self.caught_up, self.stream.recorded, self._healed) > RETENTION

    def _reader(self, shard: str, position: str | None) -> ShardReader:
        return ShardReader(self.dynamodb, self.stream.arn, shard, self.caught_up, position)

    def _advance(self, reader: ShardReader, now: int) -> bool:
        """Reads one shard and delivers one batch of it; returns whether there were records to
        read."""
        retry = self._retries.setdefault(reader.shard, Retry())
        if retry.until > time.monotonic():
            return False
        try:
            came = bool(reader.pending) or reader.read(now)
        except TrimmedError:
            lost = f"records of {reader.shard} were trimmed before they were read"
            self._outage(self.caught_up, now, lost)
            reader.restart()
            return True
        if reader.pending:
            self._deliver_from(reader, retry)
        return came

    def _deliver_from(self, reader: ShardReader, retry: Retry) -> None:
        batch = reader.pending[:BATCH]
        arrived = self._deliver(batch)
        self.changes += arrived
        reader.delivered(arrived)
        if arrived == len(batch):
            self._retries.pop(reader.shard)
            return
        if arrived:
            retry.failures = 0
        retry.failed()
        sequence = reader.pending[0]["dynamodb"]["SequenceNumber"]
        self.progress.note(
            f"{reader.shard}: record {sequence} was not written. Trying again from that record."
        )

    def _deliver(self, batch: list[dict[str, Any]]) -> int:
        """Returns how many records from the first on have certainly been written, by the rules of
        partial-batch responses."""
        event = {"Records": [record | {"eventSourceARN": self.stream.arn} for record in batch]}
        try:
            answer = self.handle(event, None)
        except Exception as error:  # noqa: BLE001 - a function that fails is called again, whatever the reason
            self.progress.note(f"The handler failed: {error}")
            return 0
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        sequences = [record["dynamodb"]["SequenceNumber"] for record in batch]
        if failed - set(sequences):
            return 0  # an answer that names no record of the batch fails the whole batch
        return next(
            (index for index, sequence in enumerate(sequences) if sequence in failed), len(batch)
        )

    def _outage(self, since: int, until: int, reason: str) -> None:
        self._healed = until
        self.catalog.write_outage(Outage(self.stream.label, since, until, reason))
        self.progress.note(
            f"Changes after {iso(since)} may be lost: {reason}. Run a backfill to start coverage"
            " again."
        )


def is_gone(error: ClientError) -> bool:
    """Whether the stream does not exist any more: a stream is kept for 24 hours after it was
    switched off."""
    return bool(error.response["Error"]["Code"] == "ResourceNotFoundException")
