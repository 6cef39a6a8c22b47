"""How large the items of a table are, and what follows from it: write units, bytes in the archive, items on a page.

Capacity is charged by the started KB, so a mean does not say it: items of 100 bytes cost as much as items of 1,000. What
rounding up adds is therefore taken from a sample of items, and the rest from the table's own bytes and count: a few large
items that a sample misses or meets by chance then change little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from stream_backup.item import Item, Value, encode
from stream_backup.key import normal_number

KB = 1024

WIRE = 1.3
"""Bytes of canonical JSON for each byte DynamoDB counts, where no sample says it. An assumption."""

LARGEST = 400 * KB
"""Bytes of an item, at most (Amazon DynamoDB Developer Guide, "Service, account, and table quotas")."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of an item on average: bytes as DynamoDB counts them, bytes as the archive stores it, write units. `spread` is the
    size of the item that a byte chosen by chance lies in; `sampled` is the number of items looked at."""

    mean: float
    body: float
    units: float
    spread: float
    sampled: int = 0

    @classmethod
    def of_mean(cls, mean: float) -> Self:
        """Nothing but a mean is known: items end anywhere within their last KB, and none takes less than one unit."""
        return cls(mean, mean * WIRE, max(1.0, mean / KB + 0.5), mean)

    @classmethod
    def of_sample(cls, items: Sequence[Item], mean: float | None = None) -> Self:
        """From some items, one at least, and the `mean` of all where it is known."""
        sizes = [item_size(item) for item in items]
        seen = sum(sizes) / len(sizes)
        mean = seen if mean is None else mean
        rounding = sum(ceil(size / KB) for size in sizes) / len(sizes) - seen / KB
        wire = sum(len(encode(item)) for item in items) / len(items) - seen
        spread = sum(size**2 for size in sizes) / sum(sizes)
        units = max(1.0, mean / KB + rounding)
        return cls(mean, max(1.0, mean + wire), units, min(max(spread, mean), LARGEST), len(items))


def item_size(item: Item) -> int:
    """Bytes by which DynamoDB charges (Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Value) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_size(content)
        case "B":
            return _binary_size(content)
        case "M":
            return 3 + sum(len(name.encode()) + _value_size(inner) + 1 for name, inner in content.items())
        case "L":
            return 3 + sum(_value_size(inner) + 1 for inner in content)
        case "SS":
            return sum(len(member.encode()) for member in content)
        case "NS":
            return sum(map(_number_size, content))
        case "BS":
            return sum(map(_binary_size, content))
    return 1  # BOOL, NULL


def _number_size(text: str) -> int:
    """One byte for two significant digits, and one more; a sign takes one too."""
    plain = normal_number(text)
    whole, _, fraction = plain.lstrip("-").partition(".")
    digits = "0" * (len(whole) % 2) + whole + fraction + "0" * (len(fraction) % 2)  # pairs lie on either side of the point
    pairs = [digits[start : start + 2] for start in range(0, len(digits), 2)]
    significant = "".join("." if pair == "00" else "x" for pair in pairs).strip(".")
    return 1 + len(significant) + plain.startswith("-")


def _binary_size(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=")
