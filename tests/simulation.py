"""Simulates the system from a seed, so that any failure replays from one number:

    python -m tests.simulation --seed 17              # one history
    python -m tests.simulation --seed 1 --count 1000  # so many, from this one on

The parties of a history are the writers of a table, a function or `follow` that reads its stream, a
person who runs backfills, redrives, restores, rewinds and undos, and who switches the stream off
and on, the watcher with its walks, and S3's lifecycle rules. They run the product's own code on the
model's table and a bucket in memory. At every request the scheduler decides from the seed who acts
next and what time it is (tests/scheduler.py). Processes are slow, fail, and die at any request.

At moments during a history and at its end, the laws hold: every claimed moment is exact, and no
other is claimed (5, 11, 12), and the short walk equals the exhaustive one (7). An undo takes back
what happened to the rows of its window and touches no other, and an undo of its receipt gives back
what it changed (13, 14), of the rows that nobody else wrote meanwhile.
"""

import argparse
import hashlib
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import current_thread
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import pytest

import backfill.run
import restore.receipt
import stream_backup.capture.redrive
import stream_backup.inspect.window
import stream_backup.undo.writer
from backfill.run import Backfill, confirm
from restore.pace import Pace
from restore.plan import Rebuild, Rewind
from restore.receipt import Receipt, ReceiptHeader
from restore.rewind import rewind
from stream_backup.archive.selection import Selection
from stream_backup.archive.status import Status
from stream_backup.capture.batch import write_batch
from stream_backup.core.item import Item, encode
from stream_backup.core.key import key_hash
from stream_backup.core.records import ReaderKind, Stream
from stream_backup.core.witness import Evidence
from stream_backup.errors import LatenessError
from stream_backup.inspect.window import Examined, Window
from stream_backup.progress import Silent
from stream_backup.undo.damage import Damage
from stream_backup.undo.plan import of_receipt, of_window
from stream_backup.undo.receipts import ReceiptFile
from stream_backup.undo.rule import Rule
from stream_backup.undo.run import undo_rows
from stream_backup.undo.writer import RowWriter
from tests import laws
from tests.late import SlowStore
from tests.model import DAY, KEYS, NAMES, VALUES
from tests.process import Process, Stop, pause
from tests.scheduler import Party, Scheduler, Task, Tasks
from tests.world import EXPECTED, ReadOnce, World, patched

HOUR = 3600

Found = TypeVar("Found")


@dataclass(frozen=True)
class Span:
    """How long a history is, in seconds, and what its parties choose the seconds between two acts
    from."""

    seconds: float
    gaps: Sequence[float]


SPANS = (
    Span(40, (0.0, 0.3, 1.0, 3.0, 8.0)),
    Span(900, (0.0, 1.0, 9.0, 40.0, 200.0)),
    Span(9 * HOUR, (0.0, 5.0, 300.0, HOUR, 3 * HOUR)),
    Span(6 * DAY, (1.0, 60.0, HOUR, 9 * HOUR, DAY)),
)

LATENCIES: Sequence[tuple[float, Sequence[float]]] = (
    (0.0, (0.0,)),
    (1.0, (0.0, 0.01, 0.1, 0.4)),
    (0.1, (0.2, 1.0, 2.5)),
    (0.02, (1.0, 7.0, 40.0)),
    (0.05, (400.0, 900.0, HOUR)),
)
"""How often a request takes any time, and how long it may take then. With the last, a process may
stand still anywhere for longer than a change may be late without an announcement."""


class Bucket(SlowStore):
    """Others act before every request. A version that a lifecycle rule removed cannot be read."""

    note: Callable[..., None]

    def put(self, path: str, payload: bytes, metadata: Mapping[str, str]) -> None:
        self.note(path, payload, sorted(metadata.items()))
        super().put(path, payload, metadata)

    def get(self, path: str, version_id: str) -> tuple[bytes, Mapping[str, str]]:
        try:
            return super().get(path, version_id)
        except StopIteration:
            raise FileNotFoundError(path) from None

    def stat(self, path: str, version_id: str) -> Mapping[str, str]:
        pause()
        try:
            return super().stat(path, version_id)
        except StopIteration:
            raise FileNotFoundError(path) from None


