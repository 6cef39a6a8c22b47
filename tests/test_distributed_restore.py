"""Distributed restores by the real worker and the template's state machine, in this process:
whatever happens to workers and executions, the table is what a local restore makes, and nothing
that is done is done again."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from restore.kept import DoneBlocks
from restore.usable import DONE
from stream_backup.aws.table import RESTORING
from stream_backup.core.key import key_hash
from stream_backup.core.rounds import IDLE_ROUNDS
from stream_backup.core.slice import NAMES, NameSlice, cut_names
from stream_backup.distributed.limits import limited
from stream_backup.distributed.parts import AT_ONCE, WAVE, Parts
from stream_backup.errors import ArchiveError, IncompleteError
from tests import states
from tests.distributed_world import ExitError, Killed
from tests.drill_world import key
from tests.fake_dynamodb import refusal
from tests.model import SCHEMA
from tests.restore_world import INTO, RestoreWorld, name_of

World = Callable[[], RestoreWorld]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return lambda: RestoreWorld(monkeypatch)


def require_equal(found: RestoreWorld) -> None:
    """The table has the rows of the moment, and is complete."""
    assert found.restored() == found.expected()
    assert len(found.restored()) == 30
    assert found.finished


def test_it_equals_a_local_restore(world: World) -> None:
    """Without trouble, the table, its tags and the counts are those of a local restore, in one
    round."""
    local, found = world(), world()
    outcome, tally = local.restore_here()
    status, end = found.distribute()
    assert found.raised == []
    assert status == "SUCCEEDED"
    assert end
    assert end.failure is None
    require_equal(local)
    require_equal(found)
    assert found.tags() == local.tags()
    assert end.counts["written"] == outcome.written
    names = ("put", "absent")
    assert [end.counts[name] for name in names] == [tally.steps[name] for name in names]
    assert end.counts["versions"] == tally.versions
    assert (end.counts["failed"], end.counts["unreadable"]) == (0, 0)
    assert len(found.run.rounds) == 1
    assert found.run.at_once == [4]
    assert end.result == {"into": INTO, "resumed": False}


@pytest.mark.parametrize("request_number", [1, 2, 7, 19, 43, 90])
def test_a_killed_worker_is_replaced(world: World, request_number: int) -> None:
    """Whichever request a worker dies at, Step Functions calls it again, and the table is equal."""
    found = world()
    count = [0]

    def die() -> None:
        count[0] += 1
        if count[0] == request_number:
            raise Killed

    found.on_call = lambda _: setattr(found, "on_request", die)
    status, _ = found.distribute()
    assert count[0] > request_number
    assert status == "SUCCEEDED"
    require_equal(found)


def test_a_slice_that_fails_twice_is_done(world: World) -> None:
    """A slice whose worker fails twice is done by the third one, after waits that grow."""
    found = world()
    failing = [2]

    def fail(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["name"] == "2" and failing[0]:
            failing[0] -= 1
            raise ExitError("out of memory")

    found.on_call = fail
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found)
    assert found.run.waits == [2, 4]
    assert len(found.run.rounds) == 1


@pytest.mark.parametrize("which", ["over", "stop"])
def test_a_worker_that_runs_out_of_time_is_continued(world: World, which: str) -> None:
    """Workers that run out of time leave the rest to the next round, which is recorded in the tags
    of the table, and every item is counted once in the end."""
    found = world()
    count = [0]

    def tick() -> None:
        count[0] += 1
        if count[0] == 150:
            getattr(found.time, which).set()

    seen: list[DoneBlocks] = []
    found.on_request = tick
    found.on_call = lambda _: seen.append(DoneBlocks.of(found.tags().get(DONE, "")))
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    require_equal(found)
    assert len(found.run.rounds) > 1
    assert any(len(each) > 0 for each in seen), "nothing was recorded"
    if which == "over":
        assert (end.counts["written"], end.counts["absent"]) == (30, 10)


def test_a_stopped_execution_is_resumed(world: World) -> None:
    """After an execution was stopped in its first round, the same command loads only what is left:
    no row of a finished slice is written again."""
    found = world()

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["name"] == "5":
            raise states.AbortedError

    found.on_call = stop
    assert found.distribute() == ("ABORTED", None)
    assert not found.finished
    before = set(found.restored())
    assert before
    found.on_call = lambda _: None
    written: Counter[str] = Counter()
    found.on_batch(lambda items: written.update(key_hash(SCHEMA.key_of(each)) for each in items))
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    require_equal(found)
    assert {*written} == found.expected().keys() - before
    assert max(written.values()) == 1
    assert end.result["resumed"]


def test_a_table_that_was_deleted_is_restored_from_its_beginning(world: World) -> None:
    """What workers reported about a table that was deleted since says nothing about the new one of
    the same name."""
    found = world()

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == "slice" and event["slice"]["name"] == "5":
            raise states.AbortedError

    found.on_call = stop
    found.distribute()
    found.delete_table()
    found.model.tick(60)
    found.prepare()  # and this run is killed before it starts its execution
    found.on_call = lambda _: None
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found)


def test_a_local_restore_resumes_a_distributed_one(world: World) -> None:
    """The tags of the table say what is done after each round, so this machine can go on, and the
    other way around."""
    found = world()
    count = [0]

    def tick() -> None:
        count[0] += 1
        if count[0] == 300:
            found.time.over.set()

    found.on_request = tick

    def stop(event: dict[str, Any]) -> None:
        if event["round"] == 1:
            raise states.AbortedError

    found.on_call = stop
    assert found.distribute() == ("ABORTED", None)
    done = DoneBlocks.of(found.tags()[DONE])
    assert len(done) > 0
    found.on_request = lambda: None
    outcome, _ = found.restore_here()
    assert outcome.resumed
    require_equal(found)


def test_a_distributed_restore_resumes_a_local_one(world: World) -> None:
    """What a local restore has recorded is not loaded again."""
    found = world()
    target = found.prepare()
    done = DoneBlocks().and_of([each.finished() for each in cut_names(4)[:3]])
    target.keep(done)
    assert found.distribute()[0] == "SUCCEEDED"
    whole = {name for name in found.expected() if name >= "c"}
    assert found.restored().keys() == whole
    assert found.finished


def test_an_item_that_cannot_be_written_is_reported(world: World) -> None:
    """An item that the table refuses is left, with its key and the reason; every other item is
    restored, and the table stays marked as partly filled. The same command resumes."""
    found = world()
    bad = key(1)
    failing = [True]

    def refuse(items: list[Any]) -> None:
        if failing[0] and any(each["sk"] == bad["sk"] for each in items):
            raise refusal("ValidationException")

    found.on_batch(refuse)
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.failure
    error = end.failure.error()
    assert isinstance(error, IncompleteError)
    assert "1 items are not as they were at that moment" in str(error)
    assert "item 1" in str(error)
    assert len(found.restored()) == 29
    assert end.counts["written"] == 29
    assert RESTORING in found.tags()
    assert not found.finished
    failing[0] = False
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found)


def test_an_unreadable_version_is_reported(world: World) -> None:
    """An item that cannot be read ends the run with the error of a local restore, unless
    --incomplete-ok skips it."""
    found = world()
    path = next(path for path in found.store.objects if path.endswith(name_of(1)))
    found.store.objects[path] = [each._replace(payload=b"{") for each in found.store.objects[path]]
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.failure
    assert isinstance(end.failure.error(), ArchiveError)
    assert "1 items have a version in the archive that cannot be read" in end.failure.text
    assert not found.finished
    assert len(found.restored()) == 29
    status, end = found.distribute(incomplete_ok=True)
    assert status == "SUCCEEDED"
    assert end
    assert end.counts["unreadable"] == 1
    assert found.finished


def test_what_every_worker_is_refused_ends_the_run(world: World) -> None:
    """When no worker may read, the run ends with the reason, and the table stays marked."""
    found = world()

    def refuse() -> None:
        raise refusal("AccessDeniedException")

    found.on_call = lambda event: setattr(
        found, "on_request", refuse if event["step"] == "slice" else lambda: None
    )
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.failure
    assert isinstance(end.failure.error(), IncompleteError)
    assert "does not permit" in end.failure.text
    assert len(found.run.rounds) == IDLE_ROUNDS
    assert not found.finished


def test_a_stopped_job_ends_its_workers(world: World) -> None:
    """Workers find that the job was stopped, and write nothing more."""
    found = world()
    found.on_call = lambda event: found.bucket.stop(event["job"])
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert end.left == len(found.run.rounds[0])
    assert found.restored() == {}
    assert not found.finished


def test_an_answer_that_was_lost_is_given_again(world: World) -> None:
    """A worker that is called again for a slice that it has done makes no request for it, and the
    end of a round that is repeated leaves the table as it is."""
    found = world()
    found.distribute()
    made, batches = found.store.requests.copy(), found.dynamodb.batches
    for event in list(found.calls):
        assert found.call(event) == found.call(event)
    assert found.store.requests == made
    assert found.dynamodb.batches == batches
    require_equal(found)


def test_workers_share_the_rate(world: World) -> None:
    """The rate of the run is divided among the workers that are under way."""
    found = world()
    found.distribute(write_units=10.0**9)
    job = found.bucket.job(found.calls[0]["job"])
    with limited(found.bucket, job, 1, 8, found.time) as limits:
        assert limits.writing.units == 10.0**9 / 4


def test_a_worker_keeps_to_its_rate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of a worker is booked on its share of the rate."""
    booked: list[float] = []
    monkeypatch.setattr(
        "stream_backup.distributed.limits.Allowance.spend",
        lambda _, consumed: float(bool(booked.append(consumed))),  # type: ignore[func-returns-value]
    )
    assert world().distribute(write_units=5.0)[0] == "SUCCEEDED"
    assert sum(booked) == 30


