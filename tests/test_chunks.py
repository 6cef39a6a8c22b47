"""Histories are read a chunk at a time, the next one while the caller works on the one before."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from typing import Any, cast

import pytest

from restore.plan import Step, Tally, Unreadable, step_chunks
from stream_backup.archive import chunks
from stream_backup.archive.chunks import AHEAD, TASK, whole_chunks
from stream_backup.archive.layout import History
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError

ITEMS = 20
"""Items of a chunk here."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ITEMS", ITEMS)


def histories(number: int, size: int = 1) -> Iterator[History]:
    for each in range(number):
        name = f"{each:032x}"
        yield History(name, (Version(f"t/{name}", "1", 0, size, ""),) * 2)


class Held(Executor):
    """Does what was submitted when its result is asked for, or when it is told to."""

    def __init__(self) -> None:
        self.pieces: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        ask = future.result

        def result(timeout: float | None = None) -> Any:
            if not future.done():
                try:
                    future.set_result(work(*args))
                except ArchiveError as error:
                    future.set_exception(error)
            return ask(timeout)

        setattr(future, "result", result)  # noqa: B010 - it is a method
        self.pieces.append(future)
        return future


def name_of(history: History) -> str:
    return history.name


def test_the_next_chunk_is_read_while_the_caller_works() -> None:
    """When the caller gets a chunk, the requests of the next one have been submitted and are not
    waited for, and nothing further has been listed."""
    pool, listed = Held(), list[str]()

    def listing() -> Iterator[History]:
        for history in histories(5 * ITEMS):
            listed.append(history.name)
            yield history

    found = whole_chunks(name_of, listing(), pool)
    for turn in range(5):
        chunk = next(found)
        assert len(chunk) == ITEMS
        begun = min(turn + 1 + AHEAD, 5)
        assert len(pool.pieces) == begun * ITEMS / TASK
        assert sum(piece.done() for piece in pool.pieces) == (turn + 1) * ITEMS / TASK
        assert len(listed) == begun * ITEMS
    assert list(found) == []


def test_every_history_is_read_once_and_in_order() -> None:
    """However many histories there are, and however large, each result comes once, in order."""
    for number in (0, 1, ITEMS, ITEMS + 1, 3 * ITEMS):
        for size in (1, chunks.CHUNK_BYTES):
            found = whole_chunks(name_of, histories(number, size), Held())
            assert [name for chunk in found for name in chunk] == [
                each.name for each in histories(number)
            ]


def test_memory_is_bounded_by_bytes() -> None:
    """Of large items, no more are read at once than two chunks may hold."""
    pool = Held()
    next(whole_chunks(name_of, histories(100, chunks.CHUNK_BYTES // 2), pool))
    assert len(pool.pieces) == 1 + AHEAD
    assert len(pool.pieces[0].result()) == 2


def test_what_was_read_ahead_is_dropped_with_the_iterator() -> None:
    """A caller that stops does not wait for the requests of a chunk that nobody will use."""
    pool = Held()
    with closing(cast(Any, whole_chunks(name_of, histories(3 * ITEMS), pool))) as found:
        next(found)
    ahead = pool.pieces[ITEMS // TASK :]
    assert ahead
    assert all(piece.cancelled() for piece in ahead)


def test_an_error_drops_the_rest() -> None:
    """An error is raised in its turn, and nothing is read after it that was not begun."""

    def read(history: History) -> str:
        if int(history.name, 16) == ITEMS + TASK:
            raise ArchiveError("unreadable")
        return history.name

    pool = Held()
    found = whole_chunks(read, histories(4 * ITEMS), pool)
    assert len(next(found)) == ITEMS
    with pytest.raises(ArchiveError, match="unreadable"):
        next(found)
    left = pool.pieces[ITEMS // TASK + 2 :]
    assert left
    assert all(piece.cancelled() for piece in left)


def test_only_what_was_yielded_is_counted() -> None:
    """A plan that is left after a chunk has counted that chunk, and not the one read ahead, which
    the next call will read and count again."""

    class Puts:
        archive = None

        def step(self, history: History) -> Step:
            if int(history.name, 16) % ITEMS == 3:
                raise ArchiveError("unreadable")
            return Step("put", history.name, {}, b"{}")

    tally = Tally()
    plan: Any = Puts()
    found = step_chunks(plan, histories(4 * ITEMS), Held(), tally)
    for turn in (1, 2):
        chunk = next(found)
        assert sum(isinstance(step, Unreadable) for step in chunk) == 1
        assert tally.steps == {"put": turn * (ITEMS - 1)}
        assert tally.versions == turn * 2 * ITEMS
        assert len(tally.unreadable) == turn
