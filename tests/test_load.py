"""What a worker of a restore is told and says: orders and results as JSON, the items that fail, and
a limit that processes share."""

import json
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore import fill, pace
from restore.load import BatchWritten, load_slices
from restore.order import RestoreOrder
from restore.writer import BatchWriter
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.aws import capacity
from stream_backup.aws.capacity import WriteBudget
from stream_backup.aws.dynamodb import Answer, DynamoDB
from stream_backup.cli.restore_options import RestoreOptions
from stream_backup.core.change import Change
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.lateness_record import lateness_of, lateness_record
from stream_backup.core.slice import NameSlice, cut_names
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import FOREVER, Lateness
from stream_backup.errors import UsageError
from stream_backup.verify.shares import VerifyOrder
from tests import strategies

SCHEMA = KeySchema((("id", "S"),))
MOMENT = 1_800_000_000

lateness = st.builds(
    Lateness,
    st.dictionaries(st.integers(0, 2**31), st.integers(0, 2**20), max_size=4),
    st.one_of(st.just(FOREVER), st.integers(0, 2**31)),
    st.integers(0, 2**20),
    st.booleans(),
)


@given(
    lateness=lateness,
    keys=st.lists(strategies.keys, max_size=3).map(tuple),
    rate=st.one_of(st.none(), st.floats(1, 10**6)),
)
def test_an_order_is_json(lateness: Lateness, keys: tuple[Item, ...], rate: float | None) -> None:
    """A worker on another machine reads by the same rule of time, whatever was announced."""
    order = RestoreOrder("copy", MOMENT, MOMENT - 9, lateness, keys, rate)
    assert RestoreOrder.of(json.loads(json.dumps(order.record()))) == order
    assert lateness_of(json.loads(json.dumps(lateness_record(lateness)))) == lateness
    verify = VerifyOrder(MOMENT, lateness)
    assert VerifyOrder.of(json.loads(json.dumps(verify.record()))) == verify


class OneTable:
    """A table that refuses some keys, and can be stopped at a batch."""

    def __init__(self, refused: set[str], stop: Event | None = None) -> None:
        self.rows: list[str] = []
        self._refused = refused
        self._stop = stop

    def call(self, operation: str, request: bytes) -> Answer:
        assert operation == "batch_write_item"
        if self._stop:
            self._stop.set()
            return Answer(json.loads(request), 0)
        left = []
        for each in json.loads(request)["RequestItems"]["copy"]:
            name = each["PutRequest"]["Item"]["id"]["S"]
            if name in self._refused:
                left.append(each)
            else:
                self.rows.append(name)
        return Answer({"UnprocessedItems": {"copy": left}} if left else {}, 0)


def archived(count: int) -> tuple[Archive, list[str]]:
    """Returns an archive of so many items, and their ids in order of name."""
    archive = Archive(MemoryStore(lambda: MOMENT), "", "T", SCHEMA, lambda: MOMENT)
    for number in range(count):
        key = {"id": {"S": str(number)}}
        stamp = Stamp(MOMENT - 9, 10**21 + number, MOMENT - 9, "insert")
        archive.put(Change(key, stamp, encode(key)))
    return archive, sorted(map(str, range(count)), key=lambda each: key_hash({"id": {"S": each}}))


def order(**more: Any) -> RestoreOrder:
    return RestoreOrder("copy", MOMENT, MOMENT - 100, Lateness(), **more)


def test_what_fails_is_neither_done_nor_tried_again() -> None:
    """An item that the table does not take, and one that cannot be read, do not stop their slice:
    it is continued after them, and recorded as done up to the first of them."""
    archive, ids = archived(60)
    refused, unreadable = ids[20], ids[40]
    path = archive.root + key_hash({"id": {"S": unreadable}})
    store = cast(MemoryStore, archive.store)
    store.objects[path] = [each._replace(metadata={}) for each in store.objects[path]]
    table, told = OneTable({refused}), list[BatchWritten]()
    (found,) = load_slices(
        order(patience=0.0), [NameSlice()], cast(DynamoDB, table), archive, Event(), told.append
    )
    assert found.slice.done
    assert found.sure.after == key_hash({"id": {"S": ids[19]}})
    assert found.counts == {
        "written": 58,
        "failed": 1,
        "absent": 0,
        "unreadable": 1,
        "versions": 60,
    }
    assert refused in found.failures[0]
    assert sorted(table.rows) == sorted({*ids} - {refused, unreadable})
    assert max(part.after for each in told for part in each.parts) == found.sure.after
    record = json.loads(json.dumps(found.record()))
    assert NameSlice.of(record["sure"]) == found.sure
    again = NameSlice(after=found.sure.after)
    table = OneTable(set())
    store.objects[path] = []
    load_slices(order(), [again], cast(DynamoDB, table), archive, Event(), lambda _: None)
    assert sorted(table.rows) == sorted({*ids[20:]} - {unreadable})


