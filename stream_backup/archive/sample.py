"""A part of an archive: the items whose names are in a window of each slice.

A name is the MD5 of a key, so a window has a fair part of the items, whatever their keys are. It is
a window of names and not a number of items, so that it has the same items whenever it is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from threading import Event
from typing import NamedTuple

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.slices import SLICES, run_slices

_DIGITS = 7
"""Digits of a name after the first that the ends of a window are chosen by."""

_START = 3
"""Digits after the first by which an item is looked for where a window begins."""

_END = "g"
"""It sorts after every digit of a name."""


class NameWindow(NamedTuple):
    """The names of one slice from `first` to `last`, both included. Where `last` sorts before
    `first`, the window goes on at the beginning of the slice. `first` is the name of an item, or
    empty."""

    first: str
    last: str

    def holds(self, name: str) -> bool:
        """Returns whether a name of this slice is in the window."""
        if self.first <= self.last:
            return self.first <= name <= self.last
        return name <= self.last or name >= self.first

    def pieces(self) -> tuple["NameWindow", ...]:
        """Returns the window in pieces that do not go on at the beginning, in order of name."""
        if self.first <= self.last:
            return (self,)
        return NameWindow("", self.last), NameWindow(self.first, self.last[:1] + _END)


class Sample(Archive):
    """The archive `whole` with only the items in `windows`, by slice. Its catalog is the same."""

    def __init__(self, whole: Archive, windows: Mapping[str, NameWindow]) -> None:
        self.store, self.table, self.schema = whole.store, whole.table, whole.schema
        self.root, self.meta, self.announcer = whole.root, whole.meta, whole.announcer
        self.windows = windows

    def histories(
        self,
        shard: str = "",
        *,
        after: str = "",
        markers: bool = False,
        strangers: Callable[[History], None] = lambda _: None,
    ) -> Iterator[History]:
        """Yields the histories in the windows whose name begins with `shard`, like Archive."""
        if len(shard) > 1:
            window = self.windows.get(shard[0])
            for history in super().histories(
                shard, after=after, markers=markers, strangers=strangers
            ):
                if window and window.holds(history.name):
                    yield history
            return
        for digit in shard or SLICES:
            if digit in self.windows:
                for piece in self.windows[digit].pieces():
                    yield from self._piece(digit, piece, after, markers, strangers)

    def _piece(
        self,
        digit: str,
        piece: NameWindow,
        after: str,
        markers: bool,
        strangers: Callable[[History], None],
    ) -> Iterator[History]:
        if piece.first > after:
            yield from super().histories(piece.first, markers=markers, strangers=strangers)
        begin = max(after, piece.first)
        for history in super().histories(digit, after=begin, markers=markers, strangers=strangers):
            if history.name > piece.last:
                return
            if history.name > begin:  # some servers repeat the name after which they begin
                yield history


def share(whole: Archive, part: float, random: Random, stop: Event) -> Archive:
    """Returns the part of an archive that is this share (0 to 1) of the names."""
    if part >= 1:
        return whole
    wanted, size = _near(random), 16**_DIGITS

    def window(digit: str) -> NameWindow | None:
        first = _start(whole, digit, wanted)
        if not first:
            return None
        last = (int(first[1 : 1 + _DIGITS], 16) + max(1, round(part * size))) % size
        return NameWindow(first, f"{digit}{last:0{_DIGITS}x}")

    return _sample(whole, SLICES, window, stop)


def some(whole: Archive, count: int, random: Random, stop: Event) -> Archive:
    """Returns the part of an archive that has `count` items, as evenly from all slices as that is
    possible; fewer where a slice has fewer."""
    each, more = divmod(count, len(SLICES))
    larger = set(random.sample(SLICES, more))
    wanted = _near(random)
    sizes = {digit: each + (digit in larger) for digit in SLICES}

    def window(digit: str) -> NameWindow | None:
        first, left = _start(whole, digit, wanted), sizes[digit] - 1
        if not first or not left:
            return NameWindow(first, first) if first else None
        for begin, end in ((first, digit + _END), ("", first)):
            for history in whole.histories(digit, after=begin):
                if history.name >= end or stop.is_set():
                    break
                left -= history.name != begin
                if not left:
                    return NameWindow(first, history.name)
        return NameWindow("", digit + _END)

    return _sample(whole, [digit for digit in SLICES if sizes[digit]], window, stop)


def _near(random: Random) -> str:
    return f"{random.randrange(16**_START):0{_START}x}"


def _start(whole: Archive, digit: str, wanted: str) -> str:
    """Returns the name of an item near this place in a slice, "" where the slice has none. A
    listing can begin after it: not every server can begin after a name that does not exist."""
    for length in range(_START, -1, -1):
        if found := next(iter(whole.histories(digit + wanted[:length])), None):
            return found.name
    return ""


def _sample(
    whole: Archive, slices: Sequence[str], window: Callable[[str], NameWindow | None], stop: Event
) -> Sample:
    found = zip(slices, run_slices(window, slices, stop), strict=True)
    return Sample(whole, {digit: each for digit, each in found if each})
