"""A sample of all fault positions (tests/fault_positions.py), the same in every run, and what the
harness itself must notice."""

from collections.abc import Iterator

import pytest

from tests.cli import Request
from tests.fault_places import KINDS, OF_WRITES, Fault, Place, is_write, tried
from tests.fault_positions import COMMANDS, Runs, positions, require_same, runs, sample
from tests.fault_worlds import STAGES

pytestmark = pytest.mark.server

SAMPLED = (
    "disable",
    "enable --match",
    "follow --once",
    "handler",
    "redrive --give-up",
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


def place(
    operation: str = "GetObject",
    caller: str = "a.py:1 b.py:2",
    state: str = "0",
    *,
    files: bool = False,
) -> Place:
    writes = operation.startswith("Put")
    return Place(operation, caller, state, writes, writes or files)


def test_every_request_that_writes_is_tried() -> None:
    """However alike they are, every request that writes fails once in each way. Requests that read
    are not killed."""
    places = [place(), *[place("PutObject")] * 4, place()]
    assert {kind: tried(places, kind) for kind in KINDS} == {
        kind: [2, 3, 4, 5] if kind in OF_WRITES else [1, 2, 3, 4, 5, 6] for kind in KINDS
    }


@pytest.mark.parametrize(
    ("other", "busy", "denied"),
    [
        (place(), [1, 2, 5], [1, 2, 5]),
        (
            place(caller="a.py:1 c.py:9"),
            [1, 2, 5],
            [1, 2, 3, 4, 5],
        ),  # the error ends in other lines
        (place(state="1"), [1, 2, 5], [1, 2, 3, 4, 5]),  # something was written between them
        (place(caller="c.py:1 b.py:2"), [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        (place("HeadObject"), [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
    ],
)
def test_of_requests_that_are_the_same_three_are_tried(
    other: Place, busy: list[int], denied: list[int]
) -> None:
    """Of reads of the same operation by the same line, the first, the second, and the last are
    refused once. They are denied wherever all lines or the state differ."""
    places = [place(), place(), place(), other, other]
    assert tried(places, "busy") == busy
    assert tried(places, "denied") == denied


def test_where_files_are_written_every_read_may_leave_something() -> None:
    """A command that writes files is killed at its reads too, in each state of the files."""
    places = [place(state=state, files=True) for state in ("0 a", "0 a", "0 a", "0 a", "0 b")]
    assert tried(places, "killed") == [1, 2, 4, 5]


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
    put = Request("PutObject", "/b/1", b"", "PUT", "a.py:1")
    get = Request("GetObject", "/b/1", b"", "GET", "a.py:1")
    lost = Fault("lost", ("PutObject", "a.py:1"), 2)
    assert [bool(lost(each)) for each in (put, get, put, put)] == [False, False, True, False]
    assert [each.state for each in lost.places] == ["0 ", "1 ", "1 ", "2 "]
    cut = Fault("cut off", ("PutObject", "a.py:1"), 1)
    assert [bool(cut(each)) for each in (get, put, get, put)] == [False, True, True, True]
    busy = Fault("busy", ("GetObject", "a.py:1"), 1)
    assert [bool(busy(each)) for each in (put, get, put)] == [False, True, False]


@pytest.mark.parametrize(("kind", "written"), [("denied", 1), ("lost", 2), ("killed", 2)])
def test_what_may_have_been_written(kind: str, written: int) -> None:
    """A request that was denied was not executed; of any other, nobody knows."""
    put = Request("PutObject", "/b/1", b"", "PUT", "a.py:1")
    fault = Fault(kind, ("PutObject", "a.py:1"), 2)
    fault(put)
    fault(put)
    assert fault.written == written


def test_who_makes_a_request(found: Runs) -> None:
    """A process tells which lines of the product make its requests, also in the threads of a pool,
    and with obstore."""
    places = found.undisturbed("handler").places
    puts = [each for each in places if each.operation == "PutObject"]
    assert puts
    for each in puts:
        innermost, *_, outermost = each.caller.split()
        assert innermost.startswith("stream_backup/archive/s3.py:")
        assert outermost.startswith("stream_backup/handler.py:")


def test_a_difference_is_noticed() -> None:
    """Two worlds that differ in one place are told apart, and the place is named."""
    with pytest.raises(AssertionError, match=r"live\.rows: 1, and undisturbed 2"):
        require_same({"live": {"rows": 1, "tags": 3}}, {"live": {"rows": 2, "tags": 3}})


def test_every_command_has_a_stage() -> None:
    """Each command is tried in a world that exists."""
    assert {each.stage for each in COMMANDS.values()} <= STAGES.keys()
