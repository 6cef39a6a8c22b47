"""A check: the archive of a table held against its own rules, or a part of it at a time.

Slices are walked at once. A check of a part goes on after the names that the one before it reached,
as the archive's own record says, and so looks at everything in the course of a round.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from math import ceil
from random import Random
from threading import Event, Lock

from obstore.exceptions import BaseError

from stream_backup.archive.audit import bad_records
from stream_backup.archive.catalog import Catalog
from stream_backup.archive.chunks import read_chunks
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.slices import SLICES, HashFraction, run_slices
from stream_backup.archive.strangers import strangers
from stream_backup.aws.lifecycle import Lifecycle
from stream_backup.capture.disorder import without_markers
from stream_backup.core.checks import CheckKind, CheckRound
from stream_backup.core.order import problems
from stream_backup.core.version import Version
from stream_backup.progress import Progress
from stream_backup.verify.faults import Fault, Faults
from stream_backup.verify.items import ItemCheck

SAMPLES = 32
"""Items of each slice of which a version is read although the listing leaves nothing open."""

SPAN = 16**7
"""Positions within a slice: the seven digits of a name after the first one."""


@dataclass(frozen=True, slots=True)
class CheckPart:
    """What a check looks at: everything, or what the one before it left. `share` (0 to 1) is the
    share of all items, None for all that is left of the round; `over` says when to stop."""

    share: float | None = None
    over: Callable[[], bool] = lambda: False
    limited: bool = False

    @property
    def whole(self) -> bool:
        """Whether the check looks at every item, whatever earlier ones looked at."""
        return self.share is None and not self.limited


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `covered` is the share of the items that it looked at (0 to 1); `round`
    how far the round has come that it is a part of, None where it looked at everything; `saved`
    whether that could be recorded. `requests` has the numbers of requests by kind: `list`, `get`,
    `head`."""

    faults: Faults
    covered: float
    round: CheckRound | None
    saved: bool
    requests: dict[str, int]


