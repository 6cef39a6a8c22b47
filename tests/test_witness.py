"""The bounds of coverage by one second: what witnesses that a stream was read, and what a backfill
has seen."""

from collections.abc import Iterator
from typing import Any

import pytest

from stream_backup.archive.status import unrecorded_end
from stream_backup.aws.dynamodb import Answer
from stream_backup.aws.table import look_up
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import SegmentCheckpoint
from tests.model import KEYS, NAME, VALUES
from tests.world import World, in_use, patched

running: list[World] = []


@pytest.fixture(autouse=True)
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


@pytest.fixture
def world() -> World:
    return in_use(running)


def end(world: World) -> int:
    """Returns the end of the last stream that was enabled, as far as the archive and the table show
    it."""
    live, now = look_up(world.dynamodb, NAME)
    assert live
    return unrecorded_end(world.archive, world.known()[-1], live, now).end


def test_the_second_of_the_last_change_is_not_exact(world: World) -> None:
    """A stream that nobody saw going off ends in the second before its last change: another change
    of the same second may be missing."""
    world.model.write(KEYS[1], VALUES[0])
    world.model.write(KEYS[3], VALUES[0])
    last = int(world.model.now)
    (stream,) = world.known()
    records = [r for shard in world.life(stream.label).shards for r in shard if r.at >= last]
    world.archive.put(Change.streamed(records[0].event))
    world.model.switch_off()
    assert end(world) == last - 1


@pytest.mark.parametrize("off_again", [False, True])
def test_a_newer_stream_is_no_witness(world: World, off_again: bool) -> None:
    """Changes of a stream that was never enabled in this archive, but is read into it, do not
    extend the stream before it: neither while that one is on nor when it is off."""
    last = int(world.model.now) - 100
    world.model.switch_off()
    world.model.tick(600)
    world.model.write(KEYS[0], VALUES[1])  # nobody ever tells of it
    world.model.switch_on()
    for _ in range(3):
        world.model.write(KEYS[2], VALUES[2])
        world.model.write(KEYS[2], None)
        world.model.tick(50)
    assert world.model.stream
    for shard in world.model.stream.shards:
        for record in shard:
            world.archive.put(Change.streamed(record.event))
    if off_again:
        world.model.switch_off()
    assert end(world) == last - 1


@pytest.mark.parametrize("resumed", [False, True])
def test_coverage_begins_when_the_last_page_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    """The clock of the host that answered a page may be ahead of that which answers last: a run is
    not over before the last second that one of its versions can be of."""
    ahead = 4
    call = world.dynamodb.call

    def skewed(operation: str, request: Any) -> Answer:
        answer = call(operation, request)
        return answer._replace(moment=answer.moment + ahead * (operation == "scan"))

    monkeypatch.setattr(world.dynamodb, "call", skewed)
    world.model.write(KEYS[1], VALUES[2])
    world.model.tick(60)
    if resumed:
        process = world.backfill(1)
        while not _segments(world):
            process.step()
        process.kill()
    world.backfill(1).finish()
    run = world.meta.runs()[-1]
    assert run.complete
    stamps = [world.archive.read(v).stamp for h in world.archive.histories() for v in h.versions]
    scanned = [stamp.seen for stamp in stamps if stamp.kind == "scan"]
    assert scanned
    assert run.answered >= max(scanned)


def _segments(world: World) -> dict[int, SegmentCheckpoint]:
    return world.meta.segment_checkpoints(world.meta.runs()[-1].name)


def test_a_stream_ends_where_its_reader_was() -> None:
    """A backfill saw a stream on, which went off unseen. `follow` had not read it until then, so
    what happened since it looked is not covered."""
    world = World(7)
    running[:] = [world]
    world.model.write(KEYS[0], VALUES[0])
    world.enable("follow").finish()
    world.backfill(1).finish()
    world.model.tick(60)
    world.quiet()
    (stream,) = world.known()
    kept = world.meta.follow_checkpoint(stream.label)
    assert kept
    world.model.tick(60)
    world.model.write(KEYS[0], VALUES[1])
    world.model.tick(1)
    world.backfill(1).finish()
    world.model.switch_off()
    assert end(world) > kept.caught_up
    (epoch,) = world.status_of().coverage.epochs
    assert epoch.end == kept.caught_up
