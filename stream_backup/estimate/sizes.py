"""The sizes of a table's items, and what follows: write units, bytes in the archive, page size.

Capacity is charged by the started KB, so the mean size is not sufficient: items of 100 bytes cost
as much as items of 1,000. Therefore a sample of items shows how much rounding adds, and the
table's own size and item count provide the rest. If the sample contains too many or too few large
items, the result changes little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from stream_backup.core.item import Item, Value, encode
from stream_backup.core.key import normal_number

KB = 1024

WIRE = 1.3
"""Bytes of canonical JSON for each byte that DynamoDB counts, without a sample. An assumption."""

LARGEST = 400 * KB
"""Bytes of an item, at most (Amazon DynamoDB Developer Guide, "Service, account, and table
quotas")."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of an item, on average over the table.

    `mean` is the size that DynamoDB charges and `body` the size in the archive, both in bytes.
    `units` are the write units. `spread` is the mean size of the item that a randomly chosen
    byte belongs to. `sampled` is the number of items in the sample.
    """

    mean: float
    body: float
    units: float
    spread: float
    sampled: int = 0

    @classmethod
    def of_mean(cls, mean: float) -> Self:
        """Returns sizes for a mean size in bytes, if nothing else is known.

        It is assumed that sizes are distributed evenly within a KB. An item costs at least one
        write unit.
        """
        return cls(mean, mean * WIRE, max(1.0, mean / KB + 0.5), mean)

    @classmethod
    def of_sample(cls, items: Sequence[Item], mean: float | None = None) -> Self:
        """Returns sizes for a sample of at least one item.

        `mean` is the mean size of all items in bytes, if known.
        """
        sizes = [item_size(item) for item in items]
        sample_mean = sum(sizes) / len(sizes)
        mean = sample_mean if mean is None else mean
        rounding = sum(ceil(size / KB) for size in sizes) / len(sizes) - sample_mean / KB
        wire = sum(len(encode(item)) for item in items) / len(items) - sample_mean
        spread = sum(size**2 for size in sizes) / sum(sizes)
        units = max(1.0, mean / KB + rounding)
        return cls(mean, max(1.0, mean + wire), units, min(max(spread, mean), LARGEST), len(items))


def item_size(item: Item) -> int:
    """Returns the bytes that DynamoDB charges for an item (Amazon DynamoDB Developer Guide,
    "DynamoDB item sizes and formats")."""
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
            return 3 + sum(
                len(name.encode()) + _value_size(inner) + 1 for name, inner in content.items()
            )
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
    # pairs of digits are on either side of the decimal point
    digits = "0" * (len(whole) % 2) + whole + fraction + "0" * (len(fraction) % 2)
    pairs = [digits[start : start + 2] for start in range(0, len(digits), 2)]
    significant = "".join("." if pair == "00" else "x" for pair in pairs).strip(".")
    return 1 + len(significant) + plain.startswith("-")


def _binary_size(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=")
