"""All short lives of a stream: what is claimed after each, compared with what the table may have
lost.

A life is a sequence of things that operators, AWS and the watcher do. Each leaves the records that
the real code leaves, and beside them the truth: which seconds of each stream were never delivered,
wait in a failed batch, or have expired. Seconds are those of one clock, so every margin of the
project is slack.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

import stream_backup.capture.order
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.meta import Meta
from stream_backup.archive.status import Status, last_moment, status_of
from stream_backup.capture.order import Walker
from stream_backup.capture.walks import next_walk
from stream_backup.core.announcement import announcement, hours_of_put, is_late
from stream_backup.core.coverage import Hole, epochs
from stream_backup.core.moment import iso
from stream_backup.core.records import NO_STREAM, End, Live, Outage, RedriveRecord, Run, Stream
from stream_backup.core.retention import Bound, changes, kept_since
from stream_backup.core.time_rule import first_stamp, floor_of, on_until, scan_interval
from stream_backup.core.witness import Evidence, watched
from tests.small_versions import Counts

T0 = 1_795_231_959
DAY = 24 * 3600
LATE = DAY + 15 * 60 + 5
KEPT = 3
"""Days for which the bucket keeps superseded versions while it has a rule."""


SLACK = 60
"""Seconds that are more than all margins together."""


class Records(Meta):
    """Records that are kept as they were written, and parsed once."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(lambda: 0.0), "")
        self.kept: dict[str, dict[str, dict[str, Any]]] = {}
        self.parsed: dict[int, Any] = {}

    def write(self, name: str, content: dict[str, Any]) -> None:
        under, _, rest = name.partition("/")
        self.kept.setdefault(under, {})[rest] = content

    def read(self, under: str) -> dict[str, dict[str, Any]]:
        return self.kept.get(under, {})

    def read_one(self, name: str) -> dict[str, Any] | None:
        under, _, rest = name.partition("/")
        return self.kept.get(under, {}).get(rest)

    def names(self, under: str) -> set[str]:
        return {*self.kept.get(under, {})}

    def parse(self, name: str, of: Callable[[Any], Any], record: Any) -> Any:
        if not isinstance(record, dict):
            return super().parse(name, of, record)
        if id(record) not in self.parsed:
            self.parsed[id(record)] = (record, super().parse(name, of, record))
        return self.parsed[id(record)][1]

    def hidden(self) -> Iterator[tuple[str, int]]:
        return iter(())


class Lost(NamedTuple):
    """Seconds whose changes are not in the archive."""

    first: int
    last: int


@dataclass
class Truth:
    """What happened to a stream. Everything up to `read` was delivered, except what is `lost` and
    what `waits` in failed batches. `old` says that the archive holds what is older."""

    label: str
    created: int
    read: int
    off: int | None = None
    lost: list[Lost] = field(default_factory=list)
    waits: list[Lost] = field(default_factory=list)

    def missing(self, first: int, last: int) -> bool:
        """Whether a change of these seconds may not be in the archive."""
        spans = [*self.lost, *self.waits, Lost(self.read + 1, last)]
        if self.off is not None:
            spans.append(Lost(self.off, last))
        return any(max(first, one) <= min(last, two) for one, two in spans)


class Disorder(NamedTuple):
    """When an older version may have been written on top of a newer one."""

    first: int
    last: int


