"""Filling batches across slices: all batches but the last are full, and a slice is done as far as
everything in it is written."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from restore.fill import Filler, Track
from restore.plan import Step
from restore.writer import BATCH
from stream_backup.core.slice import NameSlice

PARTS = {digit: NameSlice(digit, f"{int(digit, 16) + 1:x}") for digit in "abc"}


def step(shard: str, number: int) -> Step:
    return Step("put", f"{shard}{number:031x}", {}, b"{}")


@given(
    st.lists(st.sampled_from("abc"), max_size=120),
    st.sets(st.integers(0, 119)),
    st.sets(st.integers(0, 119)),
    st.sets(st.integers(0, 119)),
    st.integers(1, 4),
)
def test_every_step_once_and_a_shard_through_after_its_last(
    shards: list[str], poison: set[int], skipped: set[int], unread: set[int], slack: int
) -> None:
    """Every step is written once. A slice is continued after the last item with which nothing more
    is to be done, and is recorded as done up to the first one that failed or was not read, whatever
    the order of the steps."""
    steps = [step(shard, number) for number, shard in enumerate(shards)]
    written: set[str] = set()
    failed = {each.name for number, each in enumerate(steps) if number in poison}
    wrong = {each.name for number, each in enumerate(steps) if number in unread}
    batches: list[Sequence[Step]] = []
    last: dict[tuple[str, str], NameSlice] = {}

    def write(batch: Sequence[Step]) -> dict[str, str]:
        batches.append(batch)
        written.update(each.name for each in batch)
        return {each.name: "it is poison" for each in batch if each.name in failed}

    def wrote(names: Sequence[str], parts: Sequence[NameSlice]) -> None:
        assert set(names) <= written - failed
        for part in parts:
            last[part.range] = part.further(last.get(part.range, part))
            mine = [each.name for each in steps if part.holds(each.name)]
            sure = [name for name in mine if not part.is_open(name)]
            assert set(sure) <= (written - failed) | (set(mine) & passed)

    filler = Filler(write, wrote)
    tracks = {shard: Track(part) for shard, part in PARTS.items()}
    ended: set[str] = set()
    passed: set[str] = set()
    puts: list[Step] = []
    for number, each in enumerate(steps):
        track = tracks[each.name[0]]
        if each.name in wrong:
            filler.skip(track, each.name, done=False)
        elif number in skipped:
            passed.add(each.name)
            filler.skip(track, each.name, done=True)
        else:
            puts.append(each)
            filler.add(track, each)
        for shard in set("abc"[:slack]) - ended - {later.name[0] for later in steps[number + 1 :]}:
            filler.end(tracks[shard])  # its last step was just added, or long ago
            ended.add(shard)
    for shard in set("abc") - ended:
        filler.end(tracks[shard])
    filler.flush()
    assert [each for batch in batches for each in batch] == puts
    assert [len(batch) for batch in batches[:-1]] == [BATCH] * (len(batches) - 1)
    for shard, track in tracks.items():
        mine = [each.name for each in steps if each.name[0] == shard]
        bad = [name for name in mine if name in wrong or (name in failed and name in written)]
        assert track.slice.done
        assert track.sure.done == (not bad)
        if bad:
            before = mine[: mine.index(bad[0])]
            assert [name for name in mine if not track.sure.is_open(name)] == before
        elif mine:
            assert last[track.sure.range].done
        assert track.written + len(track.failures) == len(written & set(mine))
        assert len(track.failures) == len(written & failed & set(mine))


def test_what_was_stopped_is_not_done() -> None:
    """A batch whose outcome is unknown because the work was stopped is not recorded."""
    seen: list[object] = []
    filler, track = Filler(lambda _: None, lambda *each: seen.append(each)), Track(PARTS["a"])
    for number in range(BATCH + 1):
        filler.add(track, step("a", number))
    filler.end(track)
    filler.flush()
    assert seen == []
    assert track.slice == track.sure == PARTS["a"]
    assert track.written == 0


def test_batches_that_end_in_another_order() -> None:
    """A slice is done up to its first item that is not written yet, even when later ones are."""
    track = Track(PARTS["a"])
    names = [step("a", number).name for number in range(4)]
    for name in names:
        track.read(name)
    track.wrote(names[2], None)
    assert track.sure.after == ""
    track.wrote(names[0], None)
    assert track.sure.after == names[0]
    track.end()
    track.wrote(names[1], "why")
    assert (track.sure.after, track.slice.after) == (names[0], names[2])
    track.wrote(names[3], None)
    assert (track.sure.after, track.slice.done) == (names[0], True)


def test_many_threads() -> None:
    """With many threads, nothing is lost or written twice, and every slice is done."""
    written: list[Step] = []
    done: list[NameSlice] = []

    def write(batch: Sequence[Step]) -> dict[str, str]:
        written.extend(batch)
        return {}

    filler = Filler(write, lambda _, parts: done.extend(part for part in parts if part.done))
    whole = [NameSlice(f"{digit:x}", f"{digit + 1:x}" if digit < 15 else "") for digit in range(16)]

    def shard(part: NameSlice) -> None:
        track = Track(part)
        for number in range(1013):
            filler.add(track, step(part.first or "0", number))
        filler.end(track)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(shard, whole))
    filler.flush()
    assert sorted(each.name for each in written) == sorted(
        step(name, n).name for name in "0123456789abcdef" for n in range(1013)
    )
    assert {part.range for part in done} == {part.range for part in whole}
