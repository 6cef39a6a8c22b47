"""Law 8: restores that are interrupted, throttled, or only partly processed."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import restore.target
from restore import fill
from restore.destination import Work
from restore.kept import BLOCKS, DoneBlocks
from restore.new_table import NewTable
from restore.plan import Rebuild, Tally
from restore.usable import DONE
from stream_backup.archive import chunks
from stream_backup.archive.layout import Loaded
from stream_backup.archive.selection import Selection
from stream_backup.aws.table import RESTORING, describe
from stream_backup.core.item import Item, encode
from stream_backup.core.time_rule import NEVER
from stream_backup.core.version import Version
from stream_backup.errors import UsageError
from stream_backup.progress import Silent
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
    """Returns a world whose stream was on from the first row, and whose archive is complete."""
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
    """Interrupts the work at a given request, before or after the request takes effect."""

    def __init__(self, world: World) -> None:
        self.left = 0
        world.dynamodb.pause = self.burn

    def burn(self) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def restored(world: World, name: str, *, overwrite: bool = False) -> dict[str, bytes]:
    chosen = Selection(world.archive)
    work = Work(world.dynamodb, chosen, Inline(world.random), Tally(), Stop(), Silent())
    found = world.dynamodb.call("describe_table", {"TableName": NAME}).data["Table"]
    description = describe(world.dynamodb, found)
    plan = Rebuild(world.archive, T0 + 60, NEVER)
    into = NewTable(name, description, "a restore", None, overwrite, stream=False)
    assert not into.execute(work, plan).left
    return {name: encode(row) for name, row in world.dynamodb.others[name].items()}


@histories(200)
@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(strategies.items, max_size=60),
    removed=st.sets(st.integers(0, 59), max_size=5),
    foreign=st.lists(st.integers(0, 70), max_size=3),
    cuts=st.lists(st.integers(1, 90), max_size=5),
)
def test_interrupted_restore(
    seed: int, rows: list[Item], removed: set[int], foreign: list[int], cuts: list[int]
) -> None:
    """Law 8: a restore that is interrupted at any requests and resumed gives the same table as one
    that is not interrupted, and so does restoring twice, whatever the table throttles or leaves
    unprocessed, and whatever rows it already contains."""
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
            world.dynamodb.call(
                "put_item", {"TableName": "parts", "Item": rows_there | key(number)}
            )
    fuse = Fuse(world)
    arn = ARN.replace(NAME, "parts")

    def under_way() -> set[str]:
        return {RESTORING, DONE} & world.dynamodb.tags.get(arn, {}).keys()

    def finished() -> bool:
        """Returns whether only the last answer was lost: a retry then reports that the table
        exists."""
        return "parts" in world.dynamodb.others and not under_way()

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
    assert not under_way()


@pytest.mark.parametrize("cut", [20, 31, 70])
def test_a_resumed_restore_repeats_no_finished_slice(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read or written again of a slice that the table's tag says is finished, nor of the
    part of an unfinished one that it says is done."""
    monkeypatch.setattr(restore.target, "TAG_PAUSE", 0)
    monkeypatch.setattr(restore.target, "PART_PAUSE", 0)
    monkeypatch.setattr(chunks, "CHUNK_ITEMS", 2)
    monkeypatch.setattr(fill, "BATCH", 3)
    world = archived(1, [{"v": {"N": str(number)}} for number in range(120)], set())
    truth = world.model.at(T0 + 60)
    fuse = Fuse(world)
    fuse.left = cut
    with pytest.raises(Killed):
        restored(world, "parts")
    fuse.left = 0
    kept = DoneBlocks.of(world.dynamodb.tags[ARN.replace(NAME, "parts")][DONE])
    left = kept.left(16)
    assert 0 < len(kept) < BLOCKS
    open_names = {name for name in truth or {} if any(part.is_open(name) for part in left)}
    finished = set(truth or {}) - open_names
    assert finished
    read: list[str] = []
    load = world.archive.load

    def counted(version: Version) -> Loaded:
        read.append(version.path[len(world.archive.root) :])
        return load(version)

    monkeypatch.setattr(world.archive, "load", counted)
    before = dict(world.store.requests)
    assert restored(world, "parts") == truth
    assert set(read) == open_names
    lists = world.store.requests["list"] - before["list"]
    assert lists == sum(len(list(part.prefixes())) for part in left)
