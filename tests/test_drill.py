"""A drill restores, rewinds, compares and cleans up, and finds what a restore alone does not
show."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Event
from types import SimpleNamespace
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import restore.plan
import stream_backup.archive.slices
import stream_backup.cli.options
import stream_backup.drill.copy
import stream_backup.drill.course
import stream_backup.drill.lifetime
import stream_backup.drill.lock
import stream_backup.drill.run
import stream_backup.drill.scratch
from restore.new_table import NewTable
from stream_backup.archive.sample import NameWindow, Sample, share, some
from stream_backup.archive.slices import SLICES
from stream_backup.aws.connection import Connection
from stream_backup.cli.drill import drill as drill_command
from stream_backup.cli.main import cli
from stream_backup.core import as_of
from stream_backup.core.change import Change
from stream_backup.core.drill import DrillRecord
from stream_backup.core.key import key_hash, key_json
from stream_backup.core.moment import iso
from stream_backup.core.records import TableDescription
from stream_backup.core.spans import Span
from stream_backup.core.time_rule import latest_stamp
from stream_backup.drill.course import Course
from stream_backup.drill.moments import another, choose, inner
from stream_backup.drill.reading import item_then
from stream_backup.drill.scratch import (
    LONGEST_NAME,
    MARK,
    PREFIX,
    OnlyScratch,
    description_of,
    remove,
    require_scratch,
    scratch_of,
)
from stream_backup.errors import (
    ArchiveError,
    CoverageError,
    IncompleteError,
    StreamBackupError,
    UsageError,
)
from tests.cli import Table
from tests.drill_archive import with_history
from tests.drill_world import CALLER, DrillWorld, Notes, key
from tests.fake_dynamodb import refusal
from tests.model import ARN, NAME
from tests.process import Inline, Killed
from tests.servers import Aws, environment


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The locks of these drills are in a folder of their own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No threads, so that the same drill makes the same requests in the same order, and few."""
    monkeypatch.setattr(stream_backup.drill.copy, "SEGMENTS", 1)
    pool = lambda *_, **__: Inline(Random(1))  # noqa: E731
    monkeypatch.setattr(stream_backup.archive.slices, "ThreadPoolExecutor", pool)
    monkeypatch.setattr(stream_backup.drill.course, "RequestPool", pool)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until the tags of a table are seen."""
    monkeypatch.setattr(stream_backup.drill.scratch, "TAGS_SEEN", -1)


# ------------------------------------------------------------
# what a drill finds


def test_a_drill_that_passes(own_locks: Path) -> None:
    """A drill of a sound archive passes, its record is next to the archive, and no scratch table is
    left."""
    world = DrillWorld()
    found = world.drill()
    assert found.result == "passed", found.reason
    assert (found.by, found.seed, found.part) == (CALLER, 5, "all items")
    assert found.moment
    assert found.rewound_to
    assert found.rewound_to < found.moment
    assert found.rows == len(world.model.at(found.moment) or {})
    assert found.compared_items == 2 * 12
    assert found.compared_versions > 2 * 12
    assert (found.differences, found.examples, found.removed) == (0, (), ())
    assert found.exact_age == 0
    assert {"python", "stream-backup", "boto3"} <= (found.versions or {}).keys()
    assert world.scratch_tables == []
    assert list(own_locks.iterdir()) == []
    assert world.catalog.drills() == [found]


@pytest.mark.parametrize("seed", range(5))
def test_any_moments(seed: int) -> None:
    """Drills of other moments pass as well, and the same seed makes the same drill."""
    world = DrillWorld(items=6, seed=seed)
    first, again = world.drill(seed=seed), world.drill(seed=seed)
    assert first.result == again.result == "passed", first.reason
    assert (first.moment, first.rewound_to) == (again.moment, again.rewound_to)


def test_a_walk_that_ends_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the short walk, by which it stops an hour too early, is found, and restores that
    were written over by a redrive are named by their keys. The restore alone reports nothing."""
    world = DrillWorld()
    monkeypatch.setattr(as_of, "latest_stamp", lambda version: latest_stamp(version) - 3600)
    at = int(world.model.now) - 60
    found = world.drill(at=at)
    assert found.result == "failed"
    assert set(found.examples) == {key_json(key(number)) for number in range(0, 12, 3)}
    assert found.reason == f"{found.differences} of 24 compared rows differ."  # and no error
    assert world.scratch_tables == []
    assert world.catalog.drills() == [found]


