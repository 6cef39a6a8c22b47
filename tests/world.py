"""The system in a hostile world: its real commands run on the model's table and a bucket in memory,
with clocks that disagree.

Each command runs in a process that can be paused at every request while others run, or killed
there.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import pairwise
from math import ceil
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

import backfill.run
import backfill.share
import restore.target
import restore.usable
import restore.writer
import stream_backup.archive.slices
import stream_backup.capture.delivery
import stream_backup.capture.failures
import stream_backup.capture.follow
import stream_backup.capture.shards
import stream_backup.capture.stream
from backfill.run import Backfill
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, Loaded
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.status import Status, status_of
from stream_backup.archive.store import Current
from stream_backup.aws.table import look_up
from stream_backup.capture.batch import write_batch
from stream_backup.capture.failures import FailedBatch, Place, waiting
from stream_backup.capture.follow import Follower
from stream_backup.capture.holes import lost_batches, record_holes
from stream_backup.capture.order import Walker
from stream_backup.capture.redrive import Redrive
from stream_backup.capture.walks import next_walk
from stream_backup.core.change import Change
from stream_backup.core.records import ReaderKind, Stream
from stream_backup.core.retention import Bound, changes, kept_since
from stream_backup.core.version import Version
from stream_backup.core.witness import GRACE, Evidence, watched
from stream_backup.errors import StreamBackupError
from stream_backup.progress import Silent
from tests.event_source_mapping import discarded
from tests.fake_dynamodb import FakeDynamoDB
from tests.model import DAY, KEYS, NAME, SCHEMA, T0, VALUES, Model, StreamLife
from tests.process import Inline, Killed, Process, Stop, pause, paused

EXPECTED = (StreamBackupError, ClientError, OSError, Killed)
"""The errors that a command may fail with in this world."""


BRINK = 600
"""Seconds before a record expires in which a function reads it after all."""


class PlainBucket:
    """What `enable` asks a connection about its buckets: the archive's has no lifecycle rules and
    encrypts without a KMS key, and no failed batch waits."""

    store = SimpleNamespace(bucket="backups")

    @property
    def s3(self) -> Any:
        return self

    def clock(self) -> int:
        return T0

    def get_bucket_lifecycle_configuration(self, **_: Any) -> Any:
        code = {"Code": "NoSuchLifecycleConfiguration"}
        raise ClientError({"Error": code}, "GetBucketLifecycleConfiguration")

    def get_bucket_encryption(self, **_: Any) -> Any:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}

    def get_paginator(self, _: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [{}])


class HostileStore(MemoryStore):
    """A store in which other processes act before and after each request. `fails` returns for each
    put whether it fails, and whether that is before or after it takes effect."""

    def __init__(self, clock: Callable[[], float], fails: Callable[[str], str]) -> None:
        super().__init__(clock)
        self.s3_now = clock
        self.conflicts = lambda path: bool(fails(path))
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


class FailuresBucket:
    """What boto3's client for S3 does for the bucket in which Lambda keeps failed batches."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get_paginator(self, _: str) -> Any:
        def paginate(Bucket: str, Prefix: str) -> Any:  # noqa: N803 - boto3's names
            assert Bucket == FAILURES
            return [{"Contents": [{"Key": key} for key in self.objects if key.startswith(Prefix)]}]

        return SimpleNamespace(paginate=paginate)

    def get_object(self, Bucket: str, Key: str) -> Any:  # noqa: N803
        pause()
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def copy_object(self, Bucket: str, Key: str, CopySource: Any) -> None:  # noqa: N803
        pause()
        self.objects[Key] = self.objects[CopySource["Key"]]

    def delete_object(self, Bucket: str, Key: str) -> None:  # noqa: N803
        pause()
        del self.objects[Key]


FAILURES = "failures"


