"""The system in a hostile world: its real commands run on the model's table and a bucket in memory,
with clocks that disagree.

Each command runs in a process that can be paused at every request while others run, or killed
there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

import backfill.run
import backfill.share
import restore.writer
import stream_backup.archive.slices
import stream_backup.capture.follow
import stream_backup.capture.stream
from backfill.run import Backfill
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import Status, status_of
from stream_backup.archive.store import Current
from stream_backup.aws.table import look_up
from stream_backup.capture.batch import write_batch
from stream_backup.capture.follow import Follower
from stream_backup.core.change import Change
from stream_backup.core.records import Outage, ReaderKind, Stream
from stream_backup.core.version import Version
from stream_backup.errors import StreamBackupError
from stream_backup.progress import Silent
from tests.fake_dynamodb import FakeDynamoDB
from tests.model import DAY, NAME, SCHEMA, Model, StreamLife
from tests.process import Inline, Killed, Process, Stop, pause, paused

EXPECTED = (StreamBackupError, ClientError, OSError, Killed)
"""The errors that a command may fail with in this world."""


class HostileStore(MemoryStore):
    """A store in which other processes act before and after each request. `fails` returns for each
    put whether it fails, and whether that is before or after it takes effect."""

    def __init__(self, clock: Callable[[], float], fails: Callable[[str], str]) -> None:
        super().__init__(clock)
        self.s3_now = clock
        self._fails = fails

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        with self._hostile(path):
            super().put(path, payload, metadata)

    def create(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> bool:
        with self._hostile(path):
            return super().create(path, payload, metadata)

    def replace(self, path: str, payload: bytes, metadata: Mapping[str, str], etag: str) -> bool:
        with self._hostile(path):
            return super().replace(path, payload, metadata, etag)

    def current(self, path: str) -> Current | None:
        pause()
        found = super().current(path)
        pause()
        return found

    @contextmanager
    def _hostile(self, path: str) -> Iterator[None]:
        pause()
        how = self._fails(path)
        if how == "before":
            raise OSError("refused")
        yield
        pause()
        if how == "after":
            raise OSError("the answer was lost")


class ReadOnce(Archive):
    """An archive that reads each version once per history, because versions never change."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, "backups/", NAME, SCHEMA)
        self._read: dict[str, Change] = {}

    def read(self, version: Version) -> Change:
        if version.version_id not in self._read:
            self._read[version.version_id] = super().read(version)
        return self._read[version.version_id]


