"""Every small case: spaces of cases that are checked one by one, in `make test` as a whole where
they are small, and in the soak for a time (`run`).

A case has a number. The soak visits the numbers of a space in an order that a seed chooses, each
once, so that a run of any length sees other cases than the last.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from math import gcd
from random import Random
from typing import Protocol

from stream_backup.core.time_rule import FOREVER, HOUR, LATE, NORMAL, SKEW, Lateness
from tests.small_lives import Life, Lives
from tests.small_readers import Listings, Placing, Rewinds, Windows
from tests.small_rows import (
    CHOICES,
    COUNTERS,
    FEW,
    MORE_ROWS,
    NUMBERS,
    ROWS,
    VALUES,
    Undos,
    attributes,
)
from tests.small_versions import Counts, Grid, Margins, Versions

SLICE = 2.0
"""Seconds for which the soak stays with one space."""


class Space(Protocol):
    """So many cases, by number."""

    size: int

    def check(self, index: int) -> Counts:
        """Checks one case. Raises AssertionError."""


def announcing(announced: dict[int, int], listed: int = FOREVER) -> Lateness:
    return Lateness(announced, listed, announces=True)


NONE = Margins(0, 0, 1, 3)
ONE = Margins(1, 0, 1, 3)
MORE = Margins(1, 1, 2, 3)
REAL = Margins(SKEW, NORMAL, LATE, HOUR)

PLAIN = Grid(NONE, [Lateness(), announcing({3: 1}, listed=4)])
TWO = Grid(
    ONE,
    [
        Lateness(),
        Lateness(listed=4),
        announcing({}),
        announcing({}, listed=3),
        announcing({3: 2}, listed=4),
    ],
    seconds=range(3),
    later=range(-3, 4),
)
MARKED = Grid(
    MORE,
    [Lateness(), Lateness({0: 1}, redriven=2), announcing({0: 2, 3: 1}, listed=4)],
    seconds=range(2),
    later=range(-3, 5),
    marks=(True, False),
)
EDGES = Grid(
    REAL,
    [Lateness(), announcing({})],
    seconds=(0, SKEW, SKEW + 1, SKEW + 2),
    later=(-SKEW - 1, 0, NORMAL + SKEW, NORMAL + SKEW + 1, SKEW + LATE),
    scans=(),
    edges=True,
)
PROMPT = Grid(
    NONE,
    [announcing({})],
    later=range(-1, 1),
    scans=(),
)

NEW = (Life.enable,)
COVERED = (*NEW, Life.run, Life.read)
SECOND = (*COVERED, Life.disable, *COVERED)
RACED = (Life.race, Life.run, Life.read, Life.expire)
EXPIRING = (*SECOND, Life.expire, Life.quiet, Life.walk)

SMALL: dict[str, Callable[[], Space]] = {
    "one version": lambda: Versions(MARKED, 1),
    "two versions": lambda: Versions(TWO, 2),
    "two versions, marked or not": lambda: Versions(MARKED, 2),
    "two versions, real margins": lambda: Versions(EDGES, 2),
    "three versions": lambda: Versions(PLAIN, 3),
    "rewinds": lambda: Rewinds(PLAIN, 2),
    "windows": lambda: Windows(PLAIN, 2),
    "timelines": lambda: Placing(PLAIN, 2),
    "timelines of three versions": lambda: Placing(PROMPT, 3),
    "listings": lambda: Listings(PLAIN, 3),
    "undo after two changes": lambda: Undos(attributes(FEW), 2, CHOICES[:1]),
    "undo of a row": lambda: Undos(ROWS, 1, CHOICES[:1]),
    "undo of paths": lambda: Undos(MORE_ROWS, 0, CHOICES[1:]),
    "undo of a counter": lambda: Undos(NUMBERS, 1, COUNTERS),
    "lives": lambda: Lives(NEW, 2),
    "covered lives": lambda: Lives(COVERED, 3),
    "covered lives with retention": lambda: Lives((*COVERED, Life.expire), 2),
    "lives that began while rows were saved": lambda: Lives(RACED, 2),
    "second lives": lambda: Lives(SECOND, 2),
    "second lives with retention": lambda: Lives(EXPIRING, 2),
}
"""What `make test` checks as a whole."""


def permuted(size: int, random: Random) -> Iterator[int]:
    """Yields the numbers below `size`, each once, in an order that `random` chooses."""
    step = next(
        step for step in iter(lambda: random.randrange(1, size + 1), 0) if gcd(step, size) == 1
    )
    at = random.randrange(size)
    for _ in range(size):
        yield at
        at = (at + step) % size


def run(seconds: float, seed: int, progress: Callable[[str], None]) -> Counter[str]:
    """Checks cases of the large spaces for so many seconds, in an order that the seed chooses, and
    returns how many questions of each space were answered. Calls `progress` with a line about each
    space now and then. Raises AssertionError, with the name of the space and the number of the
    case."""
    end = time.monotonic() + seconds
    random = Random(seed)
    spaces = {name: make() for name, make in LARGE.items()}
    orders = {name: permuted(space.size, random) for name, space in spaces.items()}
    counts: Counter[str] = Counter()
    for name in cycle(list(orders)):
        until = min(time.monotonic() + SLICE, end)
        for index in orders[name]:
            try:
                counts[name] += spaces[name].check(index).cases
            except Exception as error:
                raise AssertionError(f"{name}, case {index}: {error}") from error
            if time.monotonic() >= until:
                break
        progress(f"{name}: {counts[name]:,}")
        if time.monotonic() >= end:
            return counts
    return counts


LARGE: dict[str, Callable[[], Space]] = {
    "three versions, a second of skew": lambda: Versions(TWO, 3),
    "three versions, marked or not": lambda: Versions(MARKED, 3),
    "three versions, real margins": lambda: Versions(EDGES, 3),
    "four versions": lambda: Versions(PLAIN, 4),
    "five versions": lambda: Versions(PLAIN, 5),
    "rewinds of three versions": lambda: Rewinds(PLAIN, 3),
    "windows of three versions": lambda: Windows(PLAIN, 3),
    "timelines of three late versions": lambda: Placing(TWO, 3),
    "timelines of four versions": lambda: Placing(PLAIN, 4),
    "timelines of four timely versions": lambda: Placing(PROMPT, 4),
    "listings of four versions": lambda: Listings(PLAIN, 4),
    "undo of any attribute": lambda: Undos(attributes(VALUES), 2, CHOICES),
    "undo of any row": lambda: Undos(MORE_ROWS, 2, CHOICES),
    "undo of a counter that changed often": lambda: Undos(NUMBERS, 2, COUNTERS),
    "long lives": lambda: Lives(NEW, 5),
    "long covered lives": lambda: Lives(COVERED, 4),
    "long covered lives with retention": lambda: Lives((*COVERED, Life.expire), 4),
    "long second lives": lambda: Lives(SECOND, 3),
    "long second lives with retention": lambda: Lives(
        (*SECOND, Life.expire, Life.quiet, Life.walk), 3
    ),
}
"""What the soak goes on with. No run is long enough for all of them."""