class ReadOnce(Archive):
    """An archive that reads each version once per history, because versions never change. `other`
    is one that shares what it has read."""

    def __init__(
        self, store: MemoryStore, clock: Callable[[], float], other: "ReadOnce | None" = None
    ) -> None:
        super().__init__(store, "backups/", NAME, SCHEMA, clock)
        self.loaded: dict[str, Loaded] = other.loaded if other else {}
        self.decoded: dict[str, Change] = other.decoded if other else {}

    def load(self, version: Version) -> Loaded:
        if version.version_id not in self.loaded:
            self.loaded[version.version_id] = super().load(version)
        return self.loaded[version.version_id]

    def decode(self, loaded: Loaded) -> Change:
        identity = loaded.version.version_id
        if identity not in self.decoded:
            self.decoded[identity] = super().decode(loaded)
        return self.decoded[identity]


class World:
    """`retention` and `tombstones` are the days after which lifecycle rules remove superseded
    versions, and put a delete marker on a tombstone; None for no such rule."""

    bucket = HostileStore

    def __init__(
        self,
        seed: int,
        date_skew: float = 0.0,
        s3_skew: float = 0.0,
        retention: int | None = None,
        tombstones: int | None = None,
    ) -> None:
        self.retention, self.tombstones = retention, tombstones
        self.expired = 0
        self.failures = FailuresBucket()
        self.random = Random(seed)
        self.model = Model(self.random, label_skew=self.random.choice([-2, -1, 0, 0, 1, 2]))
        self.failing = 0.0
        self.watching = True
        self.walking = retention is not None
        self.healthy = False
        self.merging = 0.0  # the share of batches whose function does not keep every change
        self.store = self.bucket(lambda: self.model.now + s3_skew, self._fails)
        self.dynamodb = FakeDynamoDB(self.model, lambda: int(self.model.now + date_skew), pause)
        self.archive = ReadOnce(self.store, lambda: self.model.now)
        self.meta = Catalog(self.archive)
        self.processes: list[Process] = []
        self.positions: dict[tuple[str, int], int] = {}
        self.followers: dict[str, Follower] = {}

    def _fails(self, path: str) -> str:
        fails = paused() and self.random.random() < self.failing
        return self.random.choice(["before", "after"]) if fails else ""

    # What the commands run on

    def pool(self) -> Executor:
        """The threads of a command."""
        return Inline(self.random)

    def sleep(self, seconds: float) -> None:
        """What a command does that waits."""
        self.model.tick(seconds)

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
        """With this reader. A function may take over from `follow`; how far a function has read is
        not known to the one that takes over from it."""
        reader = self._takes_over(reader)
        return self.start("switch", lambda: self.switch_on(reader), lambda _: self.watch())

    def _takes_over(self, reader: ReaderKind) -> ReaderKind:
        label = self.model.stream.label if self.model.stream else None
        known = any(each.label == label and each.reader == "function" for each in self.known())
        return "function" if known else reader

    def switch_on(self, reader: ReaderKind) -> Any:
        """What `enable` does."""
        return stream_backup.capture.stream.switch_on(self.dynamodb, self.archive, reader)

    def disable(self) -> Process:
        return self.start("switch", self.switch_off)

    def switch_off(self) -> Any:
        """What `disable` does."""
        return stream_backup.capture.stream.switch_off(self.dynamodb, self.archive)

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
        """A batch from the first record not delivered for certain."""
        self._forget_lost(stream)
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
        merging = bool(self.merging) and self.random.random() < self.merging
        outcome = write_batch(
            batch,
            lambda _: self.archive,
            self.pool(),
            lambda: False,
            keep_every_change=not merging,
        )
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

    # Batches that Lambda gives up on

    def give_up(self, stream: Stream, shard: int, size: int) -> None:
        """Lambda gives up on a batch and goes on with the shard."""
        self._forget_lost(stream)
        life = self.life(stream.label)
        start = self.positions.get((stream.label, shard), 0)
        batch = [record.event for record in life.shards[shard][start : start + size]]
        if batch:
            content = discarded(
                batch, f"shard-{shard}", "RetryAttemptsExhausted", 3, self.model.now
            )
            path = f"aws/lambda/uuid/shard-{shard}/{len(self.failures.objects)}"
            self.failures.objects[path] = content
            self.positions[stream.label, shard] = start + len(batch)

    def failed(self) -> list[FailedBatch]:
        return waiting(self.failures, [Place(FAILURES)])

    def redrive(self) -> Process:
        """Redrives every batch that waits, and gives up those that can never be written."""
        return self.start("redrive", self.redrive_all)

    def redrive_all(self) -> None:
        """What `redrive --give-up` does."""
        record_holes(self.meta, self.failed(), int(self.model.now))
        rules = self.retention is not None and self.tombstones is not None
        kept = ((self.tombstones or 0) + (self.retention or 0)) * DAY if rules else None
        for batch in self.failed():
            pool, clock = self.pool(), lambda: self.model.now
            redrive = Redrive(self.failures, self.archive, pool, clock, kept)
            if not redrive.redrive(batch):
                redrive.give_up(batch, int(self.model.now))

    # Lifecycle rules

    def expire(self) -> None:
        """S3 removes what its rules allow, or leaves some of it until later."""
        if self.retention is None:
            return
        now = self.store.s3_now()
        for path, stored in list(self.store.objects.items()):
            newest = stored[-1]
            old = self.tombstones is not None and newest.version.written < (
                now - self.tombstones * DAY
            )
            if old and not newest.version.size and not newest.deleted and "/meta/" not in path:
                self.store.delete(path)
                stored = self.store.objects[path]
            before = now - self.retention * DAY
            kept = [
                each
                for each, successor in pairwise(stored)
                if successor.version.written >= before or self.random.random() < 0.2
            ]
            self.expired += len(stored) - 1 - len(kept)
            self.store.objects[path] = [*kept, stored[-1]]

    def kept(self) -> Bound:
        """How far back the bucket keeps versions, as a command finds out."""
        now = self.dynamodb.date()
        return kept_since(self.retention, True, self.meta.retentions(), now)

    # Delivery by `follow`

    def follow(self, stream: Stream) -> Process | None:
        """Starts one round of a follower, which resumes where the last round stopped. Returns None
        if a round is still running."""
        kind = f"follow {stream.label}"
        if self.running(kind):
            return None

        return self.start(kind, lambda: self.follow_round(stream))

    def follow_round(self, stream: Stream) -> None:
        """What `follow` does again and again."""
        follower = self.followers.get(stream.label)
        if follower is None:
            follower = Follower(self.dynamodb, self.meta, stream, self._handle, Silent())
            follower.start()
            self.followers[stream.label] = follower
        follower.round()
        follower.checkpoint(running=True, force=True)

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
        while brink and (urgent := min(self._unread(), default=None)) and urgent[0] - BRINK < end:
            deadline, label, shard = urgent
            self.model.tick(max(deadline - BRINK - self.model.now, 0))
            stream = next(stream for stream in self.known() if stream.label == label)
            failing, self.failing = self.failing, 0.0
            self.deliver(stream, shard, 10**6).finish()
            self.failing = failing
            self._reap()
            healthy, self.healthy = self.healthy, True
            self.watch()  # in time, and AWS reports nothing wrong: the stream was read
            self.healthy = healthy
        while self.model.now < end:
            self.model.tick(min(end - self.model.now, self.random.choice([300, 3600, 6 * 3600])))
            self.expire()
            if self.watching:
                self.watch()

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

    def _forget_lost(self, stream: Stream) -> None:
        """Moves the function past records that its stream no longer keeps. Nothing reports it."""
        life = self.life(stream.label)
        for shard, trimmed in enumerate(life.trimmed):
            position = self.positions.get((stream.label, shard), 0)
            self.positions[stream.label, shard] = max(position, trimmed)

    # The watcher, and what AWS reports

    def evidence(self) -> dict[str, Evidence]:
        """What AWS reports about the function, by the label of each stream that it reads."""
        return {stream.label: self._reported(stream.label) for stream in self._functions()}

    def _reported(self, label: str) -> Evidence:
        """A function that is behind shows it in one of the ways in which AWS does: the mapping is
        off, gone, or reports a problem, the function reports errors, or the age of its records.
        One that is not behind may look as if it were."""
        now = self.dynamodb.date()
        waiting = [until - DAY for until, of, _ in self._unread() if of == label]
        behind = ceil(now - min(waiting)) if waiting else 0
        fine = Evidence(now, "Enabled", "OK", max(behind - GRACE, 0), 0, 0)
        if behind <= GRACE and (self.healthy or self.random.random() < 0.8):
            return fine
        return self.random.choice(
            [
                fine._replace(age=behind + self.random.randrange(3)),
                fine._replace(state="Disabled", age=0),
                fine._replace(state=None, last_result="", age=None, errors=None, duration=None),
                fine._replace(last_result="PROBLEM: Function call failed", age=0),
                fine._replace(errors=3, age=0),
                fine._replace(duration=behind + 1, age=0),
            ]
        )

    def watch(self) -> None:
        """The watcher looks at the table, as it does every few minutes."""
        ends = self.meta.recorded_ends()
        for stream in self._functions():
            witness, end = self.meta.last_read(stream), ends.get(stream.label)
            if end and witness and witness.read >= end.end:
                continue
            reported = self._reported(stream.label)
            witness, outage = watched(stream, reported, witness, end)
            if outage:
                self.meta.write_outage(outage)
            self.meta.write_witness(witness)
        for retention in changes(self.retention, self.meta.retentions(), self.dynamodb.date()):
            self.meta.write_retention(retention)
        if self.walking and self.random.random() < 0.4:
            self.walk()

    def walk(self) -> None:
        """The watcher goes on with its walk through the items, and often has no time for all."""
        found = self.status_of()
        if walk := next_walk(found):
            end = self.random.choice([0, 1, 3, 10**6])
            looked = iter(range(end))
            clock, over = (lambda: self.model.now), (lambda: next(looked, None) is None)
            Walker(self.archive, found, clock, over, self.kept).go_on(walk)

    def quiet(self) -> None:
        """Runs every command to its end, and delivers everything that remains in the streams."""
        self.finish_all()
        self.failing = 0.0
        for stream in self.known():
            if stream.reader == "function":
                for shard, records in enumerate(self.life(stream.label).shards):
                    self.deliver(stream, shard, len(records)).finish()
            else:
                self._read_all(stream)
        self._reap()

    def _read_all(self, stream: Stream) -> None:
        """By `follow`, until it has caught up with now or the stream is drained."""
        now = int(self.model.now)
        for _ in range(600):
            if process := self.follow(stream):
                process.finish()
            self._reap()
            kept = self.meta.follow_checkpoint(stream.label)
            if kept and (kept.drained or kept.caught_up >= now):
                return
            self.model.now += 0.6
        raise AssertionError(f"{stream.label} is never read")

    def status_of(self) -> Status:
        """What is claimed now."""
        live, now = look_up(self.dynamodb, NAME)
        evidence = self.evidence()
        failed = self.failed()
        holes = [batch.hole for batch in (*failed, *lost_batches(self.meta, failed))]
        return status_of(self.archive, now, live, holes, evidence, self.kept())