def test_a_rewind_that_skips_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of rewinds alone, which takes every row for settled, is found too."""
    world = DrillWorld()
    monkeypatch.setattr(restore.plan, "settled", lambda *_: True)
    found = world.drill(at=int(world.model.now) - 60, seed=2)
    assert found.rewound_to
    assert found.result == "failed"
    assert 0 < found.differences <= 12


@pytest.mark.parametrize("planted", ["extra", "missing", "changed"])
def test_a_row_on_one_side_is_a_difference(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that only the copy has, that only the archive has, or that has another content."""
    world, real = DrillWorld(), NewTable.execute

    def execute(self: NewTable, *words: Any) -> Any:
        done = real(self, *words)
        rows = world.dynamodb.others[self.name]
        row = key(99 if planted == "extra" else 0)
        if planted == "missing":
            del rows[key_hash(row)]
        else:
            rows[key_hash(row)] = {**row, "v": {"S": "planted secret"}}
        return done

    monkeypatch.setattr(NewTable, "execute", execute)
    found = world.drill(at=int(world.model.now) - 60)
    assert found.result == "failed"
    assert key_json(key(99 if planted == "extra" else 0)) in found.examples
    assert "secret" not in json.dumps(found.record())


def test_an_unreadable_version_fails_a_drill() -> None:
    """A version that cannot be read is a difference, even one that no restore would read."""
    world = DrillWorld()
    path = f"{NAME}/{key_hash(key(3))}"
    oldest = world.store.objects[path][0]
    world.store.objects[path][0] = oldest._replace(metadata={"format": "1"})
    found = world.drill(at=int(world.model.now) - 60)
    assert found.result == "failed"
    assert found.differences >= 1


def test_the_reading_is_exhaustive() -> None:
    """The independent reading gets every version, whatever the listing shows, and agrees with the
    table as it was."""
    world = DrillWorld(items=4)
    at = int(world.model.now) - 4 * 3600
    for history in world.archive.histories():
        before = world.store.requests["get"]
        body = item_then(world.archive, history, at, 0)
        assert world.store.requests["get"] - before == len(history.versions)
        assert body == (world.model.at(at) or {}).get(history.name)


# ------------------------------------------------------------
# parts of an archive


@pytest.mark.parametrize("choice", [{"rows": 5}, {"sample": 0.4}])
def test_a_part_is_restored_and_compared(choice: dict[str, Any]) -> None:
    """With a number of rows or a share, only these items are restored, rewound and compared."""
    world = DrillWorld(items=40)
    found = world.drill(**choice)
    assert found.result == "passed", found.reason
    assert found.rows <= found.compared_items // 2 < 40
    assert found.compared_items > 0
    if "rows" in choice:
        assert found.compared_items <= 2 * 5