class Life:
    """One table and its archive, from before it is backed up."""

    def __init__(self) -> None:
        self.now = T0
        self.archive = Archive(MemoryStore(lambda: self.now), "", "orders", None, lambda: self.now)
        self.archive.meta = Records()
        self.catalog = Catalog(self.archive)
        self.truth: dict[str, Truth] = {}
        self.label: str | None = None
        self.table = 1
        self.saved = False
        self.days: int | None = None
        self.rules: list[tuple[int, int]] = []  # days, and until when they applied
        self.redriven: list[tuple[Disorder, int]] = []  # and the stamp of the oldest change

    # What happens

    def enable(self) -> bool:
        if self.label:
            return False
        self.now += 60
        known = self.catalog.streams()
        created, empty = self.now, not known and not self.saved
        self.label = iso(created)
        stream = Stream(
            self.label, "arn", str(self.table), floor_of(created, empty=empty), empty, "function",
            self.now + 3, announces=True,
        )  # fmt: skip
        if known and known[-1].label not in self.catalog.ends():
            end = last_moment(self.archive, known[-1], first_stamp(created))
            self.catalog.write_end(known[-1].label, End(end, "replaced"))
        self.catalog.write_stream(stream)
        self.truth[self.label] = Truth(self.label, created, created - 1)
        self.now += 10
        return self.read()

    def race(self) -> bool:
        """The same while a backfill without a stream, which began earlier, saves its first row."""
        self.catalog.write_run(Run("race", NO_STREAM, 0, self.now, self.now + 100, True, {}))
        found = self.enable()
        self.saved = True
        return found

    def disable(self) -> bool:
        if not self.label:
            return False
        self.now += 60
        self.catalog.write_end(self.label, End(on_until(self.now), "switched off"))
        return self._off()

    def off(self) -> bool:
        """Somebody switches the stream off without `disable`."""
        self.now += 60
        return self.label is not None and self._off()

    def _off(self) -> bool:
        self.truth[str(self.label)].off = self.now
        self.label = None
        self.now += 60
        return True

    def recreate(self) -> bool:
        """The table is deleted and created again."""
        if not self.truth:
            return False
        self.table += 1
        return self.off() or True

    def read(self) -> bool:
        """The function reads everything that is left, and the watcher sees that."""
        self.now += 60
        for each in self.truth.values():
            if self.now - each.read > DAY and each.read + 1 < (each.off or self.now):
                each.lost.append(Lost(each.read + 1, self.now - DAY))
            each.read = self.now - 1 if each.off is None else each.off
        self.watch(healthy=True)
        return bool(self.truth)

    def blind(self) -> bool:
        """The function is not called, and the watcher sees that."""
        self.now += 600
        self.watch(healthy=False)
        return bool(self.truth)

    def day(self) -> bool:
        """Nobody reads and nobody looks for longer than a stream keeps records."""
        self.now += DAY + 3600
        return True

    def quiet(self) -> bool:
        """More than a day in which everything is read in time."""
        self.now += DAY // 2
        self.read()
        self.now += DAY // 2 + 3600
        return self.read()

    def run(self) -> bool:
        return self._run(complete=True)

    def cut(self) -> bool:
        """A backfill that is interrupted."""
        return self._run(complete=False)

    def _run(self, *, complete: bool) -> bool:
        if not self.label:
            return False
        self.now += 60
        pieces = [each for each in self.catalog.stretches() if each.stream.label == self.label]
        stretch, runs = pieces[-1], self.catalog.runs()
        since = stretch.healed_from or stretch.stream.floor
        left = [
            each
            for each in runs
            if each.stream == self.label and not each.complete and each.floor >= since
        ]
        asked = scan_interval(self.now, self.now).at
        while asked < since:
            self.now, asked = self.now + 1, asked + 1
        begun = epochs([stretch], runs)
        floor = begun[0].floor if begun else asked if stretch.healed_from else stretch.stream.floor
        found = left[-1] if left else Run(
            f"run {len(runs)}", self.label, floor, max(asked, floor), self.now, False, {}
        )  # fmt: skip
        self.now += 300
        answered = scan_interval(self.now, self.now).seen if complete else self.now
        found = replace(found, answered=answered, complete=complete)
        if complete:
            self.now = answered + 10
            found = replace(found, witness=on_until(self.now))
        self.catalog.write_run(found)
        return True

    def save(self) -> bool:
        """A backfill without a stream."""
        if self.label:
            return False
        self.saved = True
        self.now += 60
        name = f"run {len(self.catalog.runs())}"
        self.catalog.write_run(Run(name, NO_STREAM, 0, self.now, self.now + 50, True, {}))
        self.now += 60
        return True

    def give_up(self) -> bool:
        """Lambda gives up on a batch and goes on."""
        if not self.label:
            return False
        self.now += 60
        truth = self.truth[self.label]
        if self.now - truth.read > DAY:
            return False
        truth.waits.append(Lost(truth.read + 1, self.now - 1))
        truth.read = self.now - 1
        self.now += 60
        return True

    def redrive(self) -> bool:
        waiting = [each for truth in self.truth.values() for each in truth.waits]
        if not waiting:
            return False
        self.now += 60
        oldest = min(each.first for each in waiting)
        if is_late(oldest, self.now):
            for hour in hours_of_put(self.now):
                self.catalog.announce(hour, announcement(oldest, self.now))
        name = f"redrive {self.now}"
        record = RedriveRecord(name, self.now + 30, 1, 1, 0, began=self.now)
        self.catalog.write_redrive(record)
        self.redriven.append((Disorder(self.now, self.now + 30), oldest))
        self.now += 60
        for truth in self.truth.values():
            truth.waits.clear()
        return True

    def abandon(self) -> bool:
        """`redrive --give-up`."""
        found = False
        for truth in self.truth.values():
            for each in truth.waits:
                found = True
                self.catalog.write_outage(
                    Outage(truth.label, each.first - 1, min(self.now, each.last), "given up")
                )
            truth.lost += truth.waits
            truth.waits.clear()
        return found

    def gap(self) -> bool:
        """`outage`: an operator knows that the function dropped changes."""
        if not self.label:
            return False
        truth = self.truth[self.label]
        since = max(self.now - 50, truth.created)
        truth.lost.append(Lost(since, self.now - 20))
        self.catalog.write_outage(Outage(self.label, since - 1, self.now - 20, "known"))
        return True

    def expire(self) -> bool:
        """The bucket gets a rule for superseded versions, or loses it."""
        if self.days:
            self.rules[-1] = (self.days, self.now)
        self.days = None if self.days else KEPT
        if self.days:
            self.rules.append((self.days, self.now))
        self.watch(healthy=None)
        return True

    def wait(self) -> bool:
        """So long that what was superseded before expires, while everything is read in time."""
        for _ in range(2 * KEPT):
            self.now += DAY // 2
            self.read()
        return bool(self.truth)

    def walk(self) -> bool:
        """The watcher walks through the items, if that is due."""
        self.now += 600
        found = self.status(healthy=False)
        due = next_walk(found)
        if due is None:
            return False
        Walker(self.archive, found, lambda: self.now, lambda: False, self.kept).go_on(due)
        self.now += 60
        return True

    # What is known about it

    def reported(self, healthy: bool) -> Evidence:
        state = "Enabled" if healthy else "Disabled"
        return Evidence(self.now, state, "OK", 0, 0, 0)

    def watch(self, healthy: bool | None) -> None:
        """The watcher looks; at the rules of the bucket alone where nothing is said about the
        function."""
        ends = self.catalog.recorded_ends()
        for stream in self.catalog.streams() if healthy is not None else []:
            witness, end = self.catalog.witness(stream.label), ends.get(stream.label)
            if end and witness and witness.read >= end.end:
                continue
            found, outage = watched(stream, self.reported(bool(healthy)), witness, end)
            if outage:
                self.catalog.write_outage(outage)
            self.catalog.write_witness(found)
        if self.days:
            self.rules[-1] = (self.days, self.now)
        for retention in changes(self.days, self.catalog.retentions(), self.now):
            self.catalog.write_retention(retention)

    def kept(self) -> Bound:
        return kept_since(self.days, True, self.catalog.retentions(), self.now)

    def status(self, *, healthy: bool) -> Status:
        latest = max(self.truth, default=None)
        description = {"CreationDateTime": T0} | ({"LatestStreamLabel": latest} if latest else {})
        waits = [Hole(truth.label, *each) for truth in self.truth.values() for each in truth.waits]
        evidence = dict.fromkeys(self.truth, self.reported(healthy))
        live = Live(description, self.label)
        return status_of(self.archive, self.now, live, waits, evidence, self.kept())

    # The oracle

    def exact(self, floor: int, truth: Truth, moment: int) -> bool:
        """Whether a restore to this moment, by the versions of this stream from `floor` on,
        certainly gives the table as it was: a backfill that replaced everything older has ended,
        nothing since the floor is missing, and nothing that it needs can have expired."""
        runs = [
            each
            for each in self.catalog.runs()
            if each.stream == truth.label and each.complete and each.floor >= floor
        ]
        ended = [each for each in runs if each.answered <= moment]
        if not ended or truth.missing(max(floor, truth.created), moment):
            return False
        for days, until in self.rules:
            oldest = (self.now if days == self.days else until) - days * DAY
            if moment < oldest:
                return False
            for each in self.disorders(floor, truth):
                ordered = any(
                    walk.began > each.last and walk.since <= each.first and walk.ended <= moment
                    for walk in self.catalog.passes()
                )
                if each.first < oldest and not ordered:
                    return False
        return True

    def disorders(self, floor: int, truth: Truth) -> Iterator[Disorder]:
        yield from (each for each, _ in self.redriven)
        before = any(each.created < truth.created for each in self.truth.values())
        older = before or self.saved or floor > truth.created
        if older:
            yield Disorder(floor, floor + LATE)
            for each, oldest in self.redriven:
                if oldest < floor <= each.last:
                    yield each
            for run in self.catalog.runs():
                if run.stream == truth.label and run.asked >= floor:
                    yield Disorder(run.asked, run.answered)