@contextmanager
def patched(world: Callable[[], World]) -> Iterator[None]:
    """Patches the commands so that nothing sleeps, reads this machine's clock, or starts a
    thread."""

    def now() -> float:
        return world().model.now

    clock = SimpleNamespace(time=now, monotonic=now, sleep=lambda seconds: world().sleep(seconds))
    with pytest.MonkeyPatch.context() as patch:
        for module in (
            backfill.run,
            stream_backup.capture.delivery,
            stream_backup.capture.follow,
            stream_backup.capture.shards,
            stream_backup.capture.stream,
            restore.target,
            restore.usable,
            restore.writer,
        ):
            patch.setattr(module, "time", clock)
        for module in (
            backfill.share,
            stream_backup.archive.slices,
            stream_backup.capture.failures,
        ):
            patch.setattr(module, "ThreadPoolExecutor", lambda *_, **__: world().pool())
        patch.setattr(backfill.share, "RequestPool", lambda: world().pool())
        yield


def in_use(running: list[World], date_skew: float = 0) -> World:
    """A table whose stream a function reads, with a backfill, and a change long after it. `running`
    is what `patched` reads the time from."""
    world = World(1, date_skew)
    running[:] = [world]
    world.enable("function").finish()
    world.backfill(1).finish()
    world.model.tick(100)
    world.model.write(KEYS[0], VALUES[0])
    world.quiet()
    world.model.tick(100)
    return world
