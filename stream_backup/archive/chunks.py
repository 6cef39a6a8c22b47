"""Histories, read by several threads at once and in bounded memory: a chunk at a time, in their
order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import chain
from typing import TypeVar

from stream_backup.archive.layout import History

CHUNK_ITEMS = 160
"""Items of a slice that are read together: all slices together have as many pieces of work as
requests may be in flight."""

TASK = 5
"""Items that a thread reads one after another: handing over one item costs a fifth of reading
it."""

CHUNK_BYTES = 2 * 2**20
"""Bytes of a slice that are read together: this bounds memory."""

AHEAD = 1
"""Chunks of a slice that are read while its caller works on the one before, for example writes it:
otherwise hardly any request of the slice would be under way then."""

Result = TypeVar("Result")


def read_chunks(
    read: Callable[[History], Result], histories: Iterable[History], pool: Executor
) -> Iterator[Result]:
    """Yields what `read` returns for each history, in their order. Errors that `read` raises are
    not caught."""
    return chain.from_iterable(whole_chunks(read, histories, pool))


def whole_chunks(
    read: Callable[[History], Result], histories: Iterable[History], pool: Executor
) -> Iterator[list[Result]]:
    """Yields what `read_chunks` yields, a chunk at a time. AHEAD further chunks are being read
    then, for nothing if the iterator is closed."""

    def task(group: Sequence[History]) -> list[Result]:
        return [read(history) for history in group]

    under_way: deque[list[Future[list[Result]]]] = deque()

    def results() -> list[Result]:
        found = [*chain.from_iterable(future.result() for future in under_way[0])]
        under_way.popleft()
        return found

    try:
        for chunk in _chunks(histories):
            groups = (chunk[start : start + TASK] for start in range(0, len(chunk), TASK))
            under_way.append([pool.submit(task, group) for group in groups])
            if len(under_way) > AHEAD:
                yield results()
        while under_way:
            yield results()
    finally:
        for future in chain.from_iterable(under_way):
            future.cancel()


def _chunks(histories: Iterable[History]) -> Iterator[Sequence[History]]:
    chunk: list[History] = []
    size = 0
    for history in histories:
        chunk.append(history)
        size += max(version.size for version in history.versions)
        if len(chunk) == CHUNK_ITEMS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
