"""A part of an archive as data: ranges of names. A name is the MD5 of a key, so ranges have a fair
part of the items, and they are the same items whoever reads them, on whatever machine."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.slices import SLICES
from stream_backup.core.slice import NameSlice

_LENGTH, _MOST_DIGITS = 8, 4
"""How many places a range has at least, and digits of a place after the first at most. The fewer
digits, the fewer prefixes have all names of a range and no others: each is listed by itself."""


class Ranges(Archive):
    """The archive `whole` with only the items whose names are in these `ranges`, which are in
    order. Its catalog is the same. It lists only prefixes of these names."""

    def __init__(self, whole: Archive, ranges: Sequence[NameSlice]) -> None:
        self.store, self.table, self.schema = whole.store, whole.table, whole.schema
        self.root, self.meta, self.announcer = whole.root, whole.meta, whole.announcer
        self._prefixes = tuple(prefix for each in ranges for prefix in each.prefixes())

    def histories(
        self,
        shard: str = "",
        *,
        after: str = "",
        markers: bool = False,
        strangers: Callable[[History], None] = lambda _: None,
    ) -> Iterator[History]:
        """Yields the histories in the ranges whose name begins with `shard`, like Archive."""
        for prefix in self._prefixes:
            inside = prefix.startswith(shard)
            if not inside and not shard.startswith(prefix):
                continue
            part = prefix if inside else shard
            if after[: len(part)] > part:
                continue
            begin = after if after.startswith(part) else ""
            yield from super().histories(part, after=begin, markers=markers, strangers=strangers)


def ranges_of(share: float, random: Random) -> tuple[NameSlice, ...]:
    """Returns random ranges that have about this share (0 to 1) of all names, in order: one for
    each first digit, or two where it goes on at the beginning of its digit."""
    digits = 1
    while share * 16**digits < _LENGTH and digits < _MOST_DIGITS:
        digits += 1
    size = 16**digits
    length, first = max(1, round(share * size)), random.randrange(size)
    if length >= size:
        return (NameSlice(),)
    end = first + length
    pieces = [(first, end)] if end <= size else [(0, end - size), (first, size)]
    return tuple(
        NameSlice(_name(place * size + begin, digits), _name(place * size + stop, digits))
        for place in range(len(SLICES))
        for begin, stop in pieces
    )


def _name(number: int, digits: int) -> str:
    """How names begin from this place on, out of 16 times 16**digits; empty for the end of all."""
    return "" if number == 16 ** (digits + 1) else f"{number:0{digits + 1}x}"
