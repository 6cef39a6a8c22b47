"""What a tag says is done of a restore: never more than is done, and all of a finished slice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.kept import BLOCKS, DoneBlocks, grid
from stream_backup.core.slice import NAMES, cover_once, cut_names

names = st.integers(0, NAMES - 1).map(lambda number: f"{number:032x}")


@given(
    parts=st.sampled_from([16, 32, 1024]),
    progress=st.lists(st.one_of(st.just("all"), names), max_size=40),
    name=names,
    data=st.data(),
)
def test_done_blocks(parts: int, progress: list[str], name: str, data: st.DataObject) -> None:
    """Of slices that are done in part, no open name counts as done; a finished slice counts as a
    whole; what is left is in the same grid, whoever resumes it; and all of it fits into a tag."""
    states = {part.range: part for part in cut_names(parts)}
    for each in progress:
        part = data.draw(st.sampled_from([*states.values()]))
        inside = part.holds(each) if each != "all" else True
        if inside:
            states[part.range] = part.finished() if each == "all" else part.reached(each)
    done = DoneBlocks().and_of(states.values())
    assert len(str(done)) == 256
    assert DoneBlocks.of(str(done)) == done
    left = done.left(16)
    if any(part.is_open(name) for part in states.values()):
        assert sum(part.is_open(name) for part in left) == 1
    finished = [part for part in states.values() if part.done]
    if any(part.holds(name) for part in finished):
        assert not any(part.holds(name) for part in left)
    assert all(not part.holds(each.first.ljust(32, "0")) for part in finished for each in left)
    assert all(part.open_ends and part.open_ends[0][0] == part.open_ends[1][0] for part in left)
    assert done.and_of(part.finished() for part in left) == DoneBlocks(2**BLOCKS - 1)


def test_what_is_left_of_nothing() -> None:
    """Where nothing is done, the slices are the sixteen first digits, as where a restore begins."""
    assert DoneBlocks().left(16) == cut_names(16)
    assert DoneBlocks().left(64) == cut_names(64)
    assert DoneBlocks(2**BLOCKS - 1).left(16) == ()
    assert cover_once(DoneBlocks().left(1))


@pytest.mark.parametrize("text", ["", "0af", "f" * 255, "f" * 257, "x" * 256, "0123456789abcdef"])
def test_another_text_means_that_nothing_is_done(text: str) -> None:
    """Slices that were recorded in another way are restored again, which is right, if slower."""
    assert len(DoneBlocks.of(text)) == 0


@pytest.mark.parametrize(("workers", "parts"), [(1, 16), (2, 32), (3, 64), (8, 128), (256, 1024)])
def test_sixteen_slices_or_more_for_each_worker(workers: int, parts: int) -> None:
    """Every worker has work for sixteen threads, and slices end where blocks do."""
    assert grid(workers) == parts
    assert BLOCKS % parts == 0