@given(share_=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_a_window_is_the_same_however_it_is_read(share_: float, seed: int) -> None:
    """The names of a part are those that its windows hold, in order, whole or by any prefix."""
    whole = SHARED.archive
    part = share(whole, share_, Random(seed), Event())
    names = [each.name for each in part.histories()]
    assert names == sorted(names)
    by_slice = [each.name for digit in SLICES for each in part.histories(digit)]
    assert names == by_slice
    every = [each.name for each in whole.histories()]
    longer = [name for name in every if [*part.histories(name[:5])]]
    assert longer == names
    if isinstance(part, Sample):
        assert names == [name for name in every if part.windows[name[0]].holds(name)]


@given(count=st.integers(1, 50), seed=st.integers(0, 1000))
def test_a_number_of_items(count: int, seed: int) -> None:
    """As many items as were asked for at most, and no fewer than the slices have."""
    part = some(SHARED.archive, count, Random(seed), Event())
    sizes = {digit: len([*SHARED.archive.histories(digit)]) for digit in SLICES}
    found = [each.name for each in part.histories()]
    assert len(found) <= count
    least = sum(min(count // 16, size) for size in sizes.values())
    assert len(found) >= least
    assert len(set(found)) == len(found)


def test_parts_cover_everything() -> None:
    """Parts that are chosen again and again cover every item: none is out of reach."""
    names = {each.name for each in SHARED.archive.histories()}
    found: set[str] = set()
    for seed in range(60):
        found |= {
            each.name for each in share(SHARED.archive, 0.2, Random(seed), Event()).histories()
        }
    assert found == names


def test_the_ends_of_a_window() -> None:
    """Both ends are part of a window, also where it goes on at the beginning of its slice."""
    plain, round_ = NameWindow("a2", "a5"), NameWindow("a5", "a2")
    names = ("a1", "a2", "a3", "a5", "a6")
    assert [plain.holds(name) for name in names] == [False, True, True, True, False]
    assert [round_.holds(name) for name in names] == [True, True, False, True, True]


SHARED = DrillWorld(items=40)


# ------------------------------------------------------------
# moments

spans = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), min_size=1, max_size=4).map(
    lambda found: [
        Span(1000 * place + first, 1000 * place + first + length)
        for place, (first, length) in enumerate(found)
    ]
)


@given(spans=spans, seed=st.integers(0, 1000))
def test_moments_are_exact(spans: list[Span], seed: int) -> None:
    """Every moment that is chosen is in a span, the second one is another and earlier one where
    there is one."""
    trimmed = inner(spans)
    assert all(
        outer.first <= span.first <= span.last <= outer.last
        for outer, span in zip(spans, trimmed, strict=True)
    )
    moment = choose(trimmed, Random(seed))
    assert moment is not None
    assert any(span.first <= moment <= span.last for span in trimmed)
    other = another(trimmed, moment, Random(seed))
    if other is None:
        assert sum(span.last - span.first + 1 for span in trimmed) == 1
    else:
        assert other != moment
        assert any(span.first <= other <= span.last for span in trimmed)
        if any(span.first < moment for span in trimmed):
            assert other < moment


def test_the_edges_are_left_out() -> None:
    """The first day and the last minute of long coverage are not chosen, for what expires while a
    drill runs is no difference."""
    (span,) = inner([Span(0, 100 * 86400)])
    assert span == Span(86400, 100 * 86400 - 60)
    assert choose([], Random(1)) is None


# ------------------------------------------------------------
# the present


def test_the_present_is_compared_with_the_live_table() -> None:
    """A drill of the present finds a row of the live table that the archive does not have."""
    world = DrillWorld()
    found = world.drill(present=True)
    assert (found.result, found.live) == ("passed", True), found.reason
    assert found.moment == int(world.model.now) - 1
    assert world.model.rows is not None
    world.model.rows[key_hash(key(50))] = key(50)
    world.catalog.write_follow_checkpoint(world.label, _stopped(world))
    found = world.drill(present=True)
    assert found.result == "failed"
    assert "live table" in found.reason
    assert found.examples == (key_json(key(50)),)


def _stopped(world: DrillWorld) -> Any:
    kept = world.catalog.follow_checkpoint(world.label)
    assert kept
    from dataclasses import replace

    return replace(kept, running=False)


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("choice", [{}, {"rows": 8}])
def test_no_false_alarm_while_another_process_writes(
    choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are changed, made, and removed while a drill of the present runs, and reach the
    archive a moment later, are no difference."""
    world = DrillWorld()
    monkeypatch.setattr("stream_backup.verify.rounds.PAUSE", 0)
    late: list[Callable[[], None]] = []
    writes = iter([(0, "new"), (20, "made"), (3, None), (0, "newer"), (20, None)])

    def busy(*_: Any) -> None:
        world.on_request = lambda: None
        while late:
            late.pop()()
        step = next(writes, None)
        if step:
            number, text = step
            kept: list[Change] = []
            put = world.archive.put
            world.archive.put = kept.append  # type: ignore[method-assign, assignment]
            world.model.tick(2)
            world.write(number, text)
            world.archive.put = put  # type: ignore[method-assign]
            late.append(lambda: put(kept[0]))
            world.reach()
        world.on_request = counted

    calls = iter(range(10**6))

    def counted() -> None:
        if next(calls) % 50 == 49:
            busy()

    world.on_request = counted
    found = world.drill(present=True, **choice)
    assert found.result == "passed", (found.reason, found.examples)
    assert found.live
    assert next(writes, None) is None, "nobody wrote"


# ------------------------------------------------------------
# drills that do not come to an end


def test_a_moment_outside_coverage() -> None:
    """It is refused, and that is on record; no table is made."""
    world = DrillWorld()
    with pytest.raises(CoverageError):
        world.drill(at=1000)
    (kept,) = world.catalog.drills()
    assert (kept.result, kept.moment, kept.scratch) == ("refused", None, "")
    assert "outside the coverage" in kept.reason


def test_an_archive_without_an_exact_moment() -> None:
    """Without coverage there is nothing to drill, and that is on record."""
    world = DrillWorld(items=2)
    for path in [path for path in world.store.objects if "/meta/runs/" in path]:
        del world.store.objects[path]
    with pytest.raises(CoverageError, match="no moment to restore"):
        world.drill()
    assert [each.result for each in world.catalog.drills()] == ["refused"]


def test_a_table_that_is_not_in_the_archive() -> None:
    """A mistyped name leaves no record in the archive."""
    world = DrillWorld(items=1)
    world.connection.tables = lambda: [NAME]  # type: ignore[method-assign]
    before = len(world.store.objects)
    with pytest.raises(UsageError, match="nothing of table 'ordesr'"):
        world.drill(table="ordesr")
    assert len(world.store.objects) == before


def test_an_error_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill that AWS does not allow has failed, with the reason that AWS gave."""
    world = DrillWorld()

    def denied(_: Any) -> Any:
        raise refusal("AccessDeniedException")

    monkeypatch.setattr(world.dynamodb, "_create_table", denied, raising=False)
    with pytest.raises(ClientError):
        world.drill()
    (kept,) = world.catalog.drills()
    assert kept.result == "failed"
    assert kept.reason


@pytest.mark.usefixtures("inline")
def test_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill whose time is over ends, removes its scratch table, and is neither passed nor
    failed."""
    world = DrillWorld()

    def course(*words: Any) -> Any:
        made = Course(*words)
        world.on_request = lambda: made.stop.set() if world.scratch_tables else None
        return made

    monkeypatch.setattr(stream_backup.drill.run, "Course", course)
    found = world.drill(seconds=1000)
    assert found.result == "interrupted"
    assert found.differences == 0
    assert world.scratch_tables == []


class Fuse:
    """Raises Killed at the request with this number: as Ctrl-C does, once, or, where the machine is
    `dead`, from then on."""

    def __init__(self, number: int, *, dead: bool) -> None:
        self.left, self.dead, self.blown = number, dead, False

    def __call__(self) -> None:
        if self.blown and not self.dead:
            return
        self.left -= 1
        if self.left <= 0:
            self.blown = True
            raise Killed


def until_it_passes(world: DrillWorld, *, dead: bool) -> Iterator[int]:
    """Interrupts the same drill at each request in turn, before and after it takes effect."""
    for number in range(1, 5000):
        fuse = Fuse(number, dead=dead)
        world.on_request = fuse
        try:
            world.drill(rows=1)
        except Killed:
            assert fuse.blown
        finally:
            world.on_request = lambda: None
        yield number
        if not fuse.blown:
            return


@pytest.mark.usefixtures("inline")
def test_interrupted_at_any_request() -> None:
    """Ctrl-C at any request leaves no scratch table, and a record that says so."""
    world = DrillWorld(items=3)
    for number in until_it_passes(world, dead=False):
        assert world.scratch_tables == [], number
    results = [each.result for each in world.catalog.drills()]
    assert results.count("passed") >= 1
    assert results.count("interrupted") > 50


@pytest.mark.usefixtures("inline", "impatient")
def test_killed_at_any_request() -> None:
    """A drill that is killed may leave its scratch table: the next one on this machine removes it
    at once, says so, and has it on record."""
    world, removed = DrillWorld(items=3), 0
    for number in until_it_passes(world, dead=True):
        left = world.scratch_tables
        if not left:
            continue
        notes = Notes()
        if number % 5 == 0:  # of many that leave the same, these are enough
            found = world.drill(notes, rows=1)
            assert found.result == "passed"
            assert found.removed == tuple(left)
            assert f"Removed scratch table {left[0]}" in notes
            assert world.scratch_tables == []
            removed += 1
        else:
            world.dynamodb.others.clear()
    assert removed > 3


# ------------------------------------------------------------
# scratch tables

DESCRIPTION = TableDescription(
    {
        "TableName": NAME,
        "KeySchema": [],
        "AttributeDefinitions": [],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        "DeletionProtectionEnabled": True,
        "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS"},
        "GlobalSecondaryIndexes": [{"IndexName": "by-day"}],
    },
    {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"},
    ({"Key": "owner", "Value": "alarms"},),
    point_in_time_recovery=True,
)


def test_a_scratch_table_is_plain() -> None:
    """It has the indexes of the table, and nothing that deletes its rows, protects it, costs, or
    makes others watch it."""
    scratch = scratch_of("s3://backups", NAME, "x", 0)
    made = description_of(DESCRIPTION, scratch)
    assert made.table == {
        "TableName": NAME,
        "KeySchema": [],
        "AttributeDefinitions": [],
        "GlobalSecondaryIndexes": [{"IndexName": "by-day"}],
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
    }
    assert (made.time_to_live, made.point_in_time_recovery) == ({}, False)
    assert made.tags == ({"Key": MARK, "Value": scratch.mark},)


@given(table=st.text("abcXYZ019._-", min_size=1, max_size=255))
def test_the_name_of_a_scratch_table(table: str) -> None:
    """It is a name that DynamoDB accepts, begins with the prefix, and differs from drill to
    drill."""
    first, second = (
        scratch_of("s3://b", table, f"2026-11-21T03:20:00Z-{each}", 0)
        for each in ("aa0001", "aa0002")
    )
    assert first.name != second.name
    assert len(first.name) <= LONGEST_NAME
    assert set(first.name) <= set("abcdefghijklmnopqrstuvwxyzXYZT0123456789._-")
    assert first.name.startswith(PREFIX)
    assert len(first.mark) <= 256


WRITES: list[tuple[str, Any]] = [
    ("put_item", {"TableName": NAME, "Item": {}}),
    ("delete_item", {"TableName": NAME, "Key": {}}),
    ("update_item", {"TableName": NAME, "Key": {}}),
    ("delete_table", {"TableName": NAME}),
    ("update_table", {"TableName": NAME}),
    ("update_time_to_live", {"TableName": NAME}),
    ("tag_resource", {"ResourceArn": ARN, "Tags": []}),
    ("batch_write_item", {"RequestItems": {NAME: [], f"{PREFIX}x": []}}),
    ("batch_write_item", json.dumps({"RequestItems": {NAME: []}}).encode()),
    ("transact_write_items", {"TransactItems": []}),
]


@pytest.mark.parametrize(("operation", "request_"), WRITES, ids=lambda each: str(each)[:30])
def test_no_other_table_is_written(operation: str, request_: Any) -> None:
    """A drill sends no write to any table but its scratch table, whichever engine asks for it."""
    sent: list[str] = []
    inner_: Any = SimpleNamespace(call=lambda operation, _: sent.append(operation))
    guarded = OnlyScratch(inner_, f"{PREFIX}x")
    with pytest.raises(StreamBackupError, match="not its scratch table"):
        guarded.call(operation, request_)
    with pytest.raises(StreamBackupError, match="not its scratch table"):
        OnlyScratch(inner_, NAME).call(operation, request_)
    assert sent == []
    guarded.call("scan", {"TableName": NAME})
    guarded.call("put_item", {"TableName": f"{PREFIX}x", "Item": {}})
    guarded.call("tag_resource", {"ResourceArn": ARN.replace(NAME, f"{PREFIX}x"), "Tags": []})
    assert sent == ["scan", "put_item", "tag_resource"]


@pytest.mark.usefixtures("impatient")
def test_only_a_marked_table_is_deleted() -> None:
    """A table without the tag of this drill is neither changed nor deleted, whatever its name
    is."""
    world = DrillWorld(items=1)
    scratch = scratch_of("s3://backups", NAME, "x", int(world.model.now))
    assert not remove(world.dynamodb, scratch)
    for tags in ([], [{"Key": MARK, "Value": "of another drill"}]):
        request = {"TableName": scratch.name, "Tags": tags}
        world.dynamodb.call("create_table", request)
        with pytest.raises(StreamBackupError, match="does not have the tag"):
            remove(world.dynamodb, scratch)
        assert world.dynamodb.others.pop(scratch.name) == {}
    live = scratch._replace(name=NAME)
    world.dynamodb.tags[ARN] = {MARK: scratch.mark}
    with pytest.raises(StreamBackupError, match="does not have the tag"):
        require_scratch(world.dynamodb, live)


def planted(world: DrillWorld, name: str, **given_: Any) -> str:
    """Creates a scratch table as a drill elsewhere would have left it."""
    scratch = scratch_of("s3://backups", NAME, name, int(world.model.now) + 100)
    scratch = scratch._replace(**given_)
    tags = [{"Key": MARK, "Value": scratch.mark}]
    world.dynamodb.call("create_table", {"TableName": scratch.name, "Tags": tags})
    return scratch.name


def test_leftovers() -> None:
    """A leftover whose time is over is removed and named. One whose drill may still run is left,
    which is said; so are those of other tables and archives, and tables without a tag."""
    world, notes = DrillWorld(), Notes()
    over = planted(world, "over", until=int(world.model.now) - 1)
    running = planted(world, "running")
    kept = [
        running,
        planted(world, "other-table", table="orders-2", until=0),
        planted(world, "other-archive", archive="s3://other", until=0),
        planted(world, "unmarked"),
    ]
    world.dynamodb.tags[ARN.replace(NAME, kept[-1])].clear()
    found = world.drill(notes)
    assert found.result == "passed"
    assert found.removed == (over,)
    assert sorted(world.scratch_tables) == sorted(kept)
    assert f"Removed scratch table {over}" in notes
    assert f"{running} belongs to a drill that may still be running" in notes


@pytest.mark.usefixtures("inline")
def test_a_drill_that_runs_on_this_machine_is_left() -> None:
    """Two drills of one table at the same time do not disturb each other."""
    world = DrillWorld()
    inside: list[DrillRecord] = []

    def other() -> None:
        if world.scratch_tables and not inside:
            world.on_request = lambda: None
            inside.append(world.drill(seed=9))

    world.on_request = other
    found = world.drill()
    assert [found.result, inside[0].result] == ["passed", "passed"]
    assert (found.removed, inside[0].removed) == ((), ())
    assert world.scratch_tables == []


def test_a_scratch_table_that_cannot_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drill has failed, the table is named, and the next drill removes it."""
    world, notes = DrillWorld(), Notes()
    with monkeypatch.context() as patch:

        def denied(_: Any) -> Any:
            raise refusal("AccessDeniedException")

        patch.setattr(world.dynamodb, "_delete_table", denied)
        with pytest.raises(ClientError):
            world.drill(notes)
    (left,) = world.scratch_tables
    assert f"Scratch table {left} could not be removed" in notes
    assert [each.result for each in world.catalog.drills()] == ["failed"]
    assert world.drill().removed == (left,)


# ------------------------------------------------------------
# the command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command on a world, and returns what it printed on stdout and stderr."""

    def run(world: DrillWorld, *words: str) -> tuple[str, str]:
        monkeypatch.setattr(stream_backup.cli.options, "Connection", lambda *_: world.connection)
        monkeypatch.setattr(stream_backup.cli.options, "_end_when_interrupted", lambda _: None)
        capsys.readouterr()
        table = [] if "every" in words else [NAME]
        given_ = [word for word in words if word != "every"]
        drill_command.main([*table, *given_], standalone_mode=False)
        said = capsys.readouterr()
        return said.out, said.err

    return run


def test_the_command(run: Any) -> None:
    """It prints what was restored and compared, and its JSON is the record."""
    world = DrillWorld()
    out, err = run(world, "--seed", "5")
    (kept,) = world.catalog.drills()
    assert out == ""
    assert f"Restored {kept.rows} rows of {NAME} as of {iso(kept.moment or 0)}" in err
    assert "24 items" in err
    assert "passed." in err
    out, _ = run(world, "--sample", "50%", "--at", "now", "--json")
    told = json.loads(out)
    assert (told["result"], told["live"], told["part"]) == ("passed", True, "50% of the items")
    assert DrillRecord.of(told) in world.catalog.drills()


@pytest.mark.usefixtures("inline")
def test_what_the_command_returns(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit codes: 5 when something differs, 4 outside coverage, 3 when the time was over, and
    Ctrl-C says what becomes of the scratch table."""
    world = DrillWorld()
    with pytest.raises(CoverageError):
        run(world, "--at", "2020-01-01T00:00:00Z")
    with monkeypatch.context() as patch:
        patch.setattr(restore.plan, "settled", lambda *_: True)
        with pytest.raises(ArchiveError, match="compared rows differ") as failed:
            run(world, "--at", str(int(world.model.now) - 60), "--seed", "2")
        assert "--seed 2" in failed.value.hint

    def stopped(*words: Any) -> Any:
        made = Course(*words)
        made.stop.set()
        return made

    with monkeypatch.context() as patch:
        patch.setattr(stream_backup.drill.run, "Course", stopped)
        with pytest.raises(IncompleteError, match="not complete"):
            run(world)

    def interrupt() -> None:
        if world.scratch_tables:
            world.on_request = lambda: None
            raise KeyboardInterrupt

    world.on_request = interrupt
    with pytest.raises((KeyboardInterrupt, click.Abort)) as stop:
        run(world)
    hints = [getattr(each, "hint", "") for each in (stop.value, stop.value.__context__)]
    assert any("scratch table" in hint for hint in hints)
    results = [each.result for each in world.catalog.drills()]
    assert sorted(results) == ["failed", "interrupted", "interrupted", "refused"]
    assert world.scratch_tables == []


@pytest.mark.parametrize(
    "words",
    [
        ("--rows", "5", "--sample", "5%"),
        ("every",),
        ("--sample", "0"),
        ("--sample", "120%"),
        ("--sample", "some"),
        ("--since", "1h"),
        ("--output", "x.md"),
        ("--report", "--rows", "5"),
        ("--report", "--at", "now"),
        ("--report", "--since", "1h", "--until", "2h"),
        ("--at", "yesterday"),
    ],
)
def test_mistakes(run: Any, words: tuple[str, ...]) -> None:
    """Each is one sentence and a hint, and no drill is made."""
    with pytest.raises(UsageError) as error:
        run(SHARED, *words)
    assert error.value.hint
    assert SHARED.catalog.drills() == []


# ------------------------------------------------------------
# the evidence


def record(name: str, result: Any, ended: int, **more: Any) -> DrillRecord:
    given_: dict[str, Any] = {
        "archive": "s3://backups",
        "began": ended - 10,
        "by": CALLER,
        "reason": "",
        "seed": 1,
        "part": "all items",
        "versions": {"stream-backup": "1"},
    } | more
    return DrillRecord(name=name, table=NAME, ended=ended, result=result, **given_)


DAY = 86400
ODD = '{"id":{"S":"a|b<i>"}}'
DRILLS = [
    record("a", "passed", 2 * DAY, moment=5, restore_seconds=8.0, rows=80, rows_per_second=10.0),
    record("b", "refused", 3 * DAY, reason="outside", exact_age=700),
    record(
        "c", "failed", 4 * DAY, differences=1, examples=('{"id":{"S":"a|b<i>"}}',), compared="x"
    ),
    record("d", "passed", 9 * DAY, moment=7, restore_seconds=2.0, rows=20, rows_per_second=10.0),
]


def evidence_of(world: DrillWorld) -> None:
    for each in DRILLS:
        world.catalog.write_drill(each)


def test_evidence(run: Any, tmp_path: Path) -> None:
    """The report has each drill of the period, and a summary: results, the longest time without a
    drill that passed, restore times."""
    world = DrillWorld(items=1)
    evidence_of(world)
    out, _ = run(world, "--report", "--since", iso(DAY), "--until", iso(10 * DAY), "--json")
    told = json.loads(out)
    summary = told["summary"]
    assert (summary["drills"], summary["passed"], summary["failed"]) == (4, 2, 1)
    assert (summary["refused"], summary["interrupted"]) == (1, 0)
    longest = {"from": iso(2 * DAY), "to": iso(9 * DAY), "seconds": 7 * DAY}
    assert summary["longest_without_a_passed_drill"] == longest
    assert (summary["longest_restore_seconds"], summary["rows_restored"]) == (8.0, 100)
    assert summary["oldest_exact_age_seconds"] == 700
    assert [DrillRecord.of(each) for each in told["drills"]] == DRILLS
    out, _ = run(world, "--report", "--since", iso(3 * DAY), "--until", iso(5 * DAY), "--json")
    told = json.loads(out)
    assert [each["name"] for each in told["drills"]] == ["b", "c"]
    longest = {"from": iso(3 * DAY), "to": iso(5 * DAY), "seconds": 2 * DAY}
    assert told["summary"]["longest_without_a_passed_drill"] == longest
    path = tmp_path / "evidence.md"
    out, err = run(world, "--report", "--until", iso(10 * DAY), "--output", str(path))
    assert (out, err) == ("", f"Report: {path}\n")
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    for words in (
        "SOC 2 CC7.5",
        "DORA",
        "not a certification",
        CALLER,
        "stream-backup 1",
        "7.0 days",
    ):
        assert words in text
    assert '{"id":{"S":"a&#124;b&#60;i&#62;"}}' in text
    with pytest.raises(UsageError, match="exists already"):
        run(world, "--report", "--output", str(path))
    out, _ = run(world, "--report", "--until", iso(10 * DAY))
    assert f"## Table {NAME}\n" in out
    world.connection.tables = lambda: [NAME, "users"]  # type: ignore[method-assign]
    out, _ = run(world, "every", "--report")
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        f"## Table {NAME}",
        "## Table users",
    ]
    out, _ = run(world, "every", "--report", "--json")
    assert [each["table"] for each in json.loads(out)] == [NAME, "users"]


def test_a_period_without_drills(run: Any) -> None:
    """It is reported as what it is: no drill, and a time without one as long as the period."""
    world = DrillWorld(items=1)
    out, _ = run(world, "--report")
    assert "No drill ended in this period." in out
    out, _ = run(world, "--report", "--since", iso(DAY), "--until", iso(3 * DAY), "--json")
    longest = json.loads(out)["summary"]["longest_without_a_passed_drill"]
    assert longest["seconds"] == 2 * DAY


def test_a_record_is_read_as_it_was_written() -> None:
    """Times that are unknown stay unknown, and members of later releases are ignored."""
    for each in DRILLS:
        kept = json.loads(json.dumps(each.record()))
        assert DrillRecord.of(kept | {"later": 1}) == each
    with pytest.raises((KeyError, ValueError)):
        DrillRecord.of({**DRILLS[0].record(), "result": "splendid"})


# ------------------------------------------------------------
# on a server


@pytest.mark.server
def test_on_a_server(
    moto_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command makes a real table, compares the present as well, and deletes the
    table; its record names the caller."""
    aws = Aws(moto_url)
    for name, value in environment(moto_url).items():
        monkeypatch.setenv(name, value)
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    table = Table.create(aws, "drilled", StreamSpecification=stream, DeletionProtectionEnabled=True)
    connection = Connection(None, None, f"s3://{aws.bucket()}/here")
    catalog = with_history(connection, table)
    where = ["--archive", str(connection.location)]
    cli.main(
        ["drill", "drilled", "--at", "now", "--rows", "3", "--seed", "5", "--json", *where],
        standalone_mode=False,
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], told["reason"]) == ("passed", "")
    assert told["live"]
    assert told["compared_items"] == 2 * told["rows"] <= 6
    assert told["by"].startswith("arn:aws:")
    assert catalog.drills() == [DrillRecord.of(told)]
    assert not Table(aws, told["scratch"]).exists()
    assert len(table.rows()) == 8
