"""Scanned rows as the bytes of one object, in order of name, so that the rows of any range of names
can be read without the others.

An object begins with an index: for each block of names, the first byte of its rows (4 bytes, big
endian), and at last the end of the object. A block is all names with the same first digits, as many
digits as `PackedRows.digits` says. The rows follow: name and MD5 of the content (16 bytes each),
the length of the key (2 bytes), and the key as JSON. DynamoDB limits a key to 3 KiB (Amazon
DynamoDB Developer Guide, "Quotas"), which is less than 64 KiB of JSON, however it is escaped.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct, pack, unpack_from
from typing import NamedTuple

from stream_backup.core.record import Record
from stream_backup.core.slice import NameSlice
from stream_backup.verify.compare import Row

ROWS_A_BLOCK = 64
"""Rows of a block at most, as names are spread; fewer than a request has room for."""

MOST_DIGITS = 4
"""Digits of a block at most: its index has 256 KiB then."""

_HEAD = Struct(">16s16sH")

_OFFSET = 4


class ByteRange(NamedTuple):
    """Bytes of an object, from `first` to before `end`."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class PackedRows(Record):
    """An object of rows: the path of the object, how many rows it has, its size in bytes, and how
    many digits the names of a block have in common."""

    path: str
    rows: int
    size: int
    digits: int

    def index(self, part: NameSlice) -> ByteRange:
        """Returns where the index has the blocks that hold what is not done of a slice."""
        first, last = self._blocks(part)
        return ByteRange(_OFFSET * first, _OFFSET * (last + 2))

    def _blocks(self, part: NameSlice) -> tuple[int, int]:
        ends = part.open_ends
        assert ends
        first, last = (int(name[: self.digits] or "0", 16) for name in ends)
        return first, last


def pack_row(row: Row) -> bytes:
    """Returns a row as bytes, which sort by its name."""
    key = row.key.encode()
    return _HEAD.pack(bytes.fromhex(row.name), bytes.fromhex(row.digest), len(key)) + key


def pack_rows(rows: list[bytes], path: str) -> tuple[bytes, PackedRows]:
    """Returns the object of these rows and what it is. Sorts the list."""
    rows.sort()
    digits = 0
    while len(rows) > ROWS_A_BLOCK * 16**digits and digits < MOST_DIGITS:
        digits += 1
    ends, at = [0] * 16**digits, 0
    for row in rows:
        at += len(row)
        ends[_block(row, digits)] = at
    start = _OFFSET * (len(ends) + 1)
    offsets = [start]
    for end in ends:
        offsets.append(max(offsets[-1], start + end))
    body = pack(f">{len(offsets)}I", *offsets) + b"".join(rows)
    return body, PackedRows(path, len(rows), len(body), digits)


def rows_at(index: bytes) -> ByteRange:
    """Returns where the rows are of the blocks of which this is the part of the index."""
    (first,), (end,) = unpack_from(">I", index), unpack_from(">I", index, len(index) - _OFFSET)
    return ByteRange(first, end)


def split_rows(body: bytes) -> Iterator[bytes]:
    """Yields the rows in these bytes."""
    at = 0
    while at < len(body):
        end = at + _HEAD.size + int.from_bytes(body[at + 32 : at + 34])
        yield body[at:end]
        at = end


class SortedRows:
    """Packed rows in memory, of which slices can be read."""

    def __init__(self, rows: Iterable[bytes]) -> None:
        self._rows: Sequence[bytes] = sorted(rows)

    def __len__(self) -> int:
        """Returns how many rows there are."""
        return len(self._rows)

    def within(self, part: NameSlice) -> Iterator[Row]:
        """Yields the rows in a slice that are not done, in order of name."""
        if part.open_ends is None:
            return
        first, last = (bytes.fromhex(name) for name in part.open_ends)
        start = bisect_left(self._rows, first)
        for number in range(start, bisect_right(self._rows, last, lo=start, key=_name)):
            packed = self._rows[number]
            name, digest, _ = _HEAD.unpack_from(packed)
            yield Row(name.hex(), digest.hex(), packed[_HEAD.size :].decode())


def is_open(packed: bytes, part: NameSlice) -> bool:
    """Returns whether a packed row is in a slice and not done."""
    return part.is_open(packed[:16].hex())


def _name(packed: bytes) -> bytes:
    return packed[:16]


def _block(packed: bytes, digits: int) -> int:
    return int.from_bytes(packed[:2]) >> (16 - 4 * digits)