def test_what_was_stopped_is_not_recorded() -> None:
    """Of a batch that was under way when the work was stopped, nothing counts as written."""
    archive, _ = archived(60)
    stop, told = Event(), list[BatchWritten]()
    table = OneTable(set(), stop)
    found = load_slices(order(), cut_names(4), cast(DynamoDB, table), archive, stop, told.append)
    assert told == []
    assert [each.sure for each in found] == list(cut_names(4))
    assert not any(each.written for each in found)


@pytest.mark.parametrize("over", [False, True])
def test_some_slices_at_once(over: bool) -> None:
    """Of many slices, so many are done at once, the first ones first. When the time is over, those
    that were not begun are left as they are, and those that were have done a chunk."""
    archive, _ = archived(60)
    table, told = OneTable(set()), list[BatchWritten]()
    work = cast(DynamoDB, table), archive, Event(), told.append
    slices = cut_names(16)
    found = load_slices(order(), slices, *work, over=lambda: over, at_once=4)
    assert [each.slice.range for each in found] == [each.range for each in slices]
    begun = [bool(each.written) for each in found]
    assert begun == ([True] * 4 + [False] * 12 if over else [True] * 16)
    assert len(table.rows) == sum(each.written for each in found)
    assert [each.slice for each in found[4:]] == list(slices[4:]) or not over


@pytest.mark.parametrize("turns", [1, 3])
def test_a_deadline_ends_a_slice_after_a_chunk(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without time does one chunk of each slice, all of which is written; the next call
    goes on after it."""
    monkeypatch.setattr("stream_backup.archive.chunks.CHUNK_ITEMS", 10)
    monkeypatch.setattr(fill, "BATCH", 4)
    archive, ids = archived(60)
    part, rows, times = NameSlice(), [], iter(range(10**6))
    calls = 0
    while not part.done:
        table = OneTable(set())
        (found,) = load_slices(
            order(),
            [part],
            cast(DynamoDB, table),
            archive,
            Event(),
            lambda _: None,
            over=lambda: next(times) % turns == turns - 1,
        )
        assert found.written == len(table.rows)
        part, calls = found.slice, calls + 1
        rows += sorted(table.rows, key=lambda each: key_hash({"id": {"S": each}}))
    assert rows == ids
    assert calls == 60 // 10 // turns + 1


def test_several_writers_share_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers in several processes keep to one limit together: the last of 100 items, ten a second,
    is written after ten seconds."""
    clock, waited = SimpleNamespace(now=100.0), list[float]()
    stop: Any = SimpleNamespace(wait=waited.append, is_set=lambda: False)
    budget = WriteBudget(10, lambda: clock.now)
    table: Any = SimpleNamespace(call=lambda *_: Answer({}, 0))
    one, two = (BatchWriter(table, "t", stop=stop, budget=budget) for _ in range(2))
    for writer in (one, two, one, two):
        assert writer.put([b"{}"] * 25) == []
    assert waited == pytest.approx([2.5, 5.0, 7.5])
    assert issubclass(capacity.ReadBudget, capacity.Budget)
    assert pace.SharedPace(WriteBudget(None), stop).wait(10**9) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("where", "named"), [({"in_place": True}, "--in-place"), ({"to": "f"}, "--to")]
)
def test_workers_are_for_tables(where: dict[str, Any], named: str) -> None:
    """A rewind and a file are written by one process, so `--workers` is refused with the reason."""
    options: dict[str, Any] = {
        "into": None,
        "in_place": False,
        "to": None,
        "like": None,
        "rate": None,
        "warm_throughput": None,
        "overwrite": False,
        "incomplete_ok": False,
        "with_stream": False,
    }
    with pytest.raises(UsageError, match=f"no meaning with {named}") as raised:
        RestoreOptions(**(options | where), workers=2).check()
    assert raised.value.hint
    RestoreOptions(**(options | where)).check()
