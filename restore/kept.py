"""What is done of a restore, in a few characters that fit into a tag of the target table: 1,024
blocks of names, each of which is done or not.

A restore is cut into slices that begin and end where blocks do, so that no slice is done in part of
a block, and whoever resumes it repeats no slice that was finished.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from stream_backup.core.slice import DIGITS, NAMES, NameSlice

BLOCKS = 1024
"""Blocks of all names."""

_DIGITS = BLOCKS // 4
"""Hex digits that say which blocks are done: 256, which is the most that the value of a tag holds
(Amazon DynamoDB Developer Guide, "Tagging restrictions")."""

_BLOCK = NAMES // BLOCKS


@dataclass(frozen=True, slots=True)
class DoneBlocks:
    """A set of blocks, as the bits of a number."""

    bits: int = 0

    @classmethod
    def of(cls, text: str) -> "DoneBlocks":
        """Reads the blocks from their text. Anything else means that nothing is done."""
        try:
            return cls(int(text, 16) if len(text) == _DIGITS else 0)
        except ValueError:
            return cls()

    def __str__(self) -> str:
        return f"{self.bits:0{_DIGITS}x}"

    def __len__(self) -> int:
        return self.bits.bit_count()

    def and_of(self, parts: Iterable[NameSlice]) -> "DoneBlocks":
        """Returns these blocks and those that are done of some slices, each of which begins where a
        block does."""
        bits = self.bits
        for part in parts:
            first = int(part.first.ljust(DIGITS, "0"), 16) // _BLOCK
            after = (int(part.after, 16) + 1) // _BLOCK if part.after else first
            bits |= (1 << after) - (1 << first)
        return DoneBlocks(bits)

    @classmethod
    def all_but(cls, left: Iterable[NameSlice]) -> "DoneBlocks":
        """Returns the blocks of which these slices leave no name. They may begin and end
        anywhere."""
        bits = (1 << BLOCKS) - 1
        for part in left:
            if ends := part.open_ends:
                first, last = (int(name, 16) // _BLOCK for name in ends)
                bits &= ~((1 << (last + 1)) - (1 << first))
        return cls(bits)

    def has(self, part: NameSlice) -> bool:
        """Returns whether every block is done that has names which a slice has left."""
        ends = part.open_ends
        if ends is None:
            return True
        first, last = (int(name, 16) // _BLOCK for name in ends)
        return not ((1 << (last + 1)) - (1 << first)) & ~self.bits

    def left(self, parts: int) -> tuple[NameSlice, ...]:
        """Returns what is left, cut where `parts` even slices of all names would be cut: slices
        that are wholly or partly left. `parts` is a power of two, at most BLOCKS."""
        size = BLOCKS // parts
        found = []
        for done, blocks in groupby(
            range(BLOCKS), lambda block: (block // size, bool(self.bits >> block & 1))
        ):
            if not done[1]:
                first, *rest = blocks
                last = [first, *rest][-1]
                found.append(NameSlice(_name(first), _name(last + 1)))
        return tuple(found)


def grid(workers: int) -> int:
    """Returns into how many slices a restore is cut for so many workers: sixteen or more for each,
    which wait for S3 and DynamoDB at different times."""
    return min(16 << (workers - 1).bit_length(), BLOCKS)


def _name(block: int) -> str:
    return "" if block == BLOCKS else f"{block * _BLOCK:0{DIGITS}x}"
