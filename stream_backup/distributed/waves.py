"""How a worker does a slice of names: wave by wave, each of many small parts (`Parts`), so that it
can say with one name how far the slice is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from stream_backup.core.slice import NameSlice
from stream_backup.distributed.limits import WorkTime
from stream_backup.distributed.parts import Parts


class PartDone(Protocol):
    """What was done of a part: the part as it is then, counts of what was done, and how many
    versions were listed."""

    @property
    def slice(self) -> NameSlice:
        """The part as it is to be continued."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts by name."""

    @property
    def versions(self) -> int:
        """Versions that were listed."""


Done = TypeVar("Done", bound=PartDone)


class Waves(NamedTuple, Generic[Done]):
    """What a worker did: the slice as it is then, what was done of it up to there, and the parts of
    a wave that is to be repeated, which counts for nothing."""

    slice: NameSlice
    done: list[Done]
    repeated: list[Done]


def do_in_waves(
    piece: NameSlice,
    parts: Parts,
    do: Callable[[Sequence[NameSlice]], Sequence[Done]],
    limit: WorkTime,
    repeat: Callable[[Sequence[Done]], bool] = lambda _: False,
) -> Waves[Done]:
    """Does a slice from where it is done on, wave by wave, until it is done or the time is over.
    `do` does as much of the parts of a wave as there is time for, AT_ONCE of them at once. What a
    wave has done counts up to the first part that is not done. A wave for which `repeat` returns
    True is the last."""
    at, done = piece, list[Done]()
    while not at.done:
        wave, begun = parts.wave(at), time.monotonic()
        found = sorted(do(wave), key=lambda each: each.slice.range)
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
        versions = sum(each.versions for each in found)
        parts.learn(len(wave), versions, time.monotonic() - begun)
    return Waves(at, done, [])