THINGS: Sequence[Callable[[Life], bool]] = (
    Life.enable,
    Life.disable,
    Life.off,
    Life.recreate,
    Life.read,
    Life.blind,
    Life.day,
    Life.quiet,
    Life.run,
    Life.cut,
    Life.save,
    Life.give_up,
    Life.redrive,
    Life.abandon,
    Life.gap,
    Life.expire,
    Life.wait,
    Life.walk,
)


@contextmanager
def alone() -> Iterator[None]:
    """Patches what would start threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stream_backup.capture.order,
            "run_slices",
            lambda work, parts, _: [work(part) for part in parts],
        )
        yield


class Lives:
    """The space of all lives that begin with these things, and go on with so many others."""

    def __init__(self, begin: Sequence[Callable[[Life], bool]], more: int) -> None:
        self.begin, self.more = begin, more
        self.size = len(THINGS) ** more

    def check(self, index: int) -> Counts:
        things = []
        for _ in range(self.more):
            index, which = divmod(index, len(THINGS))
            things.append(THINGS[which])
        life = Life()
        with alone():
            if not all(thing(life) for thing in (*self.begin, *things)):
                return Counts()
            return self._compare(life, [each.__name__ for each in (*self.begin, *things)])

    def _compare(self, life: Life, names: Sequence[str]) -> Counts:
        cases = refused = 0
        for healthy in (False, True):
            if healthy:
                life.read()
            found = life.status(healthy=healthy)
            for moment in edges(life, found):
                cases += 1
                epoch = found.coverage.epoch_at(moment)
                where = (names, healthy, moment - T0, epoch, found.coverage)
                if epoch:
                    assert life.exact(epoch.floor, life.truth[epoch.stream], moment), where
                else:
                    refused += 1
                    assert not self._needlessly(life, found, moment), where
        return Counts(cases, refused)

    def _needlessly(self, life: Life, found: Status, moment: int) -> bool:
        """Whether a moment is refused although it is on record, more than a minute away from
        everything that could be in doubt, that it is exact."""
        for truth in life.truth.values():
            first, last = moment - SLACK, moment + SLACK
            end, witness = found.ends.get(truth.label), life.catalog.witness(truth.label)
            read = witness.read if witness else 0
            if truth.label == life.label:
                read = found.coverage.latest
            if last > read or (truth.off and (end is None or last > end.end)):
                continue
            for floor in {run.floor for run in found.runs if run.stream == truth.label}:
                doubted = any(
                    each.stream == truth.label and each.since <= last and each.until >= floor
                    for each in found.outages
                )
                seconds = (first, moment, last)
                if not doubted and all(life.exact(floor, truth, each) for each in seconds):
                    return True
        return False


def edges(life: Life, found: Status) -> list[int]:
    """Every second that anything of a life is about, and those next to it."""
    spans: list[tuple[int, int]] = [(found.now, found.coverage.latest)]
    for truth in life.truth.values():
        spans += [(truth.created, truth.off or truth.created), (truth.read, truth.read)]
        spans += [*truth.lost, *truth.waits]
    spans += [(run.asked, run.answered) for run in found.runs]
    spans += [(outage.since, outage.until) for outage in found.outages]
    spans += [(walk.began, walk.ended) for walk in life.catalog.passes()]
    spans += [(each.first, each.last) for each in found.coverage.spans]
    spans += [(each.first, each.last) for each, _ in life.redriven]
    spans += [(life.now - days * DAY, until - days * DAY) for days, until in life.rules]
    every = {edge + by for span in spans for edge in span for by in (-1, 0, 1)}
    return sorted(edge for edge in every if edge > T0)
