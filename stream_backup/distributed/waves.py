"""How a worker does a slice of names: in waves of about ten seconds, each in parts that are done at
once, so that it can say with one name how far the slice is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from stream_backup.core.slice import NameSlice
from stream_backup.distributed.limits import WorkTime

AT_ONCE = 16
"""Parts of a wave, which a worker does at once: each waits for S3 and DynamoDB at another time."""

FIRST_WAVE = 64
"""The first wave of a worker is this part of its slice."""

WAVE = 10.0
"""Seconds that a wave is to take at most. The next wave is larger or smaller accordingly."""


class PartDone(Protocol):
    """What was done of a part: the part as it is then, and counts of what was done."""

    @property
    def slice(self) -> NameSlice:
        """The part as it is to be continued."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts by name."""


Done = TypeVar("Done", bound=PartDone)


class Waves(NamedTuple, Generic[Done]):
    """What a worker did: the slice as it is then, what was done of it up to there, and the parts of
    a wave that is to be repeated, which counts for nothing."""

    slice: NameSlice
    done: list[Done]
    repeated: list[Done]


def do_in_waves(
    piece: NameSlice,
    do: Callable[[Sequence[NameSlice]], Sequence[Done]],
    limit: WorkTime,
    repeat: Callable[[Sequence[Done]], bool] = lambda _: False,
) -> Waves[Done]:
    """Does a slice from where it is done on, wave by wave, until it is done or the time is over.
    `do` does as much of the parts of a wave as there is time for. What a wave has done counts up to
    the first part that is not done. A wave for which `repeat` returns True is the last."""
    at, size, done = piece, piece.left / FIRST_WAVE, list[Done]()
    while not at.done:
        wave, begun = at.split(max(1, round(at.left / size)))[0], time.monotonic()
        found = sorted(do(wave.split(AT_ONCE)), key=lambda each: each.slice.range)
        if repeat(found):
            return Waves(at, done, found)
        for each in found:
            done.append(each)
            if each.slice.after:
                at = at.reached(each.slice.after)
            if not each.slice.done:
                break
        if limit.over.is_set() or limit.stop.is_set():
            break
        took = max(time.monotonic() - begun, WAVE / 2)
        size *= WAVE / took
    return Waves(at, done, [])
