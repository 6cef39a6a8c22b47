"""Into which parts a worker divides its slice of names. It does some of them at once, in order, so
that it can say with one name how far the slice is done.

A part has all names of one prefix, because each prefix takes a listing of its own. Parts of any
other size would be several prefixes each, and their listings would take longer than their items
where a listing takes long.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Self

from stream_backup.core.slice import NAMES, NameSlice

AT_ONCE = 16
"""Parts that a worker does at once: each waits for S3 and DynamoDB at another time."""

WAVE = 4 * AT_ONCE
"""Parts of a wave, once their size is right. A wave ends when all of its parts have."""

FIRST_PARTS = 1024
"""A worker that does not know how many rows there are begins with parts of which its slice has so
many, or more."""

LONGEST = 30.0
"""Seconds that a part is to take at most: of the parts under way when the time of a worker is over,
only the first counts."""

PAGE = 1000
"""Versions of a page of a listing. A part takes at least one request."""

FEW = PAGE / 16
"""Versions of a part below which its size, which changes by a factor of 16, is rather larger."""


@dataclass(slots=True)
class Parts:
    """The next wave has `number` parts of at most `size` names, which is a power of 16."""

    size: int
    number: int = AT_ONCE

    @classmethod
    def of(cls, piece: NameSlice, rows: int = 0, rate: float | None = None) -> Self:
        """Returns the first parts of a slice of a table that has about so many rows, 0 where that
        is unknown. A worker may write `rate` rows a second, None for no limit."""
        most = min(PAGE, rate * LONGEST / AT_ONCE) if rate else PAGE
        share = min(most / rows, piece.left / AT_ONCE) if rows else piece.left / FIRST_PARTS
        size = 1
        while size * 16 <= share * NAMES:
            size *= 16
        return cls(min(size, NAMES))

    def wave(self, piece: NameSlice) -> tuple[NameSlice, ...]:
        """Returns the next parts of what is left of a slice."""
        return tuple(islice(piece.blocks(self.size), self.number))

    def learn(self, parts: int, versions: int, seconds: float) -> None:
        """Decides about the next wave: the last one had so many parts, with so many versions in
        all, and took so many seconds. A part with few versions takes as long as a listing does, so
        a smaller one would take as long."""
        took, few = seconds * AT_ONCE / max(parts, AT_ONCE), versions < FEW * parts
        before = self.size
        if took > LONGEST and not few:
            self.size = max(1, self.size // 16)
        elif took < LONGEST and few:
            self.size = min(NAMES, self.size * 16)
        self.number = WAVE if self.size == before else AT_ONCE
