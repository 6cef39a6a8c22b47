"""A slice: a part of the work on a table, as data. A thread, a process and a worker of a
distributed run are given the same slice, do as much of it as their time allows, and return it as it
is then.

A `NameSlice` is a range of the names of an archive. A name is 32 lowercase hex digits, and MD5
spreads the items evenly over the names, so even ranges have about as many items each. A `ScanSlice`
is one segment of a parallel scan of a table.

Both are frozen values with a `record` for JSON, which `slice_of` reads again. A slice knows how far
it is done, so a new value replaces the old one: whoever does a piece of a slice must not repeat
what the slice says is done, and may repeat anything after it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from stream_backup.core.item import Item
from stream_backup.core.record import Record

DIGITS = 32
"""Hex digits in a name."""

NAMES: int = 16**DIGITS
"""How many names there are."""

_EVEN = 4
"""The ends of parts are rounded to a quarter of a part, so that they have few digits: a listing
takes at least one request for each prefix of a slice."""


@dataclass(frozen=True, slots=True)
class NameSlice(Record):
    """The names from `first` to before `end`, by the order of text: of `first="2a"` and `end="3"`,
    `2a00…` is the first name and `2fff…` the last. An empty `first` is the first of all names, and
    an empty `end` comes after the last of all. Zeros at their ends are left out, so equal ranges
    are equal values. `after` is the name up to which, itself included, everything is done; empty
    where nothing is.

    Raises ValueError for anything else than lowercase hex digits, for a range without names, and
    for an `after` that is not a whole name of the range.
    """

    first: str = ""
    end: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        for text in (self.first, self.end):
            if not re.fullmatch(f"[0-9a-f]{{0,{DIGITS}}}", text):
                raise ValueError(f"{text!r} does not consist of at most {DIGITS} hex digits")
        if self.end and self._begin >= self._stop:
            raise ValueError(f"no name is between {self.first!r} and {self.end!r}")
        object.__setattr__(self, "first", self.first.rstrip("0"))
        object.__setattr__(self, "end", self.end.rstrip("0"))
        if self.after and not (re.fullmatch("[0-9a-f]{32}", self.after) and self.holds(self.after)):
            raise ValueError(f"{self.after!r} is not a name of the slice")

    @property
    def _begin(self) -> int:
        return int(self.first.ljust(DIGITS, "0"), 16)

    @property
    def _stop(self) -> int:
        return int(self.end.ljust(DIGITS, "0"), 16) if self.end else NAMES

    @property
    def _open(self) -> int:
        """The first name that is not done."""
        return int(self.after, 16) + 1 if self.after else self._begin

    @property
    def range(self) -> tuple[str, str]:
        """Which slice this is, however far it is done: `first` and `end`. Slices sort by it."""
        return self.first, self.end

    @property
    def done(self) -> bool:
        """Whether no name is left."""
        return self._open >= self._stop

    @property
    def size(self) -> float:
        """The share of all names (0 to 1) that are in the slice."""
        return (self._stop - self._begin) / NAMES

    @property
    def left(self) -> float:
        """The share of all names (0 to 1) that are in the slice and not done."""
        return (self._stop - self._open) / NAMES

    @property
    def open_ends(self) -> tuple[str, str] | None:
        """The first and the last name that are not done, both whole; None where no name is left."""
        return None if self.done else (_name(self._open), _name(self._stop - 1))

    def holds(self, name: str) -> bool:
        """Returns whether a name is in the range of the slice, be it done or not."""
        return self.first <= name and (not self.end or name < self.end)

    def is_open(self, name: str) -> bool:
        """Returns whether a name is in the slice and not done."""
        return self.holds(name) and name > self.after

    def reached(self, name: str) -> Self:
        """Returns the slice as it is when everything up to `name`, itself included, is done. What
        was done stays done. Raises ValueError when the name is not in the slice."""
        return replace(self, after=max(name, self.after))

    def finished(self) -> Self:
        """Returns the slice as it is when no name is left."""
        return replace(self, after=_name(self._stop - 1))

    def further(self, other: Self) -> Self:
        """Returns which of two states of this slice is done further: after a retry, a worker may
        report less than another has reported before. Raises ValueError for another slice."""
        if self.range != other.range:
            raise ValueError(f"{other.range} is another slice than {self.range}")
        return max(self, other, key=lambda each: each.after)

    def prefixes(self) -> Iterator[str]:
        """Yields the fewest prefixes of names that together hold the names of the slice and no
        others, in order, without those whose names are all done. The first may hold names that are
        done (`after` says which)."""
        for begin, size in self._blocks(NAMES):
            yield _name(begin)[: DIGITS - (len(f"{size:x}") - 1)]

    def blocks(self, most: int) -> Iterator[Self]:
        """Yields the slice in parts, in order, without those whose names are all done. Each has all
        names of one prefix, at most `most` of them, which is a power of 16, so that it takes one
        listing. The first part keeps what is done of it."""
        for begin, size in self._blocks(most):
            after = self.after if begin < self._open else ""
            end = _name(begin + size) if begin + size < NAMES else ""
            yield replace(self, first=_name(begin), end=end, after=after)

    def _blocks(self, most: int) -> Iterator[tuple[int, int]]:
        """Yields the first name and the number of names of the fewest prefixes of at most `most`
        names that have a name that is not done."""
        begin, stop = max(self._begin, self._open - self._open % most), self._stop
        while begin < stop:
            size = most
            while begin % size or begin + size > stop:
                size //= 16
            if begin + size > self._open:
                yield begin, size
            begin += size

    def split(self, parts: int) -> tuple[Self, ...]:
        """Returns the slice in so many parts, in order, with about as many names left in each;
        fewer where it has fewer names left, and itself where it is done. The first part keeps what
        is done. Together they have every name of the slice once, and what is done of it is done of
        them: doing all parts is doing the slice."""
        left = self._stop - self._open
        parts = min(parts, left)
        if parts < 2:
            return (self,)
        unit = next(
            (16**power for power in range(DIGITS - 1, 0, -1) if 16**power * _EVEN * parts <= left),
            1,
        )
        even = (self._open + number * left // parts for number in range(1, parts))
        ends = [_name((2 * end + unit) // (2 * unit) * unit) for end in even]
        firsts = [self.first, *ends]
        afters = [self.after] + [""] * len(ends)
        bounds = zip(firsts, [*ends, self.end], afters, strict=True)
        return tuple(
            replace(self, first=first, end=end, after=after) for first, end, after in bounds
        )


@dataclass(frozen=True, slots=True)
class ScanSlice(Record):
    """Segment `segment` of `total` of a parallel scan (Amazon DynamoDB Developer Guide, "Parallel
    scan"). `next` is the key to scan on from (the ExclusiveStartKey), None where nothing was read
    yet, or where `done` says that nothing is left. Raises ValueError for a segment that does not
    exist."""

    segment: int
    total: int
    next: Item | None = None
    done: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.segment < self.total:
            raise ValueError(f"there is no segment {self.segment} of {self.total}")
        if self.done and self.next is not None:
            raise ValueError("a segment that is done has no next key")

    @property
    def range(self) -> tuple[int, int]:
        """Which slice this is, however far it is done. Slices sort by it."""
        return self.total, self.segment

    @property
    def size(self) -> float:
        """The share of the table (0 to 1) that is in the segment, which is about even."""
        return 1 / self.total

    @property
    def left(self) -> float:
        """The share of the table (0 to 1) that is in the segment, unless it is done: DynamoDB does
        not say how far a scan has come."""
        return 0.0 if self.done else self.size

    def reached(self, following: Item | None) -> Self:
        """Returns the slice after a page: `following` is the page's LastEvaluatedKey, None at the
        end of the segment."""
        return replace(self, next=following, done=following is None)

    def finished(self) -> Self:
        """Returns the slice as it is when nothing is left."""
        return self.reached(None)

    def split(self, parts: int) -> tuple[Self, ...]:  # noqa: ARG002 - as a NameSlice has it
        """Returns the slice itself: AWS documents no way to divide a segment, so a scan that is to
        be even has more segments from the start."""
        return (self,)


Slice = NameSlice | ScanSlice


def slice_of(record: Mapping[str, Any]) -> Slice:
    """Reads a slice of either kind from its JSON object. Raises KeyError, TypeError or ValueError
    when the object is none."""
    return ScanSlice.of(record) if "segment" in record else NameSlice.of(record)


def cut_names(parts: int) -> tuple[NameSlice, ...]:
    """Returns all names in so many even slices, in order. A power of 16 gives slices of one prefix
    each, which take the fewest listings."""
    return NameSlice().split(parts)


def cut_scan(segments: int) -> tuple[ScanSlice, ...]:
    """Returns the segments of a scan of a whole table, none of them begun."""
    return tuple(ScanSlice(number, segments) for number in range(segments))


def cover_once(parts: Iterable[NameSlice], whole: NameSlice | None = None) -> bool:
    """Returns whether these slices have every name of `whole` (by default every name) once and no
    others, in whatever order they are given."""
    whole = whole or NameSlice()
    ranges = sorted(part.range for part in parts)
    firsts, ends = [first for first, _ in ranges], [end for _, end in ranges]
    return bool(ranges) and [*firsts, whole.end] == [whole.first, *ends]


def _name(number: int) -> str:
    return f"{number:0{DIGITS}x}"
