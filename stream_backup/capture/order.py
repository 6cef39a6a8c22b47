"""A walk through every item of an archive: what the watcher does when it has looked at the streams.

It puts the newest version of each item on top where an older one may have covered it
(`core/order.py`), and reports what somebody else did to the archive: delete markers, and versions
that contradict what their writer announced. An archive may be too large for one invocation, so a
walk can stop after any item, and the next one goes on from the record of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event, Lock

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, History, Stat
from stream_backup.archive.slices import SLICES, run_slices
from stream_backup.archive.status import Status
from stream_backup.archive.store import ConflictError
from stream_backup.capture.disorder import doubt, marked, not_on_top, without_markers
from stream_backup.core.announcement import missing
from stream_backup.core.order import ENDED, UNDER_WAY, Disorder, Ordered, Walk
from stream_backup.core.records import Outage
from stream_backup.core.retention import DAY, UNKNOWN, Bound
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import superseded_from
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError

SAMPLES = 500
"""How many stamps one part of a walk reads only to compare them with what was announced."""

NAMED = 5
"""How many items with delete markers a walk names."""

TOO_LATE = "versions were not put in order before the bucket expired those that they covered"
DELETED = "somebody deleted objects of the archive, and what they held may have expired"
"""The reasons of an outage: what was covered by an older version, or by a delete marker, may have
expired."""


@dataclass(slots=True)
class Walker:
    """Goes on with a walk. `over` says when to stop, and is asked before each item. `kept` returns
    how far back the bucket keeps versions at the end of the walk."""

    archive: Archive
    status: Status
    clock: Callable[[], float]
    over: Callable[[], bool]
    kept: Callable[[], Bound]
    _walk: Walk = field(init=False)
    _sampled: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def _last(self) -> int:
        """The beginning of the walk before this one: what was written before that was looked at."""
        ended = self.status.walks.get(ENDED)
        return ended.began if ended else self._walk.began - DAY

    def go_on(self, walk: Walk) -> Walk:
        """Looks at items until all were seen or `over` says so, and records how far that is. Raises
        what the store raises."""
        self._walk = walk
        if not walk.next:
            for name, since in self.archive.meta.hidden():
                self._note_marker(since, None, f"meta/{name}")
        left = [part for part in SLICES if walk.next.get(part, "") is not None]
        reached = run_slices(self._slice, left, Event())
        following = {**self._walk.next, **dict(zip(left, reached, strict=True))}
        self._walk = replace(self._walk, next=following)
        catalog = Catalog(self.archive)
        if any(name is not None for name in following.values()):
            catalog.write_walk(UNDER_WAY, self._walk)
            return self._walk
        self._walk = replace(self._walk, ended=int(self.clock()))
        self._finish(catalog)
        catalog.write_walk(ENDED, self._walk)
        catalog.write_walk(UNDER_WAY, Walk(began=walk.began, since=walk.since, ended=walk.began))
        return self._walk

    def _slice(self, part: str) -> str | None:
        """Returns the name after which the slice goes on, None at its end."""
        reached = self._walk.next.get(part) or ""
        for history in self.archive.histories(part, after=reached, markers=True):
            if self.over():
                return reached
            if history.name > reached:
                self._look(history)
            reached = history.name
        return None

    def _look(self, history: History) -> None:
        versions = without_markers(history)
        if not versions:
            return
        try:
            hidden = self._find_markers(history)
            if not hidden and len(versions) > 1 and self._may_cover(versions):
                self._put_in_order(history)
            elif versions[0].written >= self._last and self._may_sample():
                self._stat(versions[0])
        except ArchiveError:
            self._count("unreadable")

    def _may_cover(self, versions: Sequence[Version]) -> bool:
        return versions[0].written >= self._walk.since

    def _put_in_order(self, history: History) -> None:
        wide = self.status.lateness
        if not_on_top(history, self._stat, wide):
            try:
                if self.archive.reassert(history.name, wide):
                    self._count("reordered")
            except ConflictError:
                pass  # Somebody is writing the item, and what is written last is newer.

    def _find_markers(self, history: History) -> bool:
        """Notes delete markers above a row. Returns whether the item is hidden by one."""
        hidden = False
        for since, until in marked(history, self.archive.stat):
            hidden |= until is None
            self._note_marker(since, until, "" if until else history.name)
        return hidden

    def _note_marker(self, since: int, until: int | None, name: str = "") -> None:
        """Notes a marker that was written at `since`, and when the row was written again; None
        while it is hidden."""
        with self._lock:
            walk = self._walk
            self._walk = replace(
                walk,
                hidden=walk.hidden + (until is None),
                hidden_since=min(walk.hidden_since or since, since),
                hidden_until=max(walk.hidden_until, until or 0),
                examples=[*walk.examples, *([name] if name else [])][:NAMED],
            )

    def _may_sample(self) -> bool:
        with self._lock:
            self._sampled += 1
            return self._sampled <= SAMPLES

    def _stat(self, version: Version) -> Stat:
        found = self.archive.stat(version)
        self._check(version, found.stamp)
        return found

    def _check(self, version: Version, stamp: Stamp) -> None:
        """Reports a version that contradicts what its writer announced, and announces it now."""
        found = doubt(self.status, version, stamp)
        if found == "late":
            Catalog(self.archive).announce(*missing(version, stamp.at))
        if found:
            self._count(found)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._walk = replace(self._walk, **{kind: getattr(self._walk, kind) + 1})

    def _finish(self, catalog: Catalog) -> None:
        """Records what this walk has put in order, and an outage of the present epoch where that
        was too late."""
        walk, kept = self._walk, self.kept()
        done = [each for each in self.status.coverage.disorders if self._ends(each)]
        if kept == UNKNOWN:
            return
        lost = [(each.since, TOO_LATE) for each in self._too_late(done, kept)]
        if (since := self._deleted()) and kept.moment > superseded_from(since):
            lost.append((since, DELETED))
        for since, reason in lost:
            self._record_outage(catalog, since, reason)
        if done and not walk.hidden:  # An item under a delete marker was left as it is.
            catalog.write_pass(Ordered(walk.since, walk.began, walk.ended))

    def _deleted(self) -> int:
        """Returns since when rows have been under delete markers, as this walk or the one before it
        saw: when they have expired, no walk sees them. 0 for never."""
        before, walk = self.status.walks.get(ENDED), self._walk
        if walk.hidden:
            return walk.hidden_since
        if before is None or not before.hidden:
            return 0
        healed = 0 < walk.hidden_since <= before.hidden_since
        return 0 if healed else before.hidden_since

    def _record_outage(self, catalog: Catalog, since: int, reason: str) -> None:
        epochs = self.status.coverage.epochs
        if epochs and epochs[-1].end is None:
            label, floor = epochs[-1].stream, epochs[-1].floor
            catalog.write_outage(Outage(label, max(since, floor), self._walk.ended, reason))

    def _ends(self, disorder: Disorder) -> bool:
        return disorder.is_due(self._walk.began) and self._walk.since <= disorder.since

    def _too_late(self, done: Sequence[Disorder], kept: Bound) -> list[Disorder]:
        epochs = self.status.coverage.epochs
        present = (epochs[-1].stream, epochs[-1].floor) if epochs else None
        late = [each for each in done if (each.stream, each.floor) == present]
        return sorted(each for each in late if kept.moment > each.since)[
            :1
        ]  # they are of one epoch
