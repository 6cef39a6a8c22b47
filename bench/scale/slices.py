"""The slices of a table, in groups of the same size."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf
from statistics import NormalDist

SPREAD = 0.5
"""Standard deviation of the logarithm of a scan segment's size. An assumption: DynamoDB divides a
scan by the hashes of partition keys, and some partition keys have many rows."""

CLASSES = 10
"""Sizes of uneven slices."""

_STRIDE = 3
"""Slices come in the order of no size: each class of sizes is so many classes after the last."""


@dataclass(slots=True)
class Group:
    """`count` slices with `rows` rows left in each. Their workers work from `ready`, and their
    calls end at `ends`, in seconds from the start of the job."""

    count: int
    rows: float
    ready: float = 0.0
    ends: float = inf


def sizes(rows: float, slices: int, *, uneven: bool) -> Iterator[Group]:
    """Yields groups of slices that hold `rows` rows together."""
    classes = min(slices, CLASSES) if uneven else 1
    bell = NormalDist(0, SPREAD)
    weights = [
        exp(bell.inv_cdf((number + 0.5) / classes)) if uneven else 1.0 for number in range(classes)
    ]
    counts = [
        slices * (number + 1) // classes - slices * number // classes for number in range(classes)
    ]
    whole = sum(weight * count for weight, count in zip(weights, counts, strict=True))
    for number in range(classes):
        place = number * _STRIDE % classes if classes == CLASSES else number
        yield Group(counts[place], rows * weights[place] / whole)
