"""The rules by which a distributed run goes on: which share of a rate a worker may use, how what is
left is listed again, and when it ends without being done.

A run is a number of rounds. A round is a list of slices, each of which one worker does as far as
its time allows. What is left of them is the list of the next round.
"""

from collections.abc import Iterable, Sequence
from math import ceil

from stream_backup.core.slice import Slice

MOST_SLICES = 10_000
"""Slices of a round at most: the results of a map must fit into the 256 KiB that a state may return
(AWS Step Functions Developer Guide, "Quotas"), and a result here is 14 characters."""

IDLE_ROUNDS = 3
"""Rounds in a row that may do nothing at all, until a run ends incomplete."""

MOST_ROUNDS = 500
"""Rounds of a run at most. The history of an execution has at most 25,000 events (the same page),
and a round is about 20 of them. With workers of 15 minutes these are five days."""

PARTS_A_WORKER = 2
"""Slices for each worker at least when what is left is split. With one for each, the round would
last as long as its slowest slice."""


SMALLEST = 1 / 65_536
"""The share of a table below which a slice is not split. Of 100 billion rows it is about what a
worker does in its time; and around an item that cannot be done, slices soon become no smaller."""


def rate_of(total: float | None, at_once: int, slices: int, finished: int) -> float | None:
    """Returns the rate that one worker may use of `total`, the rate of the whole run; None is no
    limit. `at_once` is how many slices of the round are worked on at once, and `finished` how many
    of its `slices` have ended, or fewer: a worker may use more than its first share only when
    others have certainly ended. However late each worker learns of it, all of them together never
    use more than `total`."""
    if total is None:
        return None
    return total / max(1, min(at_once, slices - finished))


def reach_of(work: Iterable[tuple[Slice, Slice]]) -> float | None:
    """Returns about what share of a table (0 to 1) one worker does in its time, None where that is
    unknown. `work` has slices whose workers ran out of time, as they were and as they are."""
    shares = [share for before, after in work if (share := before.left - after.left) > 0]
    return sum(shares) / len(shares) if shares else None


def list_again(
    left: Iterable[Slice], at_once: int, reach: float | None = None
) -> tuple[Slice, ...]:
    """Returns what is left of the slices of a round as the list of the next one: split, so that
    every worker has something to do and none of the slices becomes the tail, and the largest first.
    `reach` is what share of the table one worker does in its time: where more is left than all
    workers do at once, there are as many slices as it takes, so that a run of any size has few
    rounds. A segment of a scan cannot be split."""
    slices = [each for each in left if not each.done]
    total = sum(each.left for each in slices)
    needed = min(ceil(total / reach), MOST_SLICES) if reach else 0
    wanted = min(max(PARTS_A_WORKER * at_once, needed), MOST_SLICES)
    room = max(0, wanted - len(slices))
    parts: list[Slice] = []
    for each in slices:
        most = max(1, int(each.left / SMALLEST))
        parts += each.split(min(1 + int(room * each.left / total), most))
    return tuple(sorted(parts, key=lambda each: -each.left))


def may_go_on(round_number: int, advanced: Sequence[bool]) -> bool:
    """Whether another round follows the round of this number (from 0). `advanced` says of each
    round so far whether it did anything."""
    idle = len(advanced) >= IDLE_ROUNDS and not any(advanced[-IDLE_ROUNDS:])
    return round_number + 1 < MOST_ROUNDS and not idle