class Simulated(World):
    """A world whose parties run under a scheduler. Everything is drawn from the seed."""

    bucket = Bucket

    def __init__(self, seed: int, *, short: bool = False) -> None:
        self.seed = seed
        draw = self.draw = Random(f"simulation {seed}")
        self.span = draw.choice(SPANS)
        days = self.span.seconds > DAY
        super().__init__(
            seed,
            *draw.choice([(0, 0), (0, 0), (2, 0), (-2, 0), (0, 2), (0, -2), (2, -2), (-2, 2)]),
            retention=draw.choice([None, 3, 4]) if days else None,
            tombstones=draw.choice([None, 1, 2]) if days else None,
        )
        chance, seconds = draw.choice(LATENCIES if self.span.seconds > HOUR else LATENCIES[:-1])

        def latency(random: Random) -> float:
            return random.choice(seconds) if random.random() < chance else 0.0

        self.scheduler = Scheduler(Random(f"scheduler {seed}"), self.model, latency)
        assert isinstance(self.store, Bucket)
        self.store.note = self.scheduler.note
        self.end = self.model.now + self.span.seconds * (0.1 if short else 1.0)
        self.counts: Counter[str] = Counter()
        self.written: list[tuple[float, str, str]] = []
        self.switched = 0
        self._plain_write, self.model.write = self.model.write, self._written  # type: ignore[method-assign]
        self.readers: list[ReaderKind] = draw.choice([["function"], ["function", "follow"]])

    def _written(self, key: Item, value: Item | None) -> None:
        """Writes a row, and remembers who did."""
        self.written.append((self.model.now, key_hash(key), self._who()))
        self._plain_write(key, value)

    @staticmethod
    def _who() -> str:
        """The party that acts."""
        task = current_thread()
        return f"{task.party.name} {id(task.party)}" if isinstance(task, Task) else "nobody"

    def others_wrote(self, name: str, since: float) -> bool:
        """Whether a row was written by another party than the one that acts, since this time."""
        me = self._who()
        return any(at >= since and row == name and who != me for at, row, who in self.written)

    # What the product's code runs on

    def pool(self) -> Executor:
        return Tasks(self.scheduler) if self.scheduled() else super().pool()

    def sleep(self, seconds: float) -> None:
        if self.scheduled():
            self.scheduler.sleep(seconds)
        else:
            super().sleep(seconds)

    @staticmethod
    def scheduled() -> bool:
        return isinstance(current_thread(), Task)

    def identity(self) -> UUID:
        """What the product draws so that two processes never write the same name."""
        return UUID(int=self.draw.getrandbits(128))

    def fresh(self) -> ReadOnce:
        """The archive, as a process opens it that has announced nothing yet."""
        return ReadOnce(self.store, lambda: self.model.now, self.archive)

    def known(self) -> list[Stream]:
        with self.scheduler.alone():
            return super().known()

    def _reported(self, label: str) -> Evidence:
        with self.scheduler.alone():
            return super()._reported(label)

    # Parties

    @property
    def over(self) -> bool:
        return self.model.now >= self.end

    def rest(self) -> None:
        """Lets others act until it is this party's turn again."""
        self.scheduler.sleep(self.draw.choice(self.span.gaps))

    def run(self, name: str, work: Callable[[], Any], deadly: float = 0.2) -> Party:
        """Runs a command to its end or, by chance, until it is killed. Returns it when it is
        over."""
        fuse = self.draw.choice([1, 4, 10, 30]) if self.draw.random() < deadly else None
        party = self.scheduler.launch(name, work, fuse)
        self.scheduler.until(lambda: not party.alive)
        self.counts[name] += 1
        self.counts["failed"] += party.error is not None
        if party.error and not isinstance(party.error, EXPECTED):
            self.scheduler.fail(party.error)
        return party

    def wrapped(self, work: Callable[[], None]) -> Callable[[], None]:
        """A party whose own errors end the history."""

        def whole() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - `run` raises it
                self.scheduler.fail(error)

        return whole

    def start(
        self, kind: str, work: Callable[[], Any], done: Callable[[Any], None] = lambda _: None
    ) -> Process:
        assert not self.scheduled()  # its steps would be decided by another scheduler
        return super().start(kind, work, done)

    def play(self) -> None:
        """Runs the history to its end."""
        parties: list[Callable[[], None]] = [self.writer, self.reading]
        parties += self.draw.sample(
            [
                self.writer,
                self.backfills,
                self.backfills,
                self.redrives,
                self.restores,
                self.restores,
                self.rewinds,
                self.undos,
                self.trouble,
                self.checks,
                self.switches,
            ],
            self.draw.randrange(3, 10),
        )
        if self.span.seconds > HOUR:
            parties.append(self.watcher)
        if self.retention is not None:
            parties.append(self.expiry)
        self.begin()
        for party in parties:
            name = party.__name__
            self.scheduler.launch(
                name, self.wrapped(party), after=self.draw.choice([0.0, 0.0, 1.0])
            )
        self.scheduler.run()

    def begin(self) -> None:
        for key in KEYS[: self.draw.randrange(len(KEYS) + 1)]:
            self.model.write(key, self.draw.choice(VALUES))
        if self.draw.random() < 0.3:
            self.model.switch_on()
        self.enable(self.draw.choice(self.readers)).finish()
        if self.draw.random() < 0.7:
            self.backfill(1).finish()
            self.model.tick(8)

    def writer(self) -> None:
        """Somebody who writes to the table."""
        while not self.over:
            self.burst(self.draw.choice([1, 1, 2, 4]))
            self.rest()

    def burst(self, most: int) -> None:
        """Some writes in about a second."""
        keys = self.draw.choice([KEYS, KEYS[:2], [self.draw.choice(KEYS)]])
        for _ in range(most):
            if self.model.rows is not None:
                value = self.draw.choice([None, *VALUES])
                key = self.draw.choice(keys)
                self.model.write(key, value)
                self.counts["writes"] += 1
            self.scheduler.sleep(self.draw.choice([0.0, 0.0, 0.2, 0.6]))

    def trouble(self) -> None:
        """S3, which refuses some puts for a while, before or after they take effect."""
        while not self.over:
            self.failing = self.draw.choice([0.0, 0.1, 0.4])
            self.rest()
        self.failing = 0.0

    # The readers of the stream

    def reading(self) -> None:
        """AWS and `follow`: every stream that is known gets its readers."""
        read: set[tuple[str, str]] = set()

        def begun() -> list[Stream]:
            return [each for each in self.known() if (each.label, each.reader) not in read]

        while not self.over:
            seen = self.switched
            for stream in begun():
                read.add((stream.label, stream.reader))
                if stream.reader == "follow":
                    self._launch("follow", partial(self.follower, stream))
                    continue
                for shard in range(len(self.life(stream.label).shards)):
                    self._launch("mapping", partial(self.mapping, stream, shard))
            self.scheduler.until(partial(self._has_news, seen))

    def _has_news(self, seen: int) -> bool:
        return self.over or self.switched != seen

    def _launch(self, name: str, work: Callable[[], None]) -> None:
        self.scheduler.launch(name, self.wrapped(work))

    def mapping(self, stream: Stream, shard: int) -> None:
        """An event source mapping, which invokes the function with the records of one shard."""
        life, place = self.life(stream.label), (stream.label, shard)
        archive, lag = self.fresh(), self.draw.choice([(0.2, 1.0), (0.2, 9.0), self.span.gaps])

        def reached() -> int:
            return max(self.positions.get(place, 0), life.trimmed[shard])

        while True:
            self.scheduler.until(lambda: self.over or reached() < len(life.shards[shard]))
            if self.over:
                return
            self.scheduler.sleep(self.draw.choice(lag))
            self.positions[place] = reached()
            if self.draw.random() < 0.1:
                self.again(stream, shard, 2)  # as after a lost answer: everything from there on
            start = reached()
            batch = [
                each.event for each in life.shards[shard][start:][: self.draw.choice([1, 2, 9])]
            ]
            if self.draw.random() < 0.03:
                self.give_up(stream, shard, len(batch))
                continue
            written: list[int] = []

            def invoke(batch: list[dict[str, Any]] = batch, written: list[int] = written) -> None:
                if not batch:
                    return
                done = write_batch(batch, lambda _: archive, self.pool(), lambda: False)
                written.append(len(batch) if done.first_failed is None else done.first_failed)

            self.run("deliver", invoke, deadly=0.05)
            if written:
                self.positions[place] = max(reached(), start + written[0])

    def follower(self, stream: Stream) -> None:
        """`follow`, which is started again when it died."""
        while not self.over and not (self.switched and self._is_taken_over(stream)):
            party = self.run("follow", lambda: self.follow_round(stream), deadly=0.02)
            if party.error:
                self.followers.pop(stream.label, None)
            elif stream.label in self.followers and self.followers[stream.label].drained:
                return
            quick = (0.3, 0.6, 2.0) if self.span.seconds < HOUR else (0.6, 30.0, 900.0)
            self.scheduler.sleep(self.draw.choice(quick))

    def _is_taken_over(self, stream: Stream) -> bool:
        return not any(
            each.label == stream.label and each.reader == "follow" for each in self.known()
        )

    # Commands

    def backfills(self) -> None:
        """Somebody who runs backfills."""
        while not self.over:
            self.rest()
            self.run("backfill", self._backfill)

    def _backfill(self) -> None:
        archive = self.fresh()
        segments = self.draw.choice([1, 2])
        work = Backfill(self.dynamodb, archive, segments, None, lambda _: None, Stop())
        run, _ = work.execute(work.begin(without_stream=False)[0])
        if run.complete:
            confirm(self.dynamodb, archive, run)

    def redrives(self) -> None:
        """Somebody who redrives failed batches."""
        while not self.over:
            self.rest()
            if self.failures.objects:
                self.run("redrive", self.redrive_all)

    def switches(self) -> None:
        """Somebody who switches streams, and deletes and creates the table, while others write.
        Records of the stream before are often delivered while the new one is backfilled."""
        for _ in range(2):
            self.scheduler.sleep(self.span.seconds * self.draw.random() * 0.1)
            if self.over or self.model.rows is None:
                return
            self._launch("burst", partial(self.burst, 6))
            self.hesitate()
            self.end_stream()
            self.hesitate()
            if self.model.rows is None:
                self.model.create()
                if self.draw.random() < 0.3:
                    self.model.switch_on()
            self._launch("burst", partial(self.burst, 6))
            self.hesitate()
            reader = self._takes_over(self.draw.choice(self.readers))
            self.run("enable", partial(self.switch_on, reader), deadly=0.0)
            self.switched += 1
            self.hesitate()
            self.run("backfill", self._backfill)

    def hesitate(self) -> None:
        """Lets others act for a moment, or for longer."""
        self.scheduler.sleep(self.draw.choice([0.0, 0.4, 2.0, self.draw.choice(self.span.gaps)]))

    def end_stream(self) -> None:
        """The stream ends, by command or behind the back of everybody, or with its table."""
        how = self.draw.choice(["disable", "off", "drop"])
        if how == "disable":
            self.run("disable", self.switch_off)
        elif how == "off":
            self.model.switch_off()
        else:
            self.model.drop()

    def watcher(self) -> None:
        """The watcher, every few minutes or hours."""
        while not self.over:
            self.scheduler.sleep(self.draw.choice([300.0, HOUR, 6 * HOUR]))
            self.run("watch", self.watch, deadly=0.05)

    def expiry(self) -> None:
        """S3, which applies the lifecycle rules."""
        while not self.over:
            self.scheduler.sleep(self.draw.choice([HOUR, 6 * HOUR, DAY]))
            self.expire()

    # Whoever asks the archive

    def claimed(self) -> tuple[Status, int, int] | None:
        """Reads the archive's status, and returns one of the moments that it claims, and the
        floor."""
        found = self.status_of()
        with self.scheduler.alone():
            moments = list(laws.exact_moments(self, found))
        return (found, *self.draw.choice(moments)) if moments else None

    def restores(self) -> None:
        """Somebody who restores the table as of an exact moment into an empty one."""
        while not self.over:
            self.rest()
            self.run("restore", self._restore)

    def _restore(self) -> None:
        asked = self.claimed()
        if asked is None:
            return
        found, moment, floor = asked
        epoch = found.coverage.epoch_at(moment)
        archive, truth = self.fresh(), self.model.at(moment)
        if truth is None:
            return
        plan = Rebuild(archive, moment, floor, lateness=found.lateness_in(epoch))
        try:
            steps = list(map(plan.step, archive.histories()))
        except LatenessError:
            return
        rows = {step.name: step.body for step in steps if step.action == "put"}
        self.counts["restored"] += 1
        if rows != truth:
            self.scheduler.fail(AssertionError(f"restore {moment}: {found.coverage}"))

    def rewinds(self) -> None:
        """Somebody who rewinds the live table to an exact moment, when the archive has caught up
        with the moment at which the command was started."""
        while not self.over:
            self.rest()
            self.run("rewind", self._rewind)

    def _rewind(self) -> None:
        begun, table = self.model.now, self.model.table_id
        asked = self.caught_up(int(begun))
        if asked is None:
            return
        found, moment, floor = asked
        truth, newest = self.model.at(moment), found.coverage.epochs[-1]
        if truth is None or newest.end is not None:
            return
        archive = self.fresh()
        plan = Rewind(archive, moment, floor, newest.floor, found.lateness_now)
        try:
            steps = list(map(plan.step, archive.histories()))
        except LatenessError:
            return
        result = rewind(self.dynamodb, archive, steps, self.pool())
        self.counts["rewound"] += result.done
        if self.model.table_id != table or self.model.rows is None:
            return
        for name in NAMES:
            row = self.model.rows.get(name)
            if not self.others_wrote(name, begun) and (row and encode(row)) != truth.get(name):
                message = f"rewind {moment} from {begun}: {name} is {row}; {found.coverage}"
                self.scheduler.fail(AssertionError(message))

    def caught_up(self, begun: int) -> tuple[Status, int, int] | None:
        for _ in range(8):
            asked = self.claimed()
            if asked and asked[0].coverage.latest >= begun and asked[0].coverage.epoch_at(begun):
                return asked
            self.scheduler.sleep(2.0)
        return None

    def undos(self) -> None:
        """Somebody who takes back what happened between two exact moments, and often takes that
        back as well."""
        while not self.over:
            self.rest()
            taken = Taken(self)
            self.run("undo", taken.undo)
            if taken.receipt and self.draw.random() < 0.6:
                self.scheduler.sleep(self.draw.choice([0.0, 0.4, 30.0]))
                self.run("undo of a receipt", taken.back)
            taken.forget()

    def checks(self) -> None:
        """Nobody: the laws are checked while everybody else stands still."""
        for _ in range(3):
            self.scheduler.sleep(self.span.seconds * self.draw.random() * 0.7)
            with self.scheduler.alone():
                self.check()

    def check(self) -> Status:
        found = self.status_of()
        self.counts["moments"] += laws.law_5(self, found)
        laws.law_7(self, found)
        return found

    def settle(self) -> None:
        """After any history, the past stays exact, and a stream that is on, a redrive, and a
        complete backfill make the present exact."""
        self.failing = 0.0
        self.quiet()
        self.check()
        if self.model.rows is None:
            self.model.create()
        self.healthy = True  # by now, AWS reports nothing wrong
        self.enable("function").finish()
        self.wait(3, brink=True)
        self.quiet()
        self.redrive().finish()
        for _ in range(2):  # the first may resume a run from before an outage
            self.backfill(1).finish()
        self.wait(20, brink=True)
        self.quiet()
        found = self.check()
        laws.law_4(self, found)
        if self.retention is None:  # otherwise the watcher may have to put versions in order first
            assert found.coverage.epoch_at(found.coverage.latest)
            laws.baseline_never_covers(self)