class World:
    def __init__(self, seed: int, date_skew: float = 0.0, s3_skew: float = 0.0) -> None:
        self.random = Random(seed)
        self.model = Model(self.random)
        self.failing = 0.0
        self.ahead = date_skew > 0
        self.store = HostileStore(lambda: self.model.now + s3_skew, self._fails)
        self.dynamodb = FakeDynamoDB(self.model, lambda: int(self.model.now + date_skew), pause)
        self.archive = ReadOnce(self.store)
        self.meta = Catalog(self.archive)
        self.processes: list[Process] = []
        self.positions: dict[tuple[str, int], int] = {}
        self.followers: dict[str, Follower] = {}

    def _fails(self, path: str) -> str:
        fails = paused() and self.random.random() < self.failing
        return self.random.choice(["before", "after"]) if fails else ""

    # Processes

    def start(
        self, kind: str, work: Callable[[], Any], done: Callable[[Any], None] = lambda _: None
    ) -> Process:
        process = Process(kind, work, done)
        self.processes.append(process)
        return process

    def step(self, process: Process, steps: int) -> None:
        process.step(steps)
        self._reap()

    def finish_all(self) -> None:
        for process in self.processes:
            process.finish()
        self._reap()

    def kill(self, process: Process) -> None:
        process.kill()
        self._reap()

    def running(self, kind: str) -> bool:
        return any(process.kind == kind for process in self.processes)

    def _reap(self) -> None:
        for process in self.processes:
            if process.error and not isinstance(process.error, EXPECTED):
                raise process.error
            if process.error and process.kind.startswith("follow"):
                self.followers.pop(
                    process.kind.removeprefix("follow "), None
                )  # the next run starts from its checkpoint
        self.processes = [process for process in self.processes if process.alive]

    # Commands

    def enable(self, reader: ReaderKind) -> Process:
        """Switches the stream on with this reader, or with the reader already recorded for the
        current stream."""
        label = self.model.stream.label if self.model.stream else None
        reader = next((stream.reader for stream in self.known() if stream.label == label), reader)
        return self.start(
            "switch",
            lambda: stream_backup.capture.stream.switch_on(self.dynamodb, self.archive, reader),
        )

    def disable(self) -> Process:
        return self.start(
            "switch", lambda: stream_backup.capture.stream.switch_off(self.dynamodb, self.archive)
        )

    def backfill(self, segments: int, *, without_stream: bool = False) -> Process:
        work = Backfill(self.dynamodb, self.archive, segments, None, lambda _: None, Stop())
        return self.start(
            "backfill", lambda: work.execute(work.begin(without_stream=without_stream)[0])
        )

    def known(self) -> list[Stream]:
        return self.meta.streams()

    def life(self, label: str) -> StreamLife:
        return next(stream for stream in self.model.streams if stream.label == label)

    # Delivery by a function

    def deliver(self, stream: Stream, shard: int, size: int) -> Process:
        """Starts the delivery of a batch, from the first record that is not certain to be
        delivered."""
        self._note_loss(stream)
        life = self.life(stream.label)
        start = max(self.positions.get((stream.label, shard), 0), life.trimmed[shard])
        batch = [record.event for record in life.shards[shard][start : start + size]]

        def arrived(count: int) -> None:
            reached = self.positions.get((stream.label, shard), 0)
            self.positions[stream.label, shard] = max(reached, start + count)

        return self.start("deliver", lambda: self._write(batch), arrived)

    def _write(self, batch: list[dict[str, Any]]) -> int:
        """Writes a batch and returns how many records at its beginning are certainly written."""
        if not batch:
            return 0
        outcome = write_batch(batch, lambda _: self.archive, Inline(self.random), lambda: False)
        return len(batch) if outcome.first_failed is None else outcome.first_failed

    def again(self, stream: Stream, shard: int, back: int) -> None:
        """Moves the position in a shard back, so that the records from there on are delivered
        again."""
        at = self.positions.get((stream.label, shard), 0)
        self.positions[stream.label, shard] = max(at - back, self.life(stream.label).trimmed[shard])

    def undelivered(self, label: str, moment: int) -> bool:
        """Returns whether a function still has records up to this moment to write."""
        life = self.life(label)
        starts = (
            max(self.positions.get((label, shard), 0), life.trimmed[shard])
            for shard in range(len(life.shards))
        )
        return any(
            int(record.at) <= moment
            for start, records in zip(starts, life.shards, strict=True)
            for record in records[start:]
        )

    # Delivery by `follow`

    def follow(self, stream: Stream) -> Process | None:
        """Starts one round of a follower, which resumes where the last round stopped. Returns None
        if a round is still running."""
        kind = f"follow {stream.label}"
        if self.running(kind):
            return None

        def work() -> None:
            follower = self.followers.get(stream.label)
            if follower is None:
                follower = Follower(self.dynamodb, self.meta, stream, self._handle, Silent())
                follower.start()
                self.followers[stream.label] = follower
            follower.round()
            follower.checkpoint(running=True, force=True)

        return self.start(kind, work)

    def _handle(self, event: dict[str, Any], _: Any) -> dict[str, Any]:
        records = event["Records"]
        count = self._write(records)
        left = (
            [{"itemIdentifier": records[count]["dynamodb"]["SequenceNumber"]}]
            if count < len(records)
            else []
        )
        return {"batchItemFailures": left}

    # Time

    def wait(self, seconds: float, *, brink: bool) -> None:
        """Lets time pass. Records that a function does not read within a day are lost, and recorded
        as an outage. With `brink`, the function reads them just in time instead."""
        if seconds > 60:
            self.finish_all()
            # A follower that slept for days with records in memory would write them too late.
            self.followers.clear()
        end = self.model.now + seconds
        while brink and (urgent := min(self._unread(), default=None)) and urgent[0] < end:
            deadline, label, shard = urgent
            self.model.tick(max(deadline - self.model.now, 0))
            stream = next(stream for stream in self.known() if stream.label == label)
            failing, self.failing = self.failing, 0.0
            self.deliver(stream, shard, 10**6).finish()
            self.failing = failing
            self._reap()
        self.model.tick(max(end - self.model.now, 0))
        for stream in self._functions():
            self._note_loss(stream)

    def _functions(self) -> list[Stream]:
        return [stream for stream in self.known() if stream.reader == "function"]

    def _unread(self) -> Iterator[tuple[float, str, int]]:
        """Yields (deadline, stream, shard) for every shard in which a function still has records to
        read."""
        for stream in self._functions():
            life = self.life(stream.label)
            for shard, records in enumerate(life.shards):
                waiting = records[
                    max(self.positions.get((stream.label, shard), 0), life.trimmed[shard]) :
                ]
                if waiting:
                    yield waiting[0].at + DAY, stream.label, shard

    def _note_loss(self, stream: Stream) -> None:
        life = self.life(stream.label)
        for shard, records in enumerate(life.shards):
            lost = records[self.positions.get((stream.label, shard), 0) : life.trimmed[shard]]
            if lost:
                since = int(lost[0].at) - 1
                reason = "behind by more than 24 hours"
                self.meta.write_outage(Outage(stream.label, since, self.dynamodb.date(), reason))
                self.positions[stream.label, shard] = life.trimmed[shard]

    def quiet(self) -> None:
        """Runs every command to its end, and delivers everything that remains in the streams."""
        self.finish_all()
        self.failing = 0.0
        for stream in self.known():
            if stream.reader == "function":
                for shard, records in enumerate(self.life(stream.label).shards):
                    self.deliver(stream, shard, len(records)).finish()
            else:
                for _ in range(30):
                    if process := self.follow(stream):
                        process.finish()
                    self.model.now += 0.6
                    self._reap()
        self._reap()

    def status_of(self) -> Status:
        """Returns the status now. A function that lost records has recorded the outage by then."""
        for stream in self._functions():
            self._note_loss(stream)
        live, now = look_up(self.dynamodb, NAME)
        return status_of(self.archive, now, live)


@contextmanager
def patched(world: Callable[[], World]) -> Iterator[None]:
    """Patches the commands so that nothing sleeps, reads this machine's clock, or starts a
    thread."""

    def now() -> float:
        return world().model.now

    clock = SimpleNamespace(
        time=now, monotonic=now, sleep=lambda seconds: world().model.tick(seconds)
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            backfill.run,
            stream_backup.capture.follow,
            stream_backup.capture.stream,
            restore.writer,
        ):
            patch.setattr(module, "time", clock)
        for module in (backfill.share, stream_backup.archive.slices):
            patch.setattr(module, "ThreadPoolExecutor", lambda *_, **__: Inline(world().random))
        yield
