"""The moments of a drill: random ones, out of those that are exact."""

from collections.abc import Sequence
from random import Random

from stream_backup.core.spans import Span

OLDEST, NEWEST = 24 * 3600, 60
"""Seconds that are left out at the beginning and at the end of each span, at most a tenth of it:
what expires while a drill runs is no difference, and no moment waits for the last seconds to be
read."""


def inner(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Returns the spans without their edges."""
    found = []
    for first, last in spans:
        tenth = (last - first) // 10
        found.append(Span(first + min(OLDEST, tenth), last - min(NEWEST, tenth)))
    return tuple(found)


def choose(spans: Sequence[Span], random: Random) -> int | None:
    """Returns one of the moments of these spans, each with the same chance; None when there is
    none."""
    lengths = [last - first + 1 for first, last in spans]
    if not lengths:
        return None
    place = random.randrange(sum(lengths))
    for (first, _), length in zip(spans, lengths, strict=True):
        if place < length:
            return first + place
        place -= length
    return None


def another(spans: Sequence[Span], moment: int, random: Random) -> int | None:
    """Returns a moment before this one to rewind to, where there is any, otherwise one after it;
    None when `moment` is the only one."""
    before = [Span(first, min(last, moment - 1)) for first, last in spans if first < moment]
    after = [Span(max(first, moment + 1), last) for first, last in spans if last > moment]
    return choose(before or after, random)
