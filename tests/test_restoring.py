"""Law 8, and what a restore makes of a table that refuses, forgets and breaks off."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.execute import Execution, to_table
from restore.plan import Rebuild, Selection, Tally
from stream_backup.errors import UsageError
from stream_backup.item import Item, encode
from stream_backup.table import describe
from stream_backup.timeline import NEVER
from tests import strategies
from tests.model import ARN, NAME, T0
from tests.process import Inline, Killed, Stop
from tests.profiles import histories
from tests.world import World, patched

running: list[World] = []


@pytest.fixture(autouse=True, scope="module")
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


def key(number: int) -> Item:
    return {"pk": {"S": f"item {number}"}, "sk": {"N": str(number)}}


def archived(seed: int, rows: list[Item], removed: set[int]) -> World:
    """A world whose stream was on from the first row, and whose archive has all of it."""
    world = World(seed)
    running[:] = [world]
    world.enable("function").finish()
    for number, row in enumerate(rows):
        world.model.write(key(number), row)
    for number in removed:
        if number < len(rows):
            world.model.write(key(number), None)
    world.quiet()
    return world


class Fuse:
    """Breaks whatever is being done at the given request, before it or once it is done."""

    def __init__(self, world: World) -> None:
        self.left = 0
        world.dynamodb.pause = self.burn

    def burn(self) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def restored(world: World, name: str, *, overwrite: bool = False) -> dict[str, bytes]:
    execution = Execution(world.dynamodb, Selection(world.archive), Inline(world.random), Tally(), Stop())
    found = world.dynamodb.call("describe_table", {"TableName": NAME}).data["Table"]
    description = describe(world.dynamodb, found)
    plan = Rebuild(world.archive, T0 + 60, NEVER)
    result = to_table(execution, plan, name, description, None, overwrite=overwrite, stream=False)
    assert not result["left"]
    return {name: encode(row) for name, row in world.dynamodb.others[name].items()}


@histories(200)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(strategies.items, max_size=60),
    removed=st.sets(st.integers(0, 59), max_size=5),
    foreign=st.lists(st.integers(0, 70), max_size=3),
    cuts=st.lists(st.integers(1, 90), max_size=5),
)
def test_interrupted_restore(seed: int, rows: list[Item], removed: set[int], foreign: list[int], cuts: list[int]) -> None:
    """Law 8: a restore that breaks off at any request, again and again, and goes on, gives what one that did not gives, and
    so does doing it twice, whatever the table leaves unprocessed or throttles, and whatever rows it takes over."""
    world = archived(seed, rows, removed)
    truth = world.model.at(T0 + 60)
    assert restored(world, "whole") == truth
    if truth:
        with pytest.raises(UsageError, match="not empty"):
            restored(world, "whole")
    assert restored(world, "whole", overwrite=True) == truth
    world.dynamodb.moody = world.random
    if foreign:
        rows_there = {"pk": {"S": "x"}, "sk": {"N": "0"}, "foreign": {"BOOL": True}}
        world.dynamodb.call("create_table", {"TableName": "parts"})
        for number in foreign:
            world.dynamodb.call("put_item", {"TableName": "parts", "Item": rows_there | key(number)})
    fuse = Fuse(world)
    arn = ARN.replace(NAME, "parts")

    def finished() -> bool:
        """Whether only the last answer was lost: whoever asks again is told that the table is there."""
        return "parts" in world.dynamodb.others and not world.dynamodb.tags.get(arn)

    for cut in cuts:
        fuse.left = cut
        try:
            restored(world, "parts", overwrite=bool(foreign))
        except Killed:
            if not finished():
                continue
        break
    fuse.left = 0
    assert restored(world, "parts", overwrite=bool(foreign) or finished()) == truth
    assert not world.dynamodb.tags[arn]
