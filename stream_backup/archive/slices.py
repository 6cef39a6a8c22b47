"""How work on an archive is divided: into slices, by the first digit of the items' names, and among
threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

SLICES = tuple("0123456789abcdef")
"""The slices of an archive: the first digits of the names in it. MD5 spreads the items evenly over
them."""

CONCURRENCY = 64
"""Requests that one process has under way at once: S3 takes 10 to 30 ms to answer one
(`docs/performance.md`)."""

Found = TypeVar("Found")


def run_slices(work: Callable[[str], Found], slices: Sequence[str], stop: Event) -> list[Found]:
    """Runs `work` on every slice at once and returns the results in order. When one fails or is
    interrupted `stop` is set, so that the others end soon."""
    with ThreadPoolExecutor(max(1, len(slices)), thread_name_prefix="slice") as threads:
        futures = [threads.submit(work, part) for part in slices]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


class HashFraction:
    """How much of all slices has been walked, from the names that were reached: MD5 spreads them
    evenly."""

    def __init__(self, slices: int) -> None:
        self._slices = slices
        self._reached: dict[str, float] = {}

    def reach(self, *names: str) -> float:
        """Notes the names that were reached and returns the fraction (0 to 1)."""
        for part, name in {name[0]: name for name in names}.items():
            self._reached[part] = int(name[1:8], 16) / 16**7
        return sum(list(self._reached.values())) / self._slices
