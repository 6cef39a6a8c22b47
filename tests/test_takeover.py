"""Who reads a stream changes: what nobody read in time is an outage, whoever reads on."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from stream_backup.capture.enabler import Enabler
from stream_backup.capture.stream import switch_on
from stream_backup.core.records import Mapping, ReaderKind, Stream
from tests import laws
from tests.model import DAY, KEYS, NAME, T0, VALUES
from tests.world import PlainBucket, World, patched


@pytest.fixture
def world() -> Iterator[World]:
    world = World(1)
    with patched(lambda: world):
        yield world


def taken_by(world: World, reader: ReaderKind) -> Stream:
    world.start(
        "switch",
        lambda: switch_on(world.dynamodb, world.archive, reader),
    ).finish()
    return world.known()[-1]


def followed(world: World) -> int:
    """A stream that `follow` has read for a while; how far."""
    stream = taken_by(world, "follow")
    world.model.write(KEYS[0], VALUES[0])
    for _ in range(60):
        process = world.follow(stream)
        assert process
        process.finish()
        world._reap()  # noqa: SLF001
        world.model.tick(0.6)
    kept = world.meta.follow_checkpoint(stream.label)
    assert kept
    assert kept.caught_up > T0 + 10
    return kept.caught_up


def test_a_function_that_takes_over_a_day_late(world: World) -> None:
    """`follow` stopped more than a day before a function takes over: what nobody read in between is
    an outage from the checkpoint on."""
    caught_up = followed(world)
    world.model.tick(DAY + 60)
    taken_by(world, "function")
    (outage,) = world.meta.outages()
    assert (outage.since, outage.until) == (caught_up, int(world.model.now))


def test_a_function_that_takes_over_in_time(world: World) -> None:
    """Within the day the stream still has everything that `follow` did not read: no outage."""
    followed(world)
    world.model.tick(DAY - 600)
    taken_by(world, "function")
    assert world.meta.outages() == []


class OneMapping:
    """Lambda with one function; a mapping is enabled a minute after it was made."""

    def __init__(self, world: World) -> None:
        self.world, self.mappings = world, list[dict[str, Any]]()
        self.fails = False

    def invoke(self, **_: Any) -> Any:
        return {"Payload": BytesIO(b'{"announces": true}')}

    def list_event_source_mappings(self, **_: Any) -> Any:
        return {"EventSourceMappings": self.mappings}

    def create_event_source_mapping(self, **settings: Any) -> Any:
        if self.fails:
            raise OSError("no answer")
        self.world.model.tick(60)
        self.mappings.append({"UUID": "u", "State": "Enabled"} | settings)
        return self.mappings[-1]

    def get_event_source_mapping(self, **_: Any) -> Any:
        return self.mappings[-1]


def test_a_function_that_was_named_but_never_read(world: World) -> None:
    """The takeover was recorded, but no mapping was made; a day later one is. The function then
    begins with what is left, and what nobody read is an outage from the checkpoint on."""

    class Here(PlainBucket):
        dynamodb = world.dynamodb

        def archive(self, table: str) -> Any:
            assert table == NAME
            return world.archive

    caught_up = followed(world)
    here: Any = Here()
    enable = Enabler(here, "function", stream_only=False)
    client = OneMapping(world)
    enable.__dict__["client"] = client
    client.fails = True
    world.model.tick(DAY - 3600)
    with pytest.raises(OSError, match="no answer"):
        enable.enable(NAME)
    assert world.meta.outages() == []
    client.fails = False
    world.model.tick(7200)
    enable.enable(NAME)
    (outage,) = world.meta.outages()
    assert (outage.since, outage.until) == (caught_up, int(world.model.now) - 60)
    assert isinstance(world.meta.mappings()[0], Mapping)
    enable.enable(NAME)
    assert len(world.meta.outages()) == 1


@pytest.mark.parametrize("healthy", [False, True])
def test_what_follow_has_read_stays_exact(world: World, healthy: bool) -> None:
    """`follow` has read a stream for longer than a day when a function takes over in time: the
    first look of the watcher ends nothing that was exact, whether the function already reads or
    not."""
    followed(world)
    world.backfill(1).finish()
    for value in VALUES[1:]:
        world.model.tick(DAY - 3600)
        world.model.write(KEYS[0], value)
        world.quiet()
    before = world.status_of().coverage
    taken_by(world, "function")
    world.healthy = healthy
    world.watch()
    assert world.meta.outages() == []
    world.quiet()
    world.healthy = True
    world.watch()
    assert world.meta.outages() == []
    after = world.status_of().coverage
    assert [epoch.start for epoch in after.epochs] == [epoch.start for epoch in before.epochs]
    assert after.latest >= before.latest
    assert laws.law_5(world, world.status_of())


def test_what_nobody_read_is_an_outage_of_that_alone(world: World) -> None:
    """A function takes over more than a day after `follow` stopped: the watcher records no more
    than nobody read."""
    caught_up = followed(world)
    world.model.tick(DAY + 60)
    taken_by(world, "function")
    world.watch()
    assert {outage.since for outage in world.meta.outages()} == {caught_up}
