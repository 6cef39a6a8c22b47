"""How many requests are under way at once: the rule against simulated services, and the pool that
follows it."""

import gc
import heapq
import resource
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import boto3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backfill.segment import Segment
from stream_backup.archive.chunks import read_chunks
from stream_backup.archive.layout import Archive, History
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.pool import COLLECTED, RequestPool, most_in_flight, slow_down
from stream_backup.archive.slices import SLICES
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.connection import Connection
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.core.in_flight import (
    FEWEST,
    FIRST,
    GAIN,
    LOSS,
    MOST,
    PERIOD,
    REST,
    InFlight,
)
from stream_backup.core.item import Item
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Run
from stream_backup.core.version import Version

MINUTE = 60.0


@dataclass
class Service:
    """Answers after `latency` seconds, at most `ceiling` requests a second: what comes faster waits
    for its turn. From `refusing` requests a second on, it refuses them."""

    latency: float
    ceiling: float = float("inf")
    refusing: float = float("inf")
    noise: float = 0.0
    random: Random = field(default_factory=lambda: Random(1))
    refused: int = 0
    _free: float = 0.0
    _allowed: float = 0.0

    def answer(self, now: float, refuse: Callable[[float], None]) -> float:
        """Returns when a request of now is answered. One that is refused is sent again after a
        tenth of a second, for which its thread waits."""
        took = self.latency * self.random.uniform(1 - self.noise, 1 + self.noise)
        if self._allowed > now + self.latency:
            self.refused += 1
            refuse(now)
            return now + took + 0.1
        self._allowed = max(self._allowed, now) + 1 / self.refusing
        self._free = max(self._free, now) + 1 / self.ceiling
        return self._free + took


def drive(rule: InFlight, service: Service, seconds: float, start: float = 0.0) -> list[int]:
    """Keeps as many requests under way as the rule says, and returns what it said at each answer,
    over the last half of the time."""
    now, busy, said = start, list[tuple[float, float, int]](), list[int]()
    while now < start + seconds:
        while len(busy) < rule.number:
            full = rule.number if len(busy) + 1 == rule.number else 0
            heapq.heappush(busy, (service.answer(now, rule.refused), now, full))
        ended, began, full = heapq.heappop(busy)
        now = max(now, ended)
        if full == rule.number:
            rule.finished(began, ended)
        assert FEWEST <= rule.number <= rule.most
        if now > start + seconds / 2:
            said.append(rule.number)
    return said


def best(service: Service, most: int = MOST) -> float:
    """The number from which on a service is no faster."""
    return min(most, max(FEWEST, service.latency * service.ceiling))


def settled(service: Service, seconds: float = 24.0) -> int:
    """The number at which the rule spends most of its time with a service."""
    said = drive(InFlight(), service, seconds)
    return max(set(said), key=said.count)


def test_far_services_get_many_requests() -> None:
    """A service that always answers after 100 ms, however many requests it gets, soon gets as many
    as are allowed."""
    assert settled(Service(0.1)) == MOST


def test_a_near_service_gets_few_requests() -> None:
    """A service that is as fast with 16 requests as with 512 is never asked for long with more."""
    assert settled(Service(0.001, ceiling=2000)) == FEWEST


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("ceiling", [100.0, 300.0, 700.0, 1500.0])
@pytest.mark.parametrize("latency", [0.03, 0.08, 0.2])
def test_the_number_comes_near_the_best(latency: float, ceiling: float, noise: float) -> None:
    """With a service that has a latency and a highest rate, the number settles where that rate is
    nearly reached, and at not much more than it takes."""
    service = Service(latency, ceiling, noise=noise)
    number, enough = settled(service), best(service)
    assert number >= enough / GAIN / 1.1
    assert number <= max(FEWEST, 2 / GAIN * enough * 1.25)


SIZES = (16, 32, 64, 128, 256, 512)


