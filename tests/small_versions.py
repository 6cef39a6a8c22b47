"""All small histories of one item, at every moment, compared with a reading of every version.

The margins of the rule of time are shrunk to a second or none, so that a grid of a few seconds has
every relation between stamps, times of writing, floor, moment, and announcements, equality
included. What honest writers can produce must give the reference's answer. Anything else must give
it too, or an error, where a stamp that was read contradicts its bound.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, permutations, product
from math import comb
from typing import NamedTuple

import pytest

from stream_backup.core import time_rule
from stream_backup.core.as_of import item_at
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import NEVER, Lateness, is_ahead
from stream_backup.core.version import Version
from stream_backup.errors import LatenessError, StampError

NAME = "0" * 32


class Margins(NamedTuple):
    """What the constants of the rule of time are replaced with."""

    skew: int = 0
    normal: int = 0
    late: int = 1
    hour: int = 3


@contextmanager
def shrunk(margins: Margins) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_rule, "SKEW", margins.skew)
        patch.setattr(time_rule, "NORMAL", margins.normal)
        patch.setattr(time_rule, "LATE", margins.late)
        patch.setattr(time_rule, "HOUR", margins.hour)
        patch.setattr(time_rule, "MARGIN", 0)
        yield


class Made(NamedTuple):
    """A version: what happened, when it was written, and whether it has the mark."""

    at: int
    sequence: int
    seen: int
    removed: bool
    written: int
    marked: bool = True

    @property
    def kind(self) -> Kind:
        return "remove" if self.removed else "modify" if self.sequence else "scan"

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.at, self.sequence, self.seen, self.kind, announced=self.marked)

    def version(self, name: int) -> Version:
        size = 0 if self.removed else 9
        return Version(f"T/{NAME}", str(name), self.written, size, "" if self.removed else "e")


def reference(made: Sequence[Made], moment: int, floor: int) -> tuple[int, int] | None:
    """The definition: the rank of the highest-ranked version with `floor ≤ at` and `seen ≤ moment`,
    None where that is a tombstone, or where there is none."""
    counting = [each for each in made if floor <= each.at and each.seen <= moment]
    best = max(counting, key=lambda each: (each.at, each.sequence), default=None)
    return None if best is None or best.removed else (best.at, best.sequence)


class Bounds:
    """The bounds of docs/format.md, in its words, for margins and what is on record."""

    def __init__(self, margins: Margins, lateness: Lateness) -> None:
        self.margins, self.lateness = margins, lateness
        most = max([lateness.redriven, *lateness.announced.values()])
        self.wide = margins.skew + margins.late + most

    def unknown(self, made: Made) -> bool:
        """Nothing is known about what was written when the announcements were listed, or later."""
        return made.written >= self.lateness.listed - self.margins.skew

    def narrow(self, made: Made) -> int:
        """How much later than its stamp a version of a writer that announces may be."""
        skew, hour = self.margins.skew, self.margins.hour
        hours = {(made.written - skew) // hour * hour, (made.written + skew) // hour * hour}
        announced = [self.lateness.announced.get(each, 0) for each in hours]
        return skew + max(self.margins.normal, *announced)

    def contradicts(self, made: Made) -> bool:
        """A version of a stream that announces has the mark and is not later than announced."""
        if not self.lateness.announces:
            return False
        late = made.written - made.at > self.narrow(made)
        return not made.marked or (late and not self.unknown(made))

    def possible(self, made: Made) -> bool:
        """Whether any release can have written it then."""
        early = made.at - made.written > self.margins.skew + 1
        return not early and (self.unknown(made) or made.written - made.at <= self.wide)

    def honest(self, made: Made, floor: int) -> bool:
        return self.possible(made) and (made.at < floor or not self.contradicts(made))


@dataclass(frozen=True)
class Grid:
    """The versions to choose from: stamped in `seconds`, with these sequences and lengths of scans,
    written so much later, and with the mark or without; and what is on record about them. The
    moments and floors are all seconds, or with `edges` those next to a bound of a version."""

    margins: Margins
    lateness: Sequence[Lateness]
    seconds: Sequence[int] = range(4)
    later: Sequence[int] = range(-1, 2)
    sequences: range = range(1, 3)
    scans: Sequence[int] = (1,)
    marks: Sequence[bool] = (True,)
    edges: bool = False

    def choices(self) -> list[Made]:
        changes = product(self.seconds, self.sequences, (False, True), self.later, self.marks)
        scans = product(self.seconds, self.scans, self.later, self.marks)
        return [
            *(Made(at, number, at, gone, at + by, mark) for at, number, gone, by, mark in changes),
            *(Made(at, 0, at + took, False, at + by, mark) for at, took, by, mark in scans),
        ]


def multiset(index: int, choices: int, size: int) -> list[int]:
    """Returns the multiset of this index among those of `size` of so many choices."""
    found = []
    top = choices + size - 1
    for left in range(size, 0, -1):
        top -= 1
        while comb(top, left) > index:
            top -= 1
        index -= comb(top, left)
        found.append(top - left + 1)
    return found


def is_first_of_its_kind(made: Sequence[Made]) -> bool:
    """Whether no other arrangement is the same but for the names of sequences, and whether a change
    that was written twice is the same change."""
    for _, group in groupby(sorted(made), key=lambda each: each.at):
        numbers: dict[int, bool] = {}
        for each in group:
            if each.sequence and numbers.setdefault(each.sequence, each.removed) != each.removed:
                return False
        if numbers and max(numbers) != len(numbers):
            return False
    return True


def orders(made: Sequence[Made]) -> Iterator[list[Made]]:
    """Yields the arrangement in every order in which a bucket can list it: what was written in one
    second may be listed in any order."""
    newest_first = sorted(made, key=lambda each: each.written, reverse=True)
    groups = (list(group) for _, group in groupby(newest_first, key=lambda each: each.written))
    for parts in product(*({*permutations(group)} for group in groups)):
        yield [each for part in parts for each in part]


class Counts(NamedTuple):
    """How many questions were asked, of which so many raised an error, and how many versions were
    read for them."""

    cases: int = 0
    errors: int = 0
    reads: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))


class Versions:
    """The space of all sets of `size` versions of a grid, each at every moment of every epoch."""

    def __init__(self, grid: Grid, size: int) -> None:
        self.grid, self.sized, self.choices = grid, size, grid.choices()
        self.size = comb(len(self.choices) + size - 1, size)
        with shrunk(grid.margins):  # what is on record is widened by the margins when it is made
            self.bounds = [Bounds(grid.margins, replace(lateness)) for lateness in grid.lateness]
        self.floors: Sequence[int] = [NEVER, *range(1, grid.seconds[-1] + 1)]
        until = grid.seconds[-1] + max(grid.later) + grid.margins.skew + 1
        self.moments: Sequence[int] = range(until + 1)

    def check(self, index: int) -> Counts:
        made = [self.choices[each] for each in multiset(index, len(self.choices), self.sized)]
        counts = Counts()
        if min(each.at for each in made) != self.grid.seconds[0]:
            return counts  # the same as one that begins earlier, but for the hours
        if not is_first_of_its_kind(made):
            return counts
        if self.grid.edges:
            self.floors, self.moments = self._edges(made)
        with shrunk(self.grid.margins):
            for listed in orders(made):
                counts = counts.plus(self._check(listed))
        return counts

    def _edges(self, made: Sequence[Made]) -> tuple[list[int], list[int]]:
        skew, normal, late, _ = self.grid.margins
        bounds = [skew + normal, skew + late]
        latest = {each.written + 1 + skew for each in made}
        earliest = {each.written - bound for each in made for bound in bounds}
        floors = {edge + by for edge in {each.at for each in made} | latest for by in (0, 1)}
        floors |= {each.written - bounds[1] + by for each in made for by in (0, 1)}
        seen = {each.seen for each in made} | latest | earliest
        return [NEVER, *sorted(floors)], sorted(edge + by for edge in seen for by in (-1, 0))

    def _check(self, made: Sequence[Made]) -> Counts:
        versions = [each.version(name) for name, each in enumerate(made)]
        stamps = [Held(each.stamp) for each in made]
        cases = errors = total = 0
        reads: list[int] = []

        def read(version: Version) -> Held:
            reads.append(int(version.version_id))
            return stamps[int(version.version_id)]

        for floor, bounds in product(self.floors, self.bounds):
            lateness = bounds.lateness
            honest = all(bounds.honest(each, floor) for each in made)
            doubtful = {
                number
                for number, each in enumerate(made)
                if floor <= each.at and bounds.contradicts(each)
            }
            for moment in self.moments:
                cases += 1
                reads.clear()
                where = (made, floor, moment, lateness, bounds.margins)
                error = False
                try:
                    found = item_at(versions, moment, floor, read, lateness)
                except LatenessError:
                    error = True
                    errors += 1
                except StampError:
                    errors += 1
                    total += len(reads)
                    assert any(is_ahead(versions[each], made[each].at) for each in reads), where
                    continue
                total += len(reads)
                assert error == (not doubtful.isdisjoint(reads)), where
                assert len({*reads}) == len(reads), where
                if honest and not error:
                    rank = found and found.stamp.kind != "remove" and found.stamp.rank
                    expected = reference(made, moment, floor)
                    assert (rank or None) == expected, (rank, expected, where)
        return Counts(cases, errors, total)


class Held(NamedTuple):
    stamp: Stamp
