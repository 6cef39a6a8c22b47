"""Distributed verifications by the real worker and the template's state machine, in this process:
whatever happens to workers and executions, they find what a local verification finds, and every row
is compared once."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_backup.core.change import Change
from stream_backup.core.item import digest
from stream_backup.core.key import key_hash
from stream_backup.core.rounds import IDLE_ROUNDS, MOST_SLICES
from stream_backup.core.slice import NameSlice, cut_names
from stream_backup.distributed import open_rows, row_objects, verify
from stream_backup.distributed.limits import limited
from stream_backup.distributed.row_objects import RowsWriter, read_rows
from stream_backup.distributed.verify import slices_for
from stream_backup.distributed.work_bucket import WorkBucket
from stream_backup.errors import IncompleteError
from stream_backup.verify import looks, packed
from stream_backup.verify.compare import Row
from stream_backup.verify.packed import MOST_DIGITS, ROWS_A_BLOCK, PackedRows, pack_row, pack_rows
from stream_backup.verify.rows import close
from stream_backup.verify.run import Verified
from tests import states
from tests.distributed_world import WORK, ExitError, Killed, Shelf
from tests.drill_world import key
from tests.fake_dynamodb import refusal
from tests.verify_world import VerifyWorld

World = Callable[[], VerifyWorld]
KINDS = ("equal", "differs", "missing", "extra", "busy")
FOUND = (37, 1, 2, 1, 1)
"""What a verification finds of 40 rows after `damage`."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return lambda: VerifyWorld(monkeypatch)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, turns, objects, waves and what is left open are so small that there are several of
    each."""
    monkeypatch.setattr(looks, "CHUNK", 2)
    monkeypatch.setattr(looks, "TURN", 2)
    monkeypatch.setattr(row_objects, "OBJECT_BYTES", 300)
    monkeypatch.setattr(verify, "COMPARED_BYTES", 200)
    monkeypatch.setattr(verify, "PART_ROWS", 1)
    monkeypatch.setattr(verify, "FEWEST_SLICES", 4)
    monkeypatch.setattr(verify, "slices_for", lambda *_: 4)
    monkeypatch.setattr(open_rows, "SUSPECTS", 1)


def require_found(found: Verified) -> None:
    """Every row was compared once, and what is wrong was found."""
    assert tuple(found.findings.counts[kind] for kind in KINDS) == FOUND
    assert sum(found.findings.counts.values()) == sum(FOUND)
    assert found.findings.versions == 40


def examples(found: Verified) -> list[tuple[str, str]]:
    return sorted((each.kind, each.key) for each in found.findings.examples)


def test_it_equals_a_local_verification(world: World) -> None:
    """Equal, differing, missing, extra and busy rows are those that a local verification finds,
    with the same examples and number of versions, in one round for each stage."""
    local, found = world(), world()
    for each in (local, found):
        each.damage()
    here, there = local.here(), found.verify()
    assert found.raised == []
    require_found(here)
    require_found(there)
    assert examples(there) == examples(here)
    assert there.covered
    assert there.requests["get"] <= here.requests["get"] + 2
    assert [len(each) for each in found.run.rounds] == [4, 16]
    assert found.run.at_once == [4, 4]


def test_it_finds_nothing_where_nothing_is_wrong(world: World) -> None:
    """Of an archive that has every row as it is, nothing is left open, and nothing is kept but the
    rows."""
    found = world()
    there = found.verify()
    assert dict(there.findings.counts) == {"equal": 40}
    assert there.requests["get"] == 0
    assert there.requests["list"] >= 16
    assert not [path for path in found.shelf.objects if "/open/" in path]


def test_an_empty_table_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without rows has no objects of rows, and the archive is compared all the same."""
    found = VerifyWorld(monkeypatch, rows=3)
    for number in range(3):
        found.model.write(key(number), None)
    found.model.tick(3600)
    found.reach()
    assert dict(found.verify().findings.counts) == {"extra": 3}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("request_number", [1, 9, 30, 60, 93, 120, 170])
def test_a_killed_worker_is_replaced(world: World, request_number: int) -> None:
    """Whichever request a worker dies at, in either stage, Step Functions calls it again, and every
    row is compared once."""
    found = world()
    found.damage()
    count = [0]

    def die() -> None:
        count[0] += 1
        if count[0] == request_number:
            raise Killed

    found.on_call = lambda _: setattr(found, "on_request", die)
    there = found.verify()
    assert count[0] > request_number
    require_found(there)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("written", [True, False])
