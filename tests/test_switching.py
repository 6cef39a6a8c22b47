"""A stream switched off and on: what is recorded of it is true, also when AWS refuses half of it
or its clocks disagree."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream_backup.capture.stream import switch_off, switch_on
from stream_backup.core.moment import from_iso
from stream_backup.core.records import End
from stream_backup.errors import UsageError
from tests.fake_dynamodb import refusal
from tests.world import World, in_use, patched

running: list[World] = []


@pytest.fixture(autouse=True)
def timeless() -> Iterator[None]:
    with patched(lambda: running[-1]):
        yield


def ends(world: World) -> list[int | None]:
    world.model.tick(20)
    world.healthy = True
    return [epoch.end for epoch in world.status_of().coverage.epochs]


def test_a_disable_that_is_refused_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS refuses to switch the stream off: it stays on, is read on, and coverage goes on."""
    world = in_use(running)

    def refused(request: dict[str, Any]) -> Any:
        raise refusal("LimitExceededException")

    with monkeypatch.context() as patch:
        patch.setattr(world.dynamodb, "_update_table", refused)
        with pytest.raises(UsageError, match="AWS has reached a limit"):
            switch_off(world.dynamodb, world.archive)
    assert world.meta.recorded_ends() == {}
    assert ends(world) == [None]
    world.model.tick(100)
    off = world.model.now
    _, end = switch_off(world.dynamodb, world.archive)
    assert off - 10 < end < off
    assert ends(world) == [end]


def test_a_disable_that_lost_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream went off, but nobody recorded when: coverage ends where the archive is certain,
    and running disable again records that."""
    world = in_use(running)
    written = int(world.model.now) - 100
    update = world.dynamodb._update_table  # noqa: SLF001

    def lost(request: dict[str, Any]) -> Any:
        update(request)
        raise refusal("InternalServerError")

    with monkeypatch.context() as patch:
        patch.setattr(world.dynamodb, "_update_table", lost)
        with pytest.raises(Exception, match="InternalServerError"):
            switch_off(world.dynamodb, world.archive)
    (certain,) = ends(world)
    assert certain is not None
    assert certain < written
    world.model.tick(1000)
    _, end = switch_off(world.dynamodb, world.archive)
    assert end == certain
    assert ends(world) == [certain]
    assert [each.end for each in world.meta.recorded_ends().values()] == [certain]
    with pytest.raises(UsageError, match="is off"):
        switch_off(world.dynamodb, world.archive)


def test_an_end_of_a_stream_that_is_on() -> None:
    """An end that was recorded before the stream was switched off, which then failed, ends nothing
    while that stream is on."""
    world = in_use(running)
    (stream,) = world.known()
    world.meta.write_end(stream.label, End(int(world.model.now) - 50, "switched off"))
    assert ends(world) == [None]
    world.model.tick(100)
    _, end = switch_off(world.dynamodb, world.archive)
    assert end > world.model.now - 20
    assert ends(world) == [end]


@pytest.mark.parametrize("skew", [-4, 0, 4])
def test_the_end_by_another_clock(skew: float) -> None:
    """DynamoDB's clock, by which the end is taken, and that of the stream's records may differ by
    SKEW: no second is claimed in which the stream was off."""
    world = in_use(running, skew)
    off = int(world.model.now)
    _, end = switch_off(world.dynamodb, world.archive)
    assert end < off


def test_enable_in_the_second_of_disable() -> None:
    """A stream that is switched on right after another went off gets another second: records of
    both would be taken for each other's."""
    world = in_use(running)
    switch_off(world.dynamodb, world.archive)
    world.model.now = off = float(int(world.model.now))
    asked: list[float] = []
    update = world.dynamodb._update_table  # noqa: SLF001

    def watched(request: dict[str, Any]) -> Any:
        asked.append(world.model.now)
        return update(request)

    world.dynamodb._update_table = watched  # type: ignore[method-assign]  # noqa: SLF001
    stream, _ = switch_on(world.dynamodb, world.archive, "function")
    assert int(asked[0]) > int(off)
    assert from_iso(stream.label) > int(off)


@pytest.mark.parametrize("on", [False, True])
def test_a_switch_that_is_sent_again(monkeypatch: pytest.MonkeyPatch, *, on: bool) -> None:
    """The answer to a switch is lost, and AWS refuses the same request when it is sent again: the
    stream is where it should be, so that nothing failed. When it is not, the refusal is
    reported."""
    world = in_use(running)
    if on:
        switch_off(world.dynamodb, world.archive)
        world.model.tick(10)
    update = world.dynamodb._update_table  # noqa: SLF001

    def switch() -> Any:
        if on:
            return switch_on(world.dynamodb, world.archive, "function")
        return switch_off(world.dynamodb, world.archive)

    def refused(_: dict[str, Any]) -> Any:
        error = refusal("ValidationException")
        error.response["ResponseMetadata"] = {"RetryAttempts": 1}
        raise error

    def again(request: dict[str, Any]) -> Any:
        update(request)
        refused(request)

    with monkeypatch.context() as patch:
        patch.setattr(world.dynamodb, "_update_table", refused)
        with pytest.raises(ClientError, match="ValidationException"):
            switch()
        patch.setattr(world.dynamodb, "_update_table", again)
        switch()
    assert bool(world.model.stream) is on
    assert len(world.meta.recorded_ends()) == 1
    assert len(world.meta.streams()) == 1 + on