@dataclass(slots=True)
class Check:
    """Of one archive. `items` says how items are checked; `lifecycle` are the rules of the bucket,
    None where they may not be read."""

    items: ItemCheck
    lifecycle: Lifecycle | None
    clock: Callable[[], float]
    progress: Progress
    part: CheckPart = CheckPart()
    stop: Event = field(default_factory=Event)
    random: Random = field(default_factory=Random)
    _lock: Lock = field(default_factory=Lock)

    @property
    def archive(self) -> Archive:
        """The archive that is checked."""
        return self.items.archive

    @property
    def kind(self) -> CheckKind:
        """Whether the versions are only listed."""
        return "deep" if self.items.deep else "listing"

    def run(self) -> CheckResult:
        """Checks the records, the rules of the bucket, and the items of the part. Raises what the
        store raises."""
        before = dict(self.archive.store.requests)
        faults = self.items.faults
        began = int(self.clock())
        current = None if self.part.whole else self._round(began)
        reached: dict[str, str | None] = {**current.next} if current else {}
        starts = dict(reached)
        with RequestPool() as pool:
            self._check_records(pool)
            self._check_rules()
            self._check_strangers()
            with self.progress.task("check", "items") as task:
                left = [part for part in SLICES if reached.get(part, "") is not None]
                fraction = HashFraction(len(left))

                def tell(name: str) -> None:
                    task.advance(1, fraction.reach(name))

                ends = run_slices(
                    lambda part: self._slice(part, reached.get(part) or "", pool, tell),
                    left,
                    self.stop,
                )
        reached |= dict(zip(left, ends, strict=True))
        covered = sum(_position(reached[part]) - _position(starts.get(part, "")) for part in left)
        found, saved = None, True
        if current:
            counts = Counter(current.found) + Counter(map(str, faults.counts.elements()))
            found = replace(current, last=int(self.clock()), next=reached, found=dict(counts))
            saved = self._save(found)
        sent = self.archive.store.requests
        requests = {kind: sent[kind] - before.get(kind, 0) for kind in ("list", "get", "head")}
        return CheckResult(faults, covered / (SPAN * len(SLICES)), found, saved, requests)

    def _check_records(self, pool: Executor) -> None:
        for bad in bad_records(self.archive, pool):
            self.items.faults.add(Fault(bad.kind, f"meta/{bad.name}", bad.why, bad.written))
        hidden = list(self.archive.meta.hidden())
        if hidden and self.items.repair:
            self.archive.meta.show()
        for name, since in hidden:
            text = "A delete marker is on top of the record. Where the bucket expires versions, it"
            fault = Fault("hidden", f"meta/{name}", f"{text} will be lost.", since)
            self.items.faults.add(fault._replace(repaired=self.items.repair))

    def _check_rules(self) -> None:
        """Checks the lifecycle rules of the bucket, and that versions were put in order in time."""
        said = []
        if self.lifecycle:
            said = [
                f"Lifecycle rule {rule!r} of the bucket expires current versions, which are the"
                " present rows."
                for rule in self.lifecycle.expiring
            ]
        if self.items.claims:
            status = self.items.claims.status
            coverage = status.coverage
            said += problems((), coverage.disorders, coverage.kept, status.now)
        for text in said:
            self.items.faults.add(Fault("retention", "", text))

    def _check_strangers(self) -> None:
        for found in strangers(self.archive):
            self._stranger(found)

    def _stranger(self, found: History) -> None:
        if found.versions[0].marker:
            return  # Somebody has removed it.
        text = "It is neither an item nor a record of stream-backup."
        self.items.faults.add(Fault("foreign", found.name, text, found.versions[0].written))

    def _slice(
        self, part: str, start: str, pool: Executor, tell: Callable[[str], None]
    ) -> str | None:
        """Checks the items of a slice after the name `start`. Returns the name after which the next
        check goes on, None at the end of the slice."""
        end = self._end(part, start)
        reached: str | None = None
        samples = _Samples(SAMPLES, self.random, self._lock)

        def open_items() -> Iterator[History]:
            nonlocal reached
            last = start
            listing = self.archive.histories(
                part, after=start, markers=True, strangers=lambda found: seen(found)
            )
            for history in listing:
                if history.name <= start:
                    continue
                if end and history.name > end:
                    reached = end
                    return
                if self.stop.is_set() or self.part.over():
                    reached = last
                    return
                self.items.faults.listed(len(without_markers(history)))
                tell(history.name)
                last = history.name
                if not self.items.listed(history):
                    yield history
                else:
                    samples.offer(history)

        def seen(found: History) -> None:
            if found.name > start and not (end and found.name > end):
                self._stranger(found)

        for _ in read_chunks(self.items.examine, open_items(), pool):
            pass
        list(pool.map(self.items.sample, samples.kept))
        return reached

    def _end(self, part: str, start: str) -> str:
        """Returns the last name of the slice to look at, empty for the end of the slice."""
        if self.part.share is None:
            return ""
        position = _position(start) + ceil(self.part.share * SPAN)
        return "" if position >= SPAN else f"{part}{position:07x}"

    def _round(self, began: int) -> CheckRound:
        """Returns the round to go on with, or a new one."""
        kept = Catalog(self.archive).check_round(self.kind)
        if kept is None or kept.over:
            return CheckRound(began, began, dict.fromkeys(SLICES, ""), {})
        return kept

    def _save(self, found: CheckRound) -> bool:
        """Records how far the round has come; returns whether that is permitted."""
        try:
            Catalog(self.archive).write_check_round(self.kind, found)
        except (OSError, BaseError) as error:
            self.progress.note(f"It could not be recorded how far this check came: {error}")
            return False
        return True


class _Samples:
    """A few of many items, each with the same chance."""

    def __init__(self, size: int, random: Random, lock: Lock) -> None:
        self.kept: list[Version] = []
        self._size, self._random, self._lock = size, random, lock
        self._seen = 0

    def offer(self, history: History) -> None:
        versions = without_markers(history)
        if not versions:
            return
        self._seen += 1
        if len(self.kept) < self._size:
            self.kept.append(versions[0])
            return
        with self._lock:
            place = self._random.randrange(self._seen)
        if place < self._size:
            self.kept[place] = versions[0]


def _position(name: str | None) -> int:
    """Returns how far into its slice a name is; None is the end."""
    return SPAN if name is None else int(name[1:8] or "0", 16)


def share_of(round_: Mapping[str, str | None]) -> float:
    """Returns the share of all items (0 to 1) that a round has looked at."""
    return sum(_position(name) for name in round_.values()) / (SPAN * len(SLICES))