class Taken:
    """An undo of a window, and the undo of its receipt."""

    def __init__(self, world: Simulated) -> None:
        self.world = world
        self.receipt: Path | None = None
        self.begun = 0.0
        self.table = 0
        self.rows: dict[str, bytes] = {}

    def undo(self) -> None:
        """Takes back what happened in a window of the present epoch."""
        world, model = self.world, self.world.model
        self.begun, self.table = model.now, model.table_id
        asked = world.caught_up(int(self.begun))
        if asked is None or model.rows is None:
            return
        found, newest = asked[0], asked[0].coverage.epochs[-1]
        with world.scheduler.alone():
            exact = [
                each for each, floor in laws.exact_moments(world, found) if floor == newest.floor
            ]
        if newest.end is not None or len(exact) < 2:
            return
        since, until = sorted(world.draw.sample(exact, 2))
        before, damaged, archive = model.at(since), model.at(until), world.fresh()
        window = Window(archive, since, until, newest.floor, newest.floor, found.lateness_now)
        examined = Examined()
        try:
            damages = [
                *of_window(
                    window,
                    Selection(archive),
                    lambda _: True,
                    newest.floor,
                    world.pool(),
                    examined,
                    Silent(),
                )
            ]
        except LatenessError:
            return
        if examined.unreadable or before is None or damaged is None:
            return
        if model.table_id != self.table or model.rows is None:
            return
        self.begun = model.now
        self.rows = {name: encode(row) for name, row in model.rows.items()}
        left = self._run(damages)
        for name in NAMES:
            was, wrong, now = before.get(name), damaged.get(name), self.rows.get(name)
            if was == wrong:  # what ended as it began is touched by nobody but others
                wanted, quiet = now, True
            else:  # written after the window, it is merged (tests/test_merge.py)
                wanted, quiet = was, not self._written(name, until + 1, self.begun)
            if quiet and self._changed(name, wanted) and name not in left:
                self._fail(f"undo ({since}, {until}]", name, wanted)

    def back(self) -> None:
        """Takes back what the undo did, or as much of it as it did before it was killed."""
        world, model = self.world, self.world.model
        assert self.receipt
        if model.table_id != self.table or model.rows is None or not self.receipt.exists():
            return
        archive, meanwhile = world.fresh(), self.begun
        with ReceiptFile(self.receipt) as receipt:
            sent = {key_hash(rows[0].line.key) for rows in receipt.rows()}
            certain = all(each.certain for rows in receipt.rows() for each in rows)
            damages = [*of_receipt(receipt, Selection(archive), world.dynamodb, world.pool())]
        left = self._run(damages)
        for name in NAMES:
            wanted = self.rows.get(name)
            strangers = [
                who
                for at, row, who in world.written
                if row == name and at >= meanwhile and not who.startswith("undo")
            ]
            excused = name in left or not (certain or name not in sent)
            if not strangers and not excused and self._changed(name, wanted):
                self._fail("undo of a receipt", name, wanted)

    def forget(self) -> None:
        """Removes the receipt."""
        if self.receipt:
            self.receipt.unlink(missing_ok=True)

    def _run(self, damages: list[Damage]) -> set[str]:
        """Undoes rows, and returns the names of those that could not be undone."""
        world, stop = self.world, Stop()
        began = int(world.model.now)
        header = ReceiptHeader("undo", "orders", "arn", str(self.table), began)
        self.forget()
        with Receipt(receipts[-1], header, lambda: world.model.now) as receipt:
            self.receipt = receipt.path
            writer = RowWriter(world.dynamodb, "orders", Rule(), receipt, stop)
            rows = [*undo_rows(writer, damages, world.pool(), Pace(None, stop))]
        world.counts["undone"] += sum(bool(row.written) for row in rows)
        return {key_hash(row.key) for row in rows if row.left or row.conflicts}

    def _written(self, name: str, since: float, until: float) -> bool:
        """Whether anybody wrote a row in this time."""
        return any(row == name and since <= at <= until for at, row, _ in self.world.written)

    def _changed(self, name: str, wanted: bytes | None) -> bool:
        """Whether a row, which nobody else wrote, is not what is wanted."""
        world = self.world
        if world.model.table_id != self.table or world.model.rows is None:
            return False
        row = world.model.rows.get(name)
        return (row and encode(row)) != wanted and not world.others_wrote(name, self.begun)

    def _fail(self, what: str, name: str, wanted: bytes | None) -> None:
        rows = self.world.model.rows or {}
        text = f"{what} from {self.begun}: {name} is {rows.get(name)}, not {wanted!r}"
        self.world.scheduler.fail(AssertionError(text))