def test_a_worker_that_dies_with_its_report_is_replaced(
    world: World, stage: int, written: bool
) -> None:
    """What a worker wrote that died before its report, or whose answer was lost after it, is
    compared once."""
    found = world()
    found.damage()
    left = [2]

    def act(action: str, resource: str) -> None:
        path = resource.partition(":::work/")[2]
        if action != "s3:PutObject" or f"/reports/{stage}/" not in path or not left[0]:
            return
        left[0] -= 1
        if not written:
            raise Killed
        shown = found.after_call

        def lose() -> None:
            found.after_call = shown
            assert path in found.shelf.objects
            raise ExitError("the answer was lost")

        found.after_call = lose

    found.shelf.ask = act
    require_found(found.verify())
    assert left == [0]


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(("times", "rounds"), [(2, 2), (5, 3)])
def test_a_slice_that_fails_is_done_again(
    world: World, stage: int, times: int, rounds: int
) -> None:
    """A slice whose worker fails twice is done by the third one. One that fails as often as it may
    is listed again, and the next stage begins when it is done."""
    found = world()
    found.damage()
    failing = [times]

    def fail(event: dict[str, Any]) -> None:
        if event["round"] >= stage and event["slice"]["name"] == "2" and failing[0]:
            failing[0] -= 1
            raise ExitError("out of memory")

    found.on_slice(fail)
    require_found(found.verify())
    assert len(found.run.rounds) == rounds
    kinds = [["segment" in each for each in items] for items in found.run.rounds]
    assert all(len({*each}) == 1 for each in kinds), "a round is of one stage"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("which", "at"),
    [*(("over", every) for every in (7, 16, 40)), *(("stop", at) for at in (9, 70, 110, 160))],
)
def test_a_worker_that_runs_out_of_time_is_continued(world: World, which: str, at: int) -> None:
    """Workers that run out of time in either stage leave the rest to the next round, and every row
    is compared and counted once."""
    found = world()
    found.damage()
    count = [0]

    def tick() -> None:
        count[0] += 1
        if count[0] == at or (which == "over" and count[0] % at == 0):
            getattr(found.time, which).set()

    found.on_call = lambda _: setattr(found, "on_request", tick)
    found.after_call = lambda: setattr(found, "on_request", lambda: None)
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    require_found(found.ended(end))
    assert end.counts["rows"] == 41
    stages = ["segment" in items[0] for items in found.run.rounds]
    assert stages == sorted(stages, reverse=True)
    assert stages.count(True) > 1 or stages.count(False) > 1


def test_a_wave_that_was_stopped_counts_for_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that must stop in the middle of a listing has counted rows that another worker
    counts again."""
    monkeypatch.setattr(verify, "slices_for", lambda *_: 3)
    found = world()
    found.damage()
    left = [3]

    def count(event: dict[str, Any]) -> None:
        if event["round"] == 1:
            found.on_request = tick

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            found.time.stop.set()

    found.on_slice(count)
    found.after_call = lambda: setattr(found, "on_request", lambda: None)
    require_found(found.verify())
    assert [len(each) for each in found.run.rounds][:2] == [4, 3]
    assert len(found.run.rounds) == 3


@pytest.mark.usefixtures("small")
def test_what_is_left_open_is_left_open_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every row differs and one cannot be read, and workers have time for a few rows only,
    each row is left open once, in order of name, and each example is named once."""
    monkeypatch.setattr(verify, "COMPARED_BYTES", 10**6)

    def damage(world: VerifyWorld) -> None:
        for number in range(39):
            world.model.tick(1)
            world.model.write(key(number), {"v": {"S": "other"}})
        path = next(path for path in world.store.objects if path.endswith(key_hash(key(39))))
        content = world.store.objects[path]
        world.store.objects[path] = [each._replace(payload=b"{") for each in content]
        world.model.write(key(39), {"v": {"S": "other"}})
        world.model.tick(3600)
        world.reach()

    local, found = world(), world()
    for each in (local, found):
        damage(each)
    found.on_slice(lambda _: setattr(found, "on_request", lambda: found.time.over.set()))
    found.after_call = lambda: setattr(found, "on_request", lambda: None)
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    findings, left = open_rows.read_open(found.bucket, end)
    names = [[suspect.name for suspect in spool] for spool in left]
    close(left)
    assert all(each == sorted(each) for each in names)
    assert sum(map(len, names)) == 39
    assert findings.counts["unreadable"] == len(findings.examples) == 1
    here, there = local.here(), found.ended(end)
    assert dict(there.findings.counts) == dict(here.findings.counts)
    assert there.findings.counts["differs"] == 39
    assert [each.kind for each in there.findings.examples].count("unreadable") == 1


