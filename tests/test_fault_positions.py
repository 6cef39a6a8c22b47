"""A sample of all fault positions (tests/fault_positions.py), the same in every run, and what the
harness itself must notice."""

from collections.abc import Iterator

import pytest

from tests.cli import Request
from tests.fault_positions import (
    COMMANDS,
    KINDS,
    OF_WRITES,
    Fault,
    Runs,
    Undisturbed,
    is_write,
    positions,
    require_same,
    runs,
    sample,
)
from tests.fault_worlds import STAGES

pytestmark = pytest.mark.server

SAMPLED = (
    "disable",
    "enable",
    "follow --once",
    "handler",
    "redrive",
    "restore --in-place",
    "restore into a table",
    "undo",
)
"""The commands whose positions are sampled here; `make soak` tries all."""


SEED = 11
"""Change it to sample other positions."""


@pytest.fixture(scope="module")
def found(moto_url: str) -> Iterator[Runs]:
    with runs(moto_url, twice=False) as built:
        yield built


@pytest.mark.parametrize("name", SAMPLED)
def test_a_failure_at_one_request(found: Runs, name: str) -> None:
    """One failure at one request of a command is reported with the right exit code, and running the
    command again ends as if nothing had failed."""
    kind = KINDS[(SAMPLED.index(name) + SEED) % len(KINDS)]
    for position in sample(positions(found, [name], [kind]), 1, SEED):
        found.fail(*position)


def test_positions_are_generated() -> None:
    """Every request of an undisturbed run is a position of each kind of failure; of those that kill
    or lose an answer, only requests that write."""
    made = Undisturbed(requests=5, writes=2, wanted={}, code=0)
    assert {kind: len(made.positions(kind)) for kind in KINDS} == {
        kind: 2 if kind in OF_WRITES else 5 for kind in KINDS
    }


def test_a_sample_is_spread_and_repeatable() -> None:
    """The same seed gives the same positions, and each stretch of them is there."""
    every = [("backfill", "lost", number) for number in range(100)]
    chosen = sample(every, 10, seed=3)
    assert chosen == sample(every, 10, seed=3)
    assert [number // 10 for _, _, number in chosen] == [*range(10)]
    assert chosen != sample(every, 10, seed=4)


@pytest.mark.parametrize(
    ("operation", "method", "path", "writes"),
    [
        ("PutObject", "PUT", "/b/orders/1", True),
        ("GetObject", "GET", "/b/orders/1", False),
        ("DELETE", "DELETE", "/b/failed/1", True),
        ("UpdateItem", "POST", "/", True),
        ("DescribeTable", "POST", "/", False),
        ("POST", "POST", "/2015-03-31/event-source-mappings/", True),
        ("GetObject", "GET", "/2015-03-31/event-source-mappings/u", False),
        ("POST", "POST", "/2015-03-31/functions/f/invocations", False),
    ],
)
def test_what_writes(operation: str, method: str, path: str, *, writes: bool) -> None:
    """A request that may change something is known by its operation, or by its method where Lambda
    answers it."""
    assert is_write(Request(operation, path, b"{}", method)) is writes


def test_a_fault_fails_one_request() -> None:
    """Only the request at the position fails; after a cut, none is answered any more."""
    put = Request("PutObject", "/b/1", b"", "PUT")
    get = Request("GetObject", "/b/1", b"", "GET")
    lost = Fault("lost", 2)
    assert [bool(lost(each)) for each in (put, get, put, put)] == [False, False, True, False]
    cut = Fault("cut off", 1)
    assert [bool(cut(each)) for each in (get, put, get, put)] == [False, True, True, True]
    busy = Fault("busy", 2)
    assert [bool(busy(each)) for each in (put, get, put)] == [False, True, False]


def test_a_difference_is_noticed() -> None:
    """Two worlds that differ in one place are told apart, and the place is named."""
    with pytest.raises(AssertionError, match=r"live\.rows: 1, and undisturbed 2"):
        require_same({"live": {"rows": 1, "tags": 3}}, {"live": {"rows": 2, "tags": 3}})


def test_every_command_has_a_stage() -> None:
    """Each command is tried in a world that exists."""
    assert {each.stage for each in COMMANDS.values()} <= STAGES.keys()
