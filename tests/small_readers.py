"""What plans, windows, timelines and `verify` make of all small histories of one item, compared
with a reading of every version. The spaces of histories are those of `small_versions`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple, cast

from restore.plan import Rewind
from stream_backup.archive.layout import Archive, History, Loaded, Stat
from stream_backup.core.change import Change
from stream_backup.core.item import digest
from stream_backup.core.records import Run
from stream_backup.core.time_rule import FOREVER, NEVER
from stream_backup.core.version import Version
from stream_backup.inspect.placing import Placed, Range, Sort
from stream_backup.inspect.window import Window
from stream_backup.verify.compare import Pair, Row, listed_equal, may_be_older
from tests.small_versions import NAME, Bounds, Counts, Made, Versions, reference

BODIES = (b"{A}", b"{B}")
KEY = {"id": {"S": "a"}}


class Shelf:
    """The reading half of an archive, over the versions of one item. Every other change of an item
    has the same content. `kinds` are those of its changes, where they are not all `modify`."""

    def __init__(self, made: Sequence[Made], kinds: Sequence[Sort] = ()) -> None:
        self.reads: list[str] = []
        self.stamps = [each.stamp for each in made]
        for number, sort in enumerate(kinds):
            if made[number].sequence and sort != "expiry":
                self.stamps[number] = replace(self.stamps[number], kind=sort)
        self.bodies = [content_of(each) for each in made]
        listed = [
            each.version(name)._replace(etag=digest(body or b""))
            for name, (each, body) in enumerate(zip(made, self.bodies, strict=True))
        ]
        self.history = History(NAME, tuple(listed))

    def stat(self, version: Version) -> Stat:
        self.reads.append(version.version_id)
        return Stat(self.stamps[int(version.version_id)], version)

    def load(self, version: Version) -> Loaded:
        return Loaded(self.stat(version).stamp, version, b"", {})

    def decode(self, loaded: Loaded) -> Change:
        return Change(KEY, loaded.stamp, self.bodies[int(loaded.version.version_id)])

    def read(self, version: Version) -> Change:
        return self.decode(self.load(version))

    @property
    def archive(self) -> Archive:
        return cast(Archive, self)


def content_of(made: Made) -> bytes | None:
    return None if made.removed else BODIES[(made.at + made.sequence) % 2]


def content(made: Sequence[Made], moment: int, floor: int) -> bytes | None:
    """The content of the item at a moment, by the definition."""
    rank = reference(made, moment, floor)
    return rank and content_of(next(each for each in made if (each.at, each.sequence) == rank))


class Readers(Versions):
    """The same space, of what an epoch holds, for one of the readers."""

    def questions(self, made: Sequence[Made], bounds: Bounds) -> Iterator[int]:
        """Yields for each question how many versions were read."""
        raise NotImplementedError

    def _check(self, made: Sequence[Made]) -> Counts:
        reads = [each for bounds in self.bounds for each in self.questions(made, bounds)]
        return Counts(len(reads), 0, sum(reads))

    def honest(self, made: Sequence[Made], bounds: Bounds, floor: int) -> bool:
        return all(bounds.honest(each, floor) for each in made)


class Rewinds(Readers):
    """A rewind's step says what the row is and what it was."""

    def questions(self, made: Sequence[Made], bounds: Bounds) -> Iterator[int]:
        shelf = Shelf(made)
        for floor, now in product(self.floors, self.floors):
            if not self.honest(made, bounds, min(floor, now)):
                continue
            present = content(made, FOREVER, now)
            for moment in self.moments:
                plan = Rewind(shelf.archive, moment, floor, now, bounds.lateness)
                shelf.reads.clear()
                step = plan.step(shelf.history)
                where = (made, moment, floor, now, bounds.lateness, step)
                wanted = content(made, moment, floor)
                action = "put" if wanted else "delete" if present else "absent"
                if wanted == present:
                    action = "unchanged" if wanted else "absent"
                idle = step.action in (
                    "unchanged",
                    "absent",
                )  # which of the two, a listing may not tell
                assert step.action == action or (idle and wanted == present), where
                assert step.body == (wanted if action == "put" else None), where
                if action in ("put", "delete"):
                    assert step.now == (present and digest(present)), where
                assert len(shelf.reads) <= 2 * len(made), where
                yield len(shelf.reads)