def test_a_run_that_was_stopped_begins_again(world: World) -> None:
    """A verification is of the time in which it ran. After one was stopped, in either stage, the
    next one scans the whole table, and uses nothing of the other."""
    found = world()
    found.damage()
    for stage in (0, 1):

        def stop(event: dict[str, Any], stage: int = stage) -> None:
            if event["round"] == stage and event["slice"]["name"] == "2":
                raise states.AbortedError

        found.on_slice(stop)
        assert found.distribute() == ("ABORTED", None)
    found.on_call = lambda _: None
    require_found(found.verify())
    assert [len(each) for each in found.run.rounds] == [4, 16]


def test_a_stopped_job_ends_its_workers(world: World) -> None:
    """Workers find that the job was stopped, and the second stage does not begin."""
    found = world()
    found.on_call = lambda event: found.bucket.stop(event["job"])
    status, end = found.distribute()
    assert status == "FAILED"
    assert end
    assert (end.left, end.counts["rows"]) == (4, 0)
    assert end.failure
    assert "4 slices of the verification of orders could not be finished" in end.failure.text
    assert "begins another verification" in end.failure.hint


def test_what_every_worker_is_refused_ends_the_run(world: World) -> None:
    """When no worker may read, the run ends with the reason."""
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


@pytest.mark.usefixtures("small")
def test_an_answer_that_was_lost_is_given_again(world: World) -> None:
    """A worker or an end of a round that is called again makes no request to the table and to the
    items of the archive, gives the same answer, and changes no list."""
    found = world()
    found.damage()
    assert found.distribute()[0] == "SUCCEEDED"
    kept = dict(found.shelf.objects)
    scans: list[int] = []
    found.on_request = lambda: scans.append(1)
    for event in list(found.calls):
        if event["step"] == "slice":
            answer = found.call(event)
            assert found.call(event) == answer
            assert answer["kept"] == [], "a state may return 256 KiB"
            assert scans == []
        else:
            assert found.call(event) == found.call(event)
            scans.clear()  # announcements of late changes are read again, and not used
    assert found.shelf.objects == kept


@pytest.mark.usefixtures("small")
def test_the_memory_of_a_worker_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a segment or a slice of names is, a worker keeps no more rows than an object
    has, and compares no more at once than fit."""
    sizes: list[int] = []
    monkeypatch.setattr(
        verify,
        "read_rows",
        lambda *words: sizes.append(len(rows := read_rows(*words))) or rows,  # type: ignore[func-returns-value]
    )
    found = world()
    assert dict(found.verify().findings.counts) == {"equal": 40}
    objects = [body for path, body in found.shelf.objects.items() if "/rows/" in path]
    assert len(objects) >= 8
    assert max(map(len, objects)) < 300 + 3 * 100
    assert max(sizes) < 12 < sum(sizes) == 40


def test_workers_share_the_rate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The capacity of the scan is divided among the workers that are under way, and each page is
    booked on a share."""
    booked: list[float] = []
    monkeypatch.setattr(
        "stream_backup.distributed.limits.Allowance.spend",
        lambda _, consumed: float(bool(booked.append(consumed))),  # type: ignore[func-returns-value]
    )
    found = world()
    found.distribute(read_units=10.0**9)
    assert booked
    job = found.bucket.job(found.calls[0]["job"])
    with limited(found.bucket, job, 9, 8, found.time) as limits:
        assert limits.reading.units == 10.0**9 / 4


def test_a_change_on_its_way_is_waited_for(world: World) -> None:
    """A change that reaches the archive only while this machine compares again is not wrong,
    however long ago the workers found the row."""
    found = world()
    found.model.tick(10)
    found.model.write(key(7), {"v": {"S": "on its way"}})
    assert found.model.stream
    records = [each for shard in found.model.stream.shards for each in shard]
    change = Change.streamed(max(records, key=lambda each: each.at).event)
    status, end = found.distribute()
    assert status == "SUCCEEDED"
    assert end
    assert len(end.kept) == 1
    found.model.tick(300)
    found.reach()
    found.on_sleep = lambda: found.archive.put(change)
    assert dict(found.ended(end).findings.counts) == {"equal": 40}


