"""How work on an archive is divided: into slices, by the first digit of the items' names, and among
threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

SLICES = tuple("0123456789abcdef")
"""The slices of an archive: the first digits of the names in it. MD5 spreads the items evenly over
them."""

CONCURRENCY = 64
"""Requests that are under way at once where their number is fixed: those of a batch of the stream,
of a rewind, and of an undo. `RequestPool` adapts the number of all others."""

_PATIENCE = 0.1
"""Seconds after which a thread that waits for its result to be consumed looks whether to stop."""

Found = TypeVar("Found")


def never() -> bool:
    """The time of a worker that has no deadline: it is never over."""
    return False


def run_slices(
    work: Callable[[str], Found], slices: Sequence[str], stop: Event, at_once: int | None = None
) -> list[Found]:
    """Runs `work` on every slice at once, or on `at_once` of them, begun in order, and returns the
    results in order. When one fails or is interrupted `stop` is set, so that the others end
    soon."""
    most = min(at_once or len(slices), len(slices))
    with ThreadPoolExecutor(max(1, most), thread_name_prefix="slice") as threads:
        futures = [threads.submit(work, part) for part in slices]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


class _End:
    """The end of a slice, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def merge_slices(
    find: Callable[[str], Iterator[Found]], slices: Sequence[str], waiting: int = CONCURRENCY
) -> Iterator[Found]:
    """Yields what `find` finds in every slice, all slices at once, in no particular order. At most
    `waiting` results wait to be consumed. The first error ends it, as does closing it."""
    stop = Event()
    found: Queue[Found | _End] = Queue(waiting)

    def offer(each: Found | _End) -> bool:
        while not stop.is_set():
            try:
                found.put(each, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False

    def walk(part: str) -> None:
        error = None
        try:
            for each in find(part):
                if not offer(each):
                    return
        except BaseException as raised:  # noqa: BLE001 - it is raised where it is consumed
            error = raised
        offer(_End(error))

    threads = [Thread(target=walk, args=(part,), name=f"slice-{part}") for part in slices]
    try:
        for thread in threads:
            thread.start()
        left = len(threads)
        while left:
            each = found.get()
            if not isinstance(each, _End):
                yield each
            elif each.error:
                raise each.error
            else:
                left -= 1
    finally:
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()


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