def play(rule: InFlight, rates: dict[int, float], seconds: float) -> tuple[float, list[int]]:
    """Does pieces of work at the rate that belongs to each number, and returns how many a second
    were done, and the number at each."""
    now, said = 0.0, list[int]()
    while now < seconds:
        number = rule.number
        now += 1 / rates[number]
        rule.finished(now - number / rates[number], now)
        said.append(number)
    return len(said) / seconds, said


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        ((1.0, 1.0, 1.0, 1.0, 1.0), 16),  # every number is as fast
        ((1.02, 1.02, 1.02, 1.02, 1.02), 16),
        ((1.1, 1.1, 1.1, 1.1, 1.1), FIRST),  # neither better nor worse
        ((1.9, 1.5, 1.1, 1.0, 0.9), FIRST),
        ((2.0, 2.0, 2.0, 1.6, 1.1), 256),
        ((2.0, 2.0, 2.0, 2.0, 1.9), 512),
        ((1.3, 1.0, 1.0, 1.0, 1.0), 32),
    ],
)
def test_a_number_is_left_only_for_a_better_one(steps: tuple[float, ...], number: int) -> None:
    """The number goes up for a rate that is GAIN times as high, and down where that costs nothing.
    Where a smaller number would be slower, it stays."""
    _, said = play(InFlight(), curve(*steps), 20)
    last = said[len(said) // 2 :]
    assert max(set(last), key=last.count) == number


def curve(*steps: float) -> dict[int, float]:
    """Returns a rate for each number; each is so many times the one before."""
    rates = {SIZES[0]: 500.0}
    for before, size, step in zip(SIZES, SIZES[1:], steps, strict=False):
        rates[size] = step * rates[before]
    return rates


@given(st.lists(st.floats(0.7, 2), min_size=5, max_size=5))
@example([1.14, 1.14, 1.14, 1.14, 1.14])
@example([1.06, 1.06, 0.7, 0.7, 0.7])
@settings(max_examples=25, deadline=None)
def test_no_service_is_much_slower_than_with_the_first_number(steps: list[float]) -> None:
    """However the rate depends on the number, the number is never left for one that is much slower,
    so that adapting it costs little where there is nothing to gain: the trials, and at most twice
    LOSS."""
    rates = curve(*steps)
    done, _ = play(InFlight(), rates, 20)
    assert done >= 0.95 * rates[FIRST] / LOSS**2


def test_refusals_halve_the_number_and_it_comes_back() -> None:
    """A service that refuses what exceeds a rate is not asked much more often than that. Once it
    refuses nothing, the number is soon as large as before."""
    rule, service = InFlight(), Service(0.1)
    drive(rule, service, 8)
    assert rule.number == MOST
    service.refusing = 500.0
    said = drive(rule, service, 30, start=8)
    assert sum(said) / len(said) < 2 * 0.1 * 500
    service.refusing, service.refused = float("inf"), 0
    drive(rule, service, REST + 8, start=38)
    assert not service.refused
    assert rule.number == MOST


def test_many_refusals_of_one_moment_halve_the_number_once() -> None:
    """All requests that were under way when a service became busy are refused for the same
    reason."""
    rule = InFlight()
    drive(rule, Service(0.1), 8)
    for _ in range(MOST):
        rule.refused(8.0)
    assert rule.number == MOST // 2


@given(
    st.integers(1, 2 * MOST),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60),
)
@settings(max_examples=50, deadline=None)
def test_the_number_never_leaves_its_bounds(most: int, acts: list[tuple[float, bool]]) -> None:
    """Whatever a service does, the number is neither below nor above its bounds."""
    rule, now = InFlight(most), 0.0
    for took, refused in acts:
        if refused:
            rule.refused(now)
        for _ in range(2 * rule.number):
            rule.finished(now, now + took)
        now += took
        assert min(FEWEST, most) <= rule.number <= min(most, MOST)


def test_an_instant_service_divides_by_nothing() -> None:
    """Work that takes no time by a coarse clock is no error."""
    rule = InFlight()
    for at in range(1000):
        rule.finished(at * PERIOD, at * PERIOD)
    assert rule.number >= FEWEST