# ------------------------------------------------------------
# from the command line


running: list[Simulated] = []
receipts: list[Path] = []
"""The folder in which undos leave their receipts."""


def one_by_one(find: Callable[[str], Iterator[Found]], parts: Iterable[str]) -> Iterator[Found]:
    """The slices of an archive one after another, instead of in threads of their own."""
    return itertools.chain.from_iterable(map(find, parts))


@contextmanager
def simulating() -> Iterator[None]:
    """Patches the product so that everything that it asks for comes from the history that runs."""

    def identity() -> UUID:
        return running[-1].identity()

    with (
        patched(lambda: running[-1]),
        TemporaryDirectory(prefix="receipts-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        receipts[:] = [Path(folder)]
        for module in (backfill.run, stream_backup.capture.redrive):
            patch.setattr(module, "uuid4", identity)
        patch.setattr(restore.receipt, "LONGEST_WAIT", 0.0)  # whoever waits holds the baton
        patch.setattr(stream_backup.inspect.window, "merge_slices", one_by_one)
        clock = SimpleNamespace(monotonic=lambda: running[-1].model.now)
        patch.setattr(stream_backup.undo.writer, "time", clock)
        yield


def command(seed: int, short: bool) -> str:
    """Returns the command that replays a history."""
    return f"python -m tests.simulation --seed {seed}{' --short' if short else ''}"


def simulate(seed: int, *, short: bool = False) -> Simulated:
    """Runs the history of this seed, within `simulating`. Raises what is wrong in it."""
    world = Simulated(seed, short=short)
    running[:] = [world]
    try:
        world.play()
        world.settle()
    except Exception as error:
        error.add_note(f"Replay it with: {command(seed, short)}")
        raise
    return world


def run(seconds: float, seed: int, progress: Callable[[str], None]) -> Mapping[str, int]:
    """Runs the histories of this seed and of those that follow it, for so many seconds. Raises an
    error at the end if something is wrong in one of them; it says which."""
    counts, end, wrong = Counter[str](), time.monotonic() + seconds, list[str]()
    with simulating():
        for each in itertools.count(seed):
            counts["histories"] += 1
            try:
                world = simulate(each)
            except Exception as error:  # noqa: BLE001 - it is reported, and counts
                wrong.append(f"{command(each, short=False)}: {type(error).__name__}: {error}")
                progress(wrong[-1])
            else:
                counts["requests"] += world.scheduler.steps
                counts["moments"] += world.counts["moments"] + world.counts["restored"]
                counts["commands that died or failed"] += world.counts["failed"]
            if counts["histories"] % 100 == 0:
                progress(f"{counts['histories']:,} histories, up to seed {each}")
            if time.monotonic() >= end:
                break
    if wrong:
        raise AssertionError(f"Of {counts['histories']} histories, these fail: {'; '.join(wrong)}")
    return counts | {"last seed": each}


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=1, help="as many seeds, from this one on")
    parser.add_argument("--short", action="store_true", help="shorter histories")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first failure")
    asked = parser.parse_args(given)
    counts, begun, failed = Counter[str](), time.monotonic(), 0
    trace = hashlib.sha256()
    with simulating():
        for seed in range(asked.seed, asked.seed + asked.count):
            try:
                world = simulate(seed, short=asked.short)
            except Exception as error:  # noqa: BLE001 - it is printed, and counts
                traceback.print_exception(error)
                print(f"seed {seed} fails: {type(error).__name__}: {str(error)[:200]}")
                print(f"Replay it with: {command(seed, asked.short)}", flush=True)
                failed += 1
                if not asked.go_on:
                    return 1
                continue
            counts += world.counts
            counts["requests"] += world.scheduler.steps
            trace.update(world.scheduler.trace.encode())
    print(f"trace: {trace.hexdigest()}")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    print(f"{asked.count} histories in {time.monotonic() - begun:.1f} seconds, {failed} failed.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
