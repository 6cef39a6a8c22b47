"""Reads a table's stream in this process and calls the handler, as Lambda's event source mapping
would.

Every shard is read after its parent (Amazon DynamoDB Developer Guide, "Reading and processing a
stream"). Every record is delivered at least once and none is skipped: a batch that fails is
delivered again from its first failed record on, while the other shards continue. How far the stream
has been read is kept in the archive, so that the next `follow` resumes there on any machine.
Records that were trimmed before they were read are recorded as an outage.

A change is not seen at once: `caught_up` is the second up to which every shard has been read, as
its records and, when it is open and quiet, AWS's clock show, minus the seconds after which a change
can be read.
"""

import time
from dataclasses import dataclass, field

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.dynamodb import Clocked, DynamoDB
from stream_backup.capture.batch import Handler
from stream_backup.capture.delivery import Retry, deliver
from stream_backup.capture.shards import (
    Description,
    ShardReader,
    TrimmedError,
    describe_stream,
    ready,
)
from stream_backup.capture.unread import REASON
from stream_backup.core.checkpoints import FollowCheckpoint, ShardPosition
from stream_backup.core.moment import from_iso, iso
from stream_backup.core.records import Outage, Stream
from stream_backup.core.time_rule import first_stamp, may_be_trimmed, readable
from stream_backup.progress import Progress

BATCH = 1000
"""Records delivered to the handler at once."""

POLL = 0.25
"""Seconds between two rounds when nothing is new: GetRecords may be called five times a second on a
shard."""

DESCRIBE = 3
"""Seconds between two descriptions of the stream while no shard ends: DescribeStream may be called
ten times a second."""

BEAT = 5
"""Seconds between two checkpoints while nothing happens."""


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
    _description: Description | None = None
    _aws: Clocked = field(init=False)

    def __post_init__(self) -> None:
        self._aws = Clocked(self.dynamodb)

    def start(self) -> None:
        """Resumes from the last checkpoint. Raises UsageError when the table or stream cannot be
        read."""
        kept = self.catalog.follow_checkpoint(self.stream.label)
        # The stream's first second has not been read yet.
        self.caught_up = kept.caught_up if kept else first_stamp(from_iso(self.stream.label)) - 1
        description = self._describe()
        now = self.started = description.moment
        self.drained = bool(kept and kept.drained)
        self._note_lateness(now)
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
        self._note_lateness(description.moment)
        self._begin_shards(description)
        busy = finished = False
        for name, reader in list(self.readers.items()):
            shard = description.shards.get(name)
            reader.closed = shard is None or shard.closed
            busy |= self._advance(reader, self._aws.clock)
            if reader.done:
                # Its children begin in the next round. Until then nothing is claimed.
                finished, self._description = True, None
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
        """The stream as it was a few seconds ago, or as it is now when nothing is being read."""
        found = self._description
        if found is None or not self.readers or self._aws.clock - found.moment >= DESCRIBE:
            found = self._description = describe_stream(self._aws, self.stream.arn)
        return found

    def _begin_shards(self, description: Description) -> None:
        first = not self._done and not self.readers
        shards = description.shards
        for shard in list(ready(shards, set(self._done), self.readers)):
            orphan = shard.parent and shard.parent not in self._done and shard.parent not in shards
            if orphan and not first:
                lost = f"{shard.parent} expired before it was read"
                self._outage(self.caught_up, description.moment, lost)
            self.readers[shard.name] = self._reader(shard.name, None)
        for name in set(self._done) - set(shards):
            if not any(shard.parent == name for shard in shards.values()):
                del self._done[name]  # no shard can refer to it any more

    def _note_lateness(self, now: int) -> None:
        """Records an outage when records may be gone without any error: a shard read from its
        beginning begins with what is left of it."""
        read = max(self.caught_up, self.stream.recorded, self._healed)
        if not self.drained and may_be_trimmed(read, now):
            since = max(self.caught_up, self.stream.recorded)
            self._outage(since, now, REASON)

    def _reader(self, shard: str, position: str | None) -> ShardReader:
        return ShardReader(self._aws, self.stream.arn, shard, self.caught_up, position)

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
        arrived = deliver(self.handle, self.stream.arn, batch, self.progress.note)
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

    def _outage(self, since: int, until: int, reason: str) -> None:
        self._healed = until
        self.catalog.write_outage(Outage(self.stream.label, since, until, reason))
        self.progress.note(
            f"Changes after {iso(since)} may be lost: {reason}. Run a backfill to start coverage"
            " again."
        )