class Gate:
    """Work that begins, and then waits until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, number: int = 0) -> int:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        assert self.go.wait(MINUTE)
        with self._lock:
            self.now -= 1
        return number

    def wait(self, number: int) -> None:
        """Waits until so many have begun."""
        for _ in range(number):
            assert self.begun.acquire(timeout=MINUTE)


def test_as_many_threads_as_the_rule_says() -> None:
    """Of work that is submitted at once, as much is under way as the rule says, in its order, and
    the results come in their order."""
    gate = Gate()
    with RequestPool(InFlight()) as pool:
        found = pool.map(gate, range(2 * FIRST))
        gate.wait(FIRST)
        gate.go.set()
        assert list(found) == list(range(2 * FIRST))
    assert gate.most == FIRST


def test_no_thread_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool starts no more threads than it has work, and none before."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def counted(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted)
    gate = Gate()
    with RequestPool(InFlight()) as pool:
        assert not started
        pending = [pool.submit(gate) for _ in range(3)]
        gate.wait(3)
        assert len(started) == 3
        gate.go.set()
        wait(pending)


def test_the_pool_grows_with_the_rule() -> None:
    """When the number grows, work that waited begins at once."""
    rule, gate = InFlight(), Gate()
    with RequestPool(rule) as pool:
        first = pool.submit(int)
        found = [pool.submit(gate) for _ in range(200)]
        first.result(MINUTE)
        gate.wait(FIRST)
        rule.number = 100
        found.append(pool.submit(gate))
        gate.wait(100 - FIRST)
        gate.go.set()
        assert [each.result(MINUTE) for each in found] == [0] * 201
    assert gate.most == 100


def test_the_pool_shrinks_with_the_rule() -> None:
    """When the number falls, threads that have done their piece begin no other until few enough
    are busy."""
    rule, first, second = InFlight(), Gate(), Gate()
    rule.number = 64
    with RequestPool(rule) as pool:
        found = [pool.submit(first) for _ in range(64)]
        first.wait(64)
        found += [pool.submit(second) for _ in range(64)]
        rule.number = FEWEST
        first.go.set()
        wait(found[:64])
        second.wait(FEWEST)
        second.go.set()
        wait(found)
    assert second.most == FEWEST


def test_the_pool_measures_only_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work counts for the number only if as many pieces as that were under way when it began."""
    counted: list[float] = []
    monkeypatch.setattr(InFlight, "finished", lambda _, began, ended: counted.append(ended - began))
    with RequestPool(InFlight()) as pool:
        # A thread may still count as busy when its result is there, so no more than these.
        for _ in range(FIRST - 1):
            pool.submit(int).result(MINUTE)
    assert counted == []
    gate = Gate()
    with RequestPool(InFlight()) as pool:
        found = pool.map(gate, range(3 * FIRST))
        gate.wait(FIRST)
        gate.go.set()
        assert sum(1 for _ in found) == 3 * FIRST
    assert len(counted) >= FIRST


def test_trouble_in_a_thread_halves_the_number() -> None:
    """Code that finds AWS busy tells the pool whose work it does, and nobody where there is
    none."""
    slow_down()
    rule = InFlight()
    rule.number = 128
    with RequestPool(rule) as pool:
        pool.submit(slow_down).result(MINUTE)
        assert rule.number == 64
    slow_down()
    assert rule.number == 64


def test_errors_and_the_end() -> None:
    """An error is raised where the result is used. At its end, a pool does what was submitted, and
    it takes nothing more."""
    done: list[int] = []
    with RequestPool(InFlight()) as pool:
        failed = pool.submit(int, "x")
        for number in range(100):
            pool.submit(done.append, number)
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result()
    assert sorted(done) == list(range(100))
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_what_was_not_begun_can_be_cancelled() -> None:
    """A pool that is shut down with `cancel_futures` does only what was begun, as closing a map
    does."""
    gate = Gate()
    pool = RequestPool(InFlight())
    found = [pool.submit(gate) for _ in range(FIRST + 30)]
    gate.wait(FIRST)
    pool.shutdown(wait=False, cancel_futures=True)
    gate.go.set()
    pool.shutdown()
    ended = [_outcome(each) for each in found]
    assert ended == ["done"] * FIRST + ["cancelled"] * 30