def test_a_block_is_done_when_nothing_of_it_is_left() -> None:
    """Slices that are left begin and end anywhere, and a block of which they have a name is not
    done."""
    everything, (first, *_) = DoneBlocks.all_but([]), cut_names(16)
    assert len(everything) == 1024
    assert DoneBlocks.all_but(cut_names(7)) == DoneBlocks()
    begun = first.reached("08" + "f" * 30)  # 36 of its 64 blocks
    found = DoneBlocks.all_but([begun])
    assert len(found) == 1024 - 64 + 36
    assert everything.has(first)
    assert found.has(first.finished())
    assert not found.has(first)
    assert DoneBlocks.all_but([NameSlice("0008", "0009")]) == DoneBlocks(everything.bits - 1)


def test_slow_listings_do_not_make_parts_smaller(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When each listing takes seconds, a worker does not end with parts that are ever smaller, each
    of which takes a listing: it makes few listings for few rows."""
    clock = [0.0]
    monkeypatch.setattr(
        "stream_backup.distributed.waves.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    found, most = world(), 2000
    versions = found.store.versions

    def listing(prefix: str, **given: Any) -> Any:
        clock[0] += 0.5
        if found.store.requests["list"] >= most:
            pytest.fail("too many listings")
        return versions(prefix, **given)

    monkeypatch.setattr(found.store, "versions", listing)
    assert found.distribute()[0] == "SUCCEEDED"
    require_equal(found)


@pytest.mark.parametrize(
    ("parts", "versions", "seconds", "factor"),
    [
        (64, 0, 0.1, 16),
        (64, 64 * 62, 119, 16),
        (64, 64 * 62, 121, 1),  # 30 seconds for each part, because of few versions
        (64, 64 * 63, 1, 1),
        (64, 64 * 5000, 119, 1),
        (64, 64 * 63, 121, 1 / 16),
        (5, 5 * 63, 31, 1 / 16),  # all at once
    ],
)
def test_parts_are_as_large_as_a_worker_is_fast(
    parts: int, versions: int, seconds: float, factor: float
) -> None:
    """Parts that have many versions and take long are made smaller, and parts with few versions
    larger, unless they take long. There are more of them once their size is right."""
    learned = Parts(16**20)
    learned.learn(parts, versions, seconds)
    assert learned.size == 16**20 * factor
    assert learned.number == (WAVE if factor == 1 else AT_ONCE)
    smallest, largest = Parts(1), Parts(NAMES)
    smallest.learn(64, 64 * 63, 121)
    largest.learn(64, 0, 0)
    assert (smallest.size, largest.size) == (1, NAMES)


@pytest.mark.parametrize("slices", [1, 24, 10_000])
def test_the_first_parts_are_small(slices: int) -> None:
    """A worker begins with parts of which its slice has a thousand or more."""
    for piece in cut_names(slices)[:2]:
        parts = Parts.of(piece)
        assert 1024 <= piece.left * NAMES / parts.size < 16 * 1024 * 1.01
        assert len(parts.wave(piece)) == AT_ONCE


@pytest.mark.parametrize(
    ("slices", "rows", "rate", "least", "most"),
    [
        (8, 200_000, None, 62, 1000),
        (10_000, 10**9, None, 62, 1000),
        (10_000, 10**9, 10.0, 1, 19),  # 30 seconds of the rate, in 16 parts
        (8, 100, None, 0.04, 0.8),  # 16 parts
    ],
)
def test_the_first_parts_are_a_page(
    slices: int, rows: int, rate: float | None, least: float, most: float
) -> None:
    """A worker that knows how many rows there are begins with parts of a page of a listing, of as
    many rows as it may write in 30 seconds, or of which its slice has 16."""
    for piece in cut_names(slices)[:2]:
        assert least <= Parts.of(piece, rows, rate).size / NAMES * rows <= most


def test_a_worker_makes_few_listings(world: World) -> None:
    """Parts are of one prefix each, so that a listing is made for each part, and parts become
    larger where they have few versions."""
    found = world()
    before = found.store.requests["list"]
    found.distribute()
    made = found.store.requests["list"] - before
    assert made / len(found.run.rounds[0]) < 200, made