def test_late_announcements_are_known_to_the_second_stage(world: World) -> None:
    """What was announced while the table was scanned is known when it is compared, whatever the
    parent knew."""
    found = world()
    hour = int(found.model.now) // 3600 * 3600

    def announce(event: dict[str, Any]) -> None:
        if event["slice"]["name"] == "3" and event["round"] == 0:
            found.catalog.announce(hour, 500)

    found.on_slice(announce)
    found.distribute()
    start = found.bucket.stage(found.calls[0]["job"], 1)
    assert start
    job = found.bucket.job(found.calls[0]["job"])
    assert str(hour) not in job.settings["order"]["lateness"]["announced"]
    assert start.settings["lateness"]["announced"][str(hour)] == 500
    assert start.settings["lateness"]["announces"] == job.settings["order"]["lateness"]["announces"]


def test_no_key_is_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of a worker names jobs and slices, and no key or content of an item."""
    found = world()
    found.damage()
    found.verify()
    said = capsys.readouterr()
    assert "item " not in said.out + said.err


def test_how_many_slices_the_second_stage_has() -> None:
    """Slices have two million rows at most, and no more than a worker compares at once, as far as a
    map can return that many."""
    assert slices_for(0, 0) == 16
    assert slices_for(10**9, 10**11) == 500
    assert slices_for(10**6, 10**11) == 373
    assert slices_for(10**11, 10**13) == MOST_SLICES


# Packed rows

names = st.integers(0, 16**32 - 1).map("{:032x}".format)
rows = st.lists(
    st.builds(Row, names, names, st.text(max_size=8)), max_size=40, unique_by=lambda row: row.name
)


@settings(max_examples=30)
@given(rows=rows, cuts=st.lists(names, max_size=4, unique=True), parts=st.integers(1, 5))
def test_every_row_is_read_once(rows: list[Row], cuts: list[str], parts: int) -> None:
    """However rows are divided into objects, and names into slices, of which some are begun, each
    row that is not done is read with its slice, in order of name, and with no other."""
    with patch.object(packed, "ROWS_A_BLOCK", 1):
        _require_read_once(rows, cuts, parts)


def _require_read_once(rows: list[Row], cuts: list[str], parts: int) -> None:
    bucket = WorkBucket(Shelf(), WORK)
    objects: list[PackedRows] = []
    for number in range(parts):
        writer = RowsWriter(bucket, "1")
        writer.add(rows[number::parts])
        writer.flush()
        objects += writer.kept
    assert sum(each.rows for each in objects) == len(rows)
    ends = sorted({cut.rstrip("0") for cut in cuts} - {""})
    pieces = [NameSlice(*ends_) for ends_ in zip(["", *ends], [*ends, ""], strict=True)]
    found = []
    for piece in pieces:
        known = [row.name for row in rows if piece.holds(row.name)]
        begun = piece.reached(sorted(known)[len(known) // 2]) if known else piece
        for part in (piece, begun):
            if part.done:
                continue
            read = read_rows(bucket, [PackedRows.of(each.record()) for each in objects], part)
            within = list(read.within(part))
            expected = sorted(row for row in rows if part.is_open(row.name))
            assert within == expected
            assert len(read) == len(expected)
            if part is piece:
                found += within
    assert found == sorted(rows)


def test_an_object_of_many_rows_has_a_finer_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large object, a slice reads little more than its own rows."""
    some = [Row(digest(b"%d" % each), digest(b""), "k") for each in range(5000)]
    body, made = pack_rows([pack_row(row) for row in some], "x")
    assert made.digits == 2
    assert ROWS_A_BLOCK * 16**made.digits >= 5000
    assert len(body) == made.size
    shelf = Shelf()
    bucket = WorkBucket(shelf, WORK)
    bucket.put("x", body)
    asked: list[int] = []
    plain = shelf.get_object

    def get(**given: Any) -> Any:
        found = plain(**given)
        asked.append(found["Body"].getbuffer().nbytes)
        return found

    monkeypatch.setattr(shelf, "get_object", get)
    (part, *_) = cut_names(256)
    assert len(read_rows(bucket, [made], part)) == sum(part.holds(row.name) for row in some)
    assert sum(asked) < made.size / 100
    most = [pack_row(row._replace(name=f"{each:032x}")) for each, row in enumerate(some)]
    assert pack_rows(most, "x")[1].digits <= MOST_DIGITS