def _outcome(future: Future[int]) -> str:
    try:
        future.result(MINUTE)
    except CancelledError:
        return "cancelled"
    return "done"


def test_a_machine_that_allows_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no further thread can be started, the work is done by those that there are."""
    start, left = threading.Thread.start, [5]

    def limited(thread: threading.Thread) -> None:
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    rule = InFlight()
    with RequestPool(rule) as pool:
        assert list(pool.map(int, range(300))) == list(range(300))
    assert rule.number <= 5
    left[0] = 0
    with RequestPool(InFlight()) as pool, pytest.raises(RuntimeError, match="new thread"):
        pool.submit(int)


def test_a_process_with_a_pool_seldom_looks_for_garbage() -> None:
    """Python does not go through a page of a scan, which is 30,000 objects, while it is read."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 11, 12)
        RequestPool(InFlight()).shutdown()
        assert gc.get_threshold() == (COLLECTED, 11, gc.get_threshold()[2])
        assert COLLECTED > 4 * 30_000
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("files", "most"),
    [(1024, 448), (256, 64), (100, 1), (10**6, MOST), (resource.RLIM_INFINITY, MOST)],
)
def test_open_files_limit_the_threads(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    """Each thread may have two connections, and some files are left for everything else."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
    assert most_in_flight() == most


NOW = 1_700_000_000


@dataclass
class OnePage:
    """A table of which each scan returns everything on one page."""

    items: list[Item]

    def call(self, operation: str, _: dict[str, Any]) -> Answer:
        assert operation == "scan"
        return Answer({"Items": self.items}, NOW)


class Handed(Executor):
    """Does everything at once, and keeps the size of each piece."""

    def __init__(self) -> None:
        self.pieces: list[int] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        self.pieces.append(len(args[0]))
        future: Future[Any] = Future()
        future.set_result(work(*args))
        return future


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 1000, 5000])
def test_the_pieces_of_a_page(size: int) -> None:
    """Every item of a page is put once. The pages of four segments have as many pieces as there may
    be requests in flight, unless they have fewer items, and no piece is large."""
    items = [{"id": {"S": str(number)}} for number in range(size)]
    archive, pool = Archive(MemoryStore(lambda: NOW), "", "t", KeySchema((("id", "S"),))), Handed()
    segment = Segment(
        dynamodb=cast(DynamoDB, OnePage(items)),
        archive=archive,
        run=Run("run", "label", 0, 0, 0, complete=False, counts={}),
        number=0,
        total=4,
        empty=True,
        budget=ReadBudget(None),
        pool=pool,
        stop=threading.Event(),
        save=lambda *_: None,
        progress=lambda _: None,
    )
    counts = segment.scan(None, NOW)
    assert (counts.read, counts.written) == (size, size)
    assert sum(len(found.versions) for found in archive.histories()) == size
    assert 4 * len(pool.pieces) >= min(4 * size, MOST)
    assert max(pool.pieces, default=0) <= 5


def test_the_slices_of_a_restore_have_enough_pieces() -> None:
    """The chunks that all slices read at once have as many pieces as there may be requests in
    flight."""
    pool = Handed()
    histories = [
        History(f"{number:032x}", (Version(f"t/{number:032x}", "1", 0, 1, ""),))
        for number in range(1000)
    ]
    next(read_chunks(lambda history: history.name, histories, pool))
    assert len(pool.pieces) * len(SLICES) >= MOST


def test_the_clients_have_a_connection_for_each_request() -> None:
    """A request never waits for a connection, and none is opened for one request only."""
    connection = Connection(None, "us-east-1", "s3://bucket")
    connection.session = boto3.Session("key", "secret", region_name="us-east-1")
    for client in (connection.s3, connection.dynamodb.tables):
        assert client.meta.config.max_pool_connections >= MOST