class Windows(Readers):
    """A window finds what an item was before and after it, by which changes, and what came
    later."""

    def questions(self, made: Sequence[Made], bounds: Bounds) -> Iterator[int]:
        shelf = Shelf(made)
        for floor in self.floors:
            if not self.honest(made, bounds, floor):
                continue
            for since, until in product(self.moments, self.moments):
                if since >= until:
                    continue
                where = (made, since, until, floor, bounds.lateness)
                window = Window(shelf.archive, since, until, floor, floor, bounds.lateness)
                shelf.reads.clear()
                found = window.changed(shelf.history)
                counting = {each for each in made if floor <= each.at}
                ranks = sorted(
                    {
                        (each.at, each.sequence)
                        for each in counting
                        if each.sequence and since < each.at <= until
                    }
                )
                bodies = content(made, since, floor), content(made, until, floor)
                assert (found is not None) == bool(ranks or bodies[0] != bodies[1]), where
                if found:
                    assert (found.before, found.after) == bodies, where
                    assert not ranks or [each.rank for each in found.stamps] == ranks, where
                    later = window.after(found, floor)
                    assert later.present == content(made, FOREVER, floor), where
                    after = {(each.at, each.sequence) for each in counting if each.at > until}
                    assert {each.stamp.rank for each in later.changes} >= after, where
                yield len(shelf.reads)


class Placing(Readers):
    """A timeline places every change, from the listing or by its stamp, in its interval."""

    def questions(self, made: Sequence[Made], bounds: Bounds) -> Iterator[int]:
        for floor, run in product(self.floors, (None, 1)):
            begin = 0 if floor == NEVER else floor
            answered = None if run is None else begin + run
            sorts = sorts_of(made, floor, answered)
            if sorts is None or not self.honest(made, bounds, floor):
                continue
            runs = [] if answered is None else [RUN._replace(asked=begin, answered=answered)]
            shelf = Shelf(made, sorts)
            first = begin if answered is None else answered
            last = self.moments[-1]
            for since, until, every in product(range(first, last), range(first, last), (1, 2, 3)):
                if since > until:
                    continue
                span = Range(
                    shelf.archive, since, until, every, floor,
                    [each.record for each in runs], bounds.lateness,
                )  # fmt: skip
                where = (made, sorts, since, until, every, floor, runs, bounds.lateness)
                expected = {
                    (each.at, each.sequence): Placed(each.at - each.at % every, sort, False)[:2]
                    for each, sort in zip(made, sorts, strict=True)
                    if each.sequence and floor <= each.at and since <= each.at <= until
                }
                placed = span.placed(shelf.history)
                found = sorted(each[:2] for each in placed)
                assert found == sorted(expected.values()), (found, where)
                if not span.may_contain(shelf.history):
                    assert not expected, where
                yield sum(each.by_stamp for each in placed)


class RunOf(NamedTuple):
    asked: int
    answered: int

    @property
    def record(self) -> Run:
        return Run("r", "A", self.asked, self.asked, self.answered, True, {})


RUN = RunOf(0, 0)


def sorts_of(made: Sequence[Made], floor: int, answered: int | None) -> list[Sort] | None:
    """Returns what each version did, where that follows from the changes since the floor: a row
    that was there before is in the baseline, or changed until the backfill had read it. None where
    no table has such a history."""
    ranks = sorted({(each.at, each.sequence): each for each in made if floor <= each.at}.items())
    found: dict[tuple[int, int], Sort] = {}
    exists = False
    for number, (rank, each) in enumerate(ranks):
        before = answered is not None and each.at <= answered and number == 0
        if not each.sequence:
            if not before or answered is None or each.seen > answered or each.written > answered:
                return None
            exists = True
            continue
        if each.removed and not (exists or before):
            return None
        found[rank] = "remove" if each.removed else "modify" if exists or before else "insert"
        exists = not each.removed
    return [
        found.get((each.at, each.sequence), "modify" if not each.removed else "remove")
        for each in made
    ]


class Listings(Readers):
    """`verify` believes a listing only where table and archive are equal."""

    def questions(self, made: Sequence[Made], bounds: Bounds) -> Iterator[int]:
        history = Shelf(made).history
        for floor in self.floors:
            if not all(map(bounds.possible, made)) or not in_turn(made, floor):
                continue
            archived = content(made, FOREVER, floor)
            if made[0].at < floor and bounds.lateness.contradicts(history.versions[0], made[0].at):
                continue  # it came without notice; whoever reads it reports that
            for live in (None, *BODIES):
                row = Row(NAME, digest(live), "{}") if live else None
                where = (made, floor, live, bounds.lateness)
                pair = Pair(NAME, row, history)
                unsure = may_be_older(pair, floor, bounds.lateness)
                believed = not unsure and listed_equal(pair, floor, bounds.lateness)
                assert live == archived or not believed, where
                yield not believed


def in_turn(newest_first: Sequence[Made], floor: int) -> bool:
    """Whether the changes of one life of the table were written in order, each again any number of
    times after that."""
    made = [each for each in reversed(newest_first) if floor <= each.at]
    ranks = sorted({(each.at, each.sequence) for each in made})
    reached = -1
    for each in made:
        if (number := ranks.index((each.at, each.sequence))) > reached + 1:
            return False
        reached = max(reached, number)
    return True
