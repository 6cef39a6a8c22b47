"""A rewind of single rows where answers are lost and where it must not be fast."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from restore import pace
from restore.live_table import LiveTable
from restore.pace import Pace
from restore.plan import Step
from restore.rewind import Rewound, rewind
from restore.writer import BatchWriter
from stream_backup.aws.dynamodb import Answer
from stream_backup.aws.patience import PatientAttempts
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.core.item import Item, digest, encode
from stream_backup.errors import UnavailableError

ARCHIVE: Any = SimpleNamespace(table="orders")


def key(number: int) -> Item:
    return {"id": {"S": str(number)}}


def row(number: int, note: str) -> Item:
    return key(number) | {"note": {"S": note}}


@dataclass
class Rows:
    """A table's rows. Every write takes effect, and `lost` of them lose their answer, so that the
    same write is sent again."""

    items: dict[str, Item]
    lost: int = 0
    writes: int = 0
    busy: bool = False
    _lock: Lock = field(default_factory=Lock)

    def call(self, operation: str, request: dict[str, Any]) -> Answer:
        with self._lock:
            if operation == "get_item":
                found = self.items.get(request["Key"]["id"]["S"])
                return Answer({"Item": found} if found else {}, 0)
            if self.busy:
                raise self.error("ThrottlingException", operation)
            return self.write(operation, request)

    def write(self, operation: str, request: dict[str, Any]) -> Answer:
        self.writes += 1
        wanted = request.get("Item")
        name = (wanted or request["Key"])["id"]["S"]
        old = self.items.get(name)
        values = request.get("ExpressionAttributeValues")
        expected = {
            attribute: (values or {})[f":{alias[1:]}"]
            for alias, attribute in request["ExpressionAttributeNames"].items()
            if values
        }
        if (old or {}) != expected:
            raise self.error("ConditionalCheckFailedException", operation)
        if wanted:
            self.items[name] = wanted
        else:
            self.items.pop(name)
        if self.lost:
            self.lost -= 1
            return self.write(operation, request)  # botocore sends it again
        return Answer({"Attributes": old} if old else {}, 0)

    @staticmethod
    def error(code: str, operation: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": "m"}}, operation)


def put(number: int) -> Step:
    now = digest(encode(row(number, "BAD")))
    return Step("put", "0" * 32, key(number), encode(row(number, "good")), now)


def run(table: Any, steps: list[Step], limit: Pace | None = None) -> Rewound:
    with ThreadPoolExecutor(4) as pool:
        return rewind(table, ARCHIVE, steps, pool, pace=limit)


def test_an_answer_that_was_lost_is_not_a_conflict() -> None:
    """A write that took effect although its answer was lost fails its own condition when it is sent
    again. The row is as wanted, and that is what is reported."""
    table = Rows({str(number): row(number, "BAD") for number in range(4)}, lost=3)
    deletion = Step("delete", "1" * 32, key(3), None, digest(encode(row(3, "BAD"))))
    found = run(table, [put(0), put(1), put(2), deletion])
    assert found.left == []
    assert (found.done, found.already) == (1, 3)
    assert table.items == {str(number): row(number, "good") for number in range(3)}


def test_a_row_that_somebody_changed_is_left() -> None:
    """A row that is neither as it was nor as wanted is left, and listed."""
    table = Rows({"0": row(0, "somebody else")})
    found = run(table, [put(0)])
    assert [reason for _, reason in found.left] == ["changed since the plan"]
    assert table.writes == 0


def test_a_rewind_that_gives_up_is_resumed() -> None:
    """Throttling without end ends the rewind with exit code 3, rather than one row after another;
    running it again rewinds the rest."""
    table = Rows({str(number): row(number, "BAD") for number in range(8)})
    table.busy = True
    clock = SimpleNamespace(now=0.0)

    class Virtual(PatientAttempts):
        def _wait(self, seconds: float) -> None:
            clock.now += seconds

    patience = Virtual(lambda _: None, lambda: clock.now)
    patient: Any = SimpleNamespace(
        call=lambda name, request: patience(f"DynamoDB {name}", lambda: table.call(name, request))
    )
    steps = [put(number) for number in range(8)]
    with pytest.raises(UnavailableError) as raised:
        run(patient, steps)
    assert raised.value.exit_code == 3
    table.busy = False
    assert run(table, steps).done == 8


def test_the_rate_of_the_command_line_is_that_of_the_rewind() -> None:
    """`--rate` is accepted with `--in-place`, and reaches the destination."""
    options = RestoreOptions(
        into=None,
        in_place=True,
        to=None,
        like=None,
        rate=5.0,
        warm_throughput=None,
        overwrite=False,
        incomplete_ok=False,
        with_stream=False,
    )
    options.check()
    nothing: Any = None
    found = options.destination(nothing, nothing, nothing, nothing, ask=False)
    assert isinstance(found, LiveTable)
    assert found.rate == 5.0


def test_a_rewind_keeps_to_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--rate` limits the rows of a rewind as it limits the items of a restore."""
    waited: list[float] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    stop: Any = SimpleNamespace(wait=waited.append, is_set=lambda: False)
    table = Rows({str(number): row(number, "BAD") for number in range(20)})
    assert run(table, [put(number) for number in range(20)], Pace(10, stop)).done == 20
    assert max(waited) == pytest.approx(1.9)  # the last of 20 rows, ten a second
    waited.clear()
    nothing: Any = SimpleNamespace(call=lambda *_: Answer({}, 0))
    writer = BatchWriter(nothing, "t", rate=10, stop=stop)
    assert writer.put(encode(row(number, "x")) for number in range(50)) == []
    assert max(waited) == pytest.approx(2.5)
