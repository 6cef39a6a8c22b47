"""Filling batches across slices: all batches but the last are full, and a slice is done when
everything in it is written."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from restore.fill import Filler
from restore.plan import Step
from restore.writer import BATCH, Failure


def step(shard: str, number: int) -> Step:
    return Step("put", f"{shard}{number:031x}", {}, b"{}")


@given(
    st.lists(st.sampled_from("abc"), max_size=120), st.sets(st.integers(0, 119)), st.integers(1, 4)
)
def test_every_step_once_and_a_shard_through_after_its_last(
    shards: list[str], poison: set[int], slack: int
) -> None:
    """Every step is written once, and a slice without failures is done after its last step,
    whatever the order of the steps."""
    steps = [step(shard, number) for number, shard in enumerate(shards)]
    left = {shard: [each for each in steps if each.name[0] == shard] for shard in "abc"}
    batches: list[Sequence[Step]] = []
    through: list[str] = []
    spoiled: set[str] = set()

    def write(batch: Sequence[Step]) -> list[Failure]:
        batches.append(batch)
        for each in batch:
            left[each.name[0]].remove(each)
        failed = [each for each in batch if int(each.name[1:], 16) in poison]
        spoiled.update(each.name[0] for each in batch if failed)
        return [Failure(b"", each.name) for each in failed]

    def done(shard: str) -> None:
        assert left[shard] == []
        through.append(shard)

    filler = Filler(write, done)
    ended: set[str] = set()
    for number, each in enumerate(steps):
        filler.add(each)
        for shard in set("abc"[:slack]) - ended - {later.name[0] for later in steps[number + 1 :]}:
            filler.end(shard)  # its last step was just added, or long ago
            ended.add(shard)
    for shard in set("abc") - ended:
        filler.end(shard)
    filler.flush()
    assert [each for batch in batches for each in batch] == steps
    assert [len(batch) for batch in batches[:-1]] == [BATCH] * (len(batches) - 1)
    assert sorted(through) == sorted(set("abc") - spoiled)
    assert len(filler.failures) == len({each for each in poison if each < len(steps)})


def test_many_threads() -> None:
    """With many threads, nothing is lost or written twice, and every slice is done once."""
    written: list[Step] = []
    through: list[str] = []

    def write(batch: Sequence[Step]) -> list[Failure]:
        written.extend(batch)
        return []

    filler = Filler(write, through.append)

    def shard(name: str) -> None:
        for number in range(1013):
            filler.add(step(name, number))
        filler.end(name)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(shard, "0123456789abcdef"))
    filler.flush()
    assert sorted(each.name for each in written) == sorted(
        step(name, n).name for name in "0123456789abcdef" for n in range(1013)
    )
    assert sorted(through) == [*"0123456789abcdef"]
