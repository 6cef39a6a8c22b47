"""Histories that a seed decides: they hold, they can be replayed, and they find what is planted."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from stream_backup.archive.announce import Announcer
from stream_backup.archive.layout import Archive, Object
from stream_backup.core.stamp import Stamp
from tests import simulation
from tests.model import Model
from tests.mutants import ROOT
from tests.process import pause
from tests.scheduler import Scheduler, Tasks
from tests.simulation import simulate, simulating

SEEDS, PARTS = 100, 4
"""How many short histories run here, and in how many tests. `make soak` runs other and longer
ones."""

FOUND = 40
"""Within so many short histories, each planted defect is found."""


@pytest.fixture(autouse=True)
def product() -> Iterator[None]:
    with simulating():
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_histories(part: int) -> None:
    """Laws 4, 5, 7, 11, 12, 13 and 14: whoever acts next at every request, every moment that is
    claimed is exact, restores and rewinds give it, an undo gives back the rows of its window and
    touches no other, the undo of its receipt gives back what it changed, and after any history the
    present becomes exact again."""
    restored = moments = undone = 0
    for seed in range(1 + part, SEEDS + 1, PARTS):
        counts = simulate(seed, short=True).counts
        restored += counts["restored"]
        moments += counts["moments"]
        undone += counts["undone"]
    assert undone
    assert restored > SEEDS / PARTS / 2
    assert moments > SEEDS / PARTS * 4


def test_the_same_seed_gives_the_same_history() -> None:
    """A history depends on nothing but its seed: not on what ran before it, the hashes of strings,
    or the process."""
    seeds = [3, 8, 9, 16]
    first = [simulate(seed, short=True).scheduler.trace for seed in seeds]
    again = [simulate(seed, short=True).scheduler.trace for seed in reversed(seeds)]
    assert first == again[::-1]
    assert len(set(first)) == len(first)
    printed = [replay("8", "2", hashes) for hashes in ("1", "2")]
    assert printed[0] == printed[1]


def replay(seed: str, count: str, hashes: str) -> str:
    """Returns the trace of histories that another process runs, with other hashes of strings."""
    command = [sys.executable, "-m", "tests.simulation", "--short", "--seed", seed]
    environment = os.environ | {"PYTHONHASHSEED": hashes}
    done = subprocess.run(
        [*command, "--count", count],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    trace = done.stdout.splitlines()[0]
    assert trace.startswith("trace: ")
    return trace


def put_over_anything(self: Archive, row: Object, floor: int, *, empty: bool) -> bool:
    self.announcer.put(int(row.metadata["at"]), self.store.put, *row)
    return True


def announce_nothing(self: Announcer, at: int) -> float:
    return self._clock()


PLANTED: dict[str, tuple[Any, str, Any]] = {
    "a backfill puts over anything": (Archive, "put_baseline", put_over_anything),
    "late changes are not announced": (Announcer, "prepare", announce_nothing),
    "of two changes in a second the first counts": (
        Stamp,
        "rank",
        property(lambda self: (self.at, -self.sequence)),
    ),
}


@pytest.mark.parametrize("defect", PLANTED)
def test_what_is_planted_is_found(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the product is found within a few histories, and the failure says how to replay
    it."""
    owner, name, broken = PLANTED[defect]
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(AssertionError) as found:
        histories(FOUND)
    seed = simulation.running[-1].seed
    said = [f"Replay it with: python -m tests.simulation --seed {seed} --short"]
    assert found.value.__notes__ == said
    with pytest.raises(AssertionError):
        simulate(seed, short=True)


def histories(count: int) -> None:
    for seed in range(1, count + 1):
        simulate(seed, short=True)


def test_a_failure_is_printed_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure ends the run with exit code 1, and with the command that replays it."""

    def fail(_: object) -> None:
        raise AssertionError("a law failed")

    monkeypatch.setattr(simulation.Simulated, "settle", fail)
    assert simulation.main(["--seed", "4", "--count", "9", "--short"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "seed 4 fails: AssertionError: a law failed",
        "Replay it with: python -m tests.simulation --seed 4 --short",
    ]
    assert "Traceback" in printed.err


# ------------------------------------------------------------
# the scheduler


def scheduled(seed: int, latency: float = 0.0) -> Scheduler:
    return Scheduler(Random(seed), Model(Random(0)), lambda _: latency)


def order(seed: int) -> str:
    """Two parties that make three requests each."""
    scheduler, acts = scheduled(seed), []

    def act(name: str) -> None:
        for _ in range(3):
            acts.append(name)
            pause()

    for name in "ab":
        scheduler.launch(name, lambda name=name: act(name))  # type: ignore[misc]
    scheduler.run()
    return "".join(acts)


def test_any_party_may_act_next() -> None:
    """At every request the seed decides who acts next: all orders occur."""
    assert len({order(seed) for seed in range(400)}) == 20


def test_time_passes_while_everybody_waits() -> None:
    """The clock jumps to the first party that is ready, and stands still while one acts."""
    scheduler, seen = scheduled(1), []
    begun = scheduler.clock.now

    def sleeper(seconds: float) -> None:
        scheduler.sleep(seconds)
        seen.append((seconds, scheduler.clock.now - begun))

    for seconds in (7.0, 3600.0, 0.5):
        scheduler.launch("sleeper", lambda seconds=seconds: sleeper(seconds))  # type: ignore[misc]
    scheduler.run()
    assert seen == [(0.5, 0.5), (7.0, 7.0), (3600.0, 3600.0)]


def test_threads_of_a_pool_are_scheduled() -> None:
    """The work of a pool is interleaved by the seed too, and its results are in order."""
    orders = set()
    for seed in range(60):
        scheduler, acts = scheduled(seed), list[int]()

        def work(number: int, acts: list[int] = acts) -> int:
            pause()
            acts.append(number)
            return number * 2

        def use(scheduler: Scheduler = scheduler, work: Callable[[int], int] = work) -> None:
            with Tasks(scheduler) as pool:
                assert list(pool.map(work, range(3))) == [0, 2, 4]

        party = scheduler.launch("user", use)
        scheduler.run()
        assert party.error is None
        orders.add(tuple(acts))
    assert len(orders) == 6


def test_a_party_dies_with_its_threads() -> None:
    """A party that dies at a request does nothing any more, in none of its threads."""
    scheduler, done = scheduled(2), list[int]()

    def work(number: int) -> None:
        for _ in range(5):
            pause()
        done.append(number)

    def use() -> None:
        with Tasks(scheduler) as pool:
            list(pool.map(work, range(4)))

    party = scheduler.launch("user", use, fuse=9)
    scheduler.run()
    assert not party.alive
    assert party.error is not None
    assert done == []


def test_parties_that_wait_for_each_other_are_reported() -> None:
    scheduler = scheduled(3)
    scheduler.launch("first", lambda: scheduler.until(lambda: False))
    with pytest.raises(AssertionError, match="Everybody waits for another"):
        scheduler.run()


def test_every_history_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails does not end the run, so that it hides no other."""
    times = iter(range(9))
    monkeypatch.setattr(simulation, "time", SimpleNamespace(monotonic=lambda: next(times)))

    def fails(seed: int) -> None:
        raise AssertionError(f"wrong in {seed}")

    monkeypatch.setattr(simulation, "simulate", fails)
    with pytest.raises(AssertionError, match=r"Of 2 histories.*wrong in 17;.*wrong in 18"):
        simulation.run(2, 17, lambda _: None)
