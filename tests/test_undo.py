"""Undo on a table: laws (c), (d) and (e), races, lost answers, and kills."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.pace import Pace
from restore.plan import Step
from restore.receipt import Receipt, ReceiptHeader
from restore.rewind import rewind
from stream_backup.core.item import Value, digest, encode
from stream_backup.core.key import key_hash
from stream_backup.core.merge import Choice
from stream_backup.errors import UnavailableError
from stream_backup.undo.rule import Mark, Rule
from stream_backup.undo.writer import BUSY, DOUBTFUL, GONE, LOST, RACED, TOO_LARGE, UNSURE
from tests import undo_model as model
from tests.expressions import invalid, refusal
from tests.process import Killed, Stop
from tests.profiles import histories
from tests.undo_world import UndoWorld, key_of

MARK = Mark("undone", "undo 1")


def number(value: int) -> Value:
    return {"N": str(value)}


def world_of(folder: Path, rows: list[tuple[list[Any], int, int]]) -> tuple[UndoWorld, int, int]:
    """Returns a world in which each row has these images, and the window of its damage."""
    world = UndoWorld(folder)

    def write(which: int, image: Any) -> None:
        key = key_of(str(which))
        world.table.write(key, None if image is None else {**key, **model.item(image)})

    for which, (images, first, _) in enumerate(rows):
        for image in images[: first + 1]:
            write(which, image)
    since = world.tick()
    for which, (images, first, last) in enumerate(rows):
        for image in images[first + 1 : last + 1]:
            write(which, image)
    until = world.tick()
    for which, (images, _, last) in enumerate(rows):
        for image in images[last + 1 :]:
            write(which, image)
    world.tick()
    return world, since, until


def state(world: UndoWorld, count: int) -> list[Any]:
    """Returns the rows as plain values, without their keys."""
    found = [model.row_of(world.table.row(str(which))) for which in range(count)]
    return [each and {name: it for name, it in each.items() if name != "id"} for each in found]


@histories(150)
@given(rows=st.lists(model.histories(), min_size=1, max_size=3))
def test_undo_of_a_table_is_the_model(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    """Laws (a), (b) and (d): the rows after an undo are those of the model, an undo of the undo's
    receipt gives the rows back, and an undo that is run again writes nothing."""
    world, since, until = world_of(tmp_path_factory.mktemp("undo"), rows)
    start = state(world, len(rows))
    wanted = [
        model.undone(images[first], images[last], images[-1], images[last:])
        for images, first, last in rows
    ]
    planned = world.plan(world.damages(since, until), Rule())
    done = world.run(world.damages(since, until))
    assert state(world, len(rows)) == [row for row, _ in wanted]
    assert done.counts.record() == planned.record()
    assert done.counts.conflicts == sum(len(paths) for _, paths in wanted)
    assert done.counts.left == []
    world.tick()
    writes = len(world.table.log)
    again = world.run(world.damages(since, until))
    assert (len(world.table.log), again.receipt.exists()) == (writes, False)
    if done.receipt.exists():
        world.tick()
        back = world.run(world.of_receipt(done.receipt))
        assert back.counts.left == []
        assert state(world, len(rows)) == start


@histories(60)
@given(rows=st.lists(model.histories(), min_size=1, max_size=3))
def test_nothing_since_is_a_rewind(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    """Law (c): without filters and marks, and with nothing after B, undo makes the rows what they
    were at A."""
    cut = [(images[: last + 1], first, last) for images, first, last in rows]
    world, since, until = world_of(tmp_path_factory.mktemp("undo"), cut)
    assert world.run(world.damages(since, until)).counts.conflicts == 0
    assert state(world, len(rows)) == [images[first] for images, first, _ in rows]


@histories(200)
@given(rows=st.lists(model.histories(), min_size=1, max_size=2), data=st.data())
def test_a_concurrent_writer_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: st.DataObject
) -> None:
    """Law (e): whoever writes while an undo runs loses nothing. An update changes only paths that
    still hold what was planned. A row that changed while it was deleted is put back, and listed."""
    world, since, until = world_of(tmp_path_factory.mktemp("undo"), rows)
    damages = world.damages(since, until)
    meddled: list[int] = []

    def meddle(operation: str, request: dict[str, Any]) -> None:
        if operation == "get_item" or len(meddled) > 6 or not data.draw(st.booleans()):
            return
        key = request.get("Key") or key_of(request["Item"]["id"]["S"])
        row = model.row_of(world.table.rows.get(key_hash(key)))
        plain = row and {name: it for name, it in row.items() if name != "id"}
        action = data.draw(model.actions | st.just(("set", ("other",), len(meddled))))
        new = model.acted(plain, action)
        meddled.append(len(world.table.log))
        world.table.write(key, None if new is None else {**key, **model.item(new)}, "meddler")

    world.table.before = meddle
    begun = len(world.table.log)
    done = world.run(damages)
    log = world.table.log[begun:]
    for row in done.rows:
        ours = [each for each in log if each.key == row.key]
        for at, write in enumerate(ours):
            old, new, read = (model.row_of(each) for each in (write.old, write.new, write.read))
            if write.by == "update_item":
                for path, _, _ in model.differences(old, new):
                    assert found_at(old, path) == found_at(read, path)
            elif write.by == "put_item":
                assert old is None
            elif write.by == "delete_item" and old != read:
                following = ours[at + 1]
                assert following.by == "meddler" or following.new == write.old
                assert {*row.left} & {RACED, GONE}


def found_at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = row.get(name) if isinstance(row, dict) else None
    return row


def test_a_deletion_that_races_is_put_back(tmp_path: Path) -> None:
    """Law (e): an attribute that is added between reading a row and deleting it is not lost."""
    world = UndoWorld(tmp_path)
    since = world.tick()
    world.put("1", a=number(1))
    until = world.tick()
    again = [True]

    def meddle(operation: str, _: Any) -> None:
        if operation == "delete_item" and again.pop():
            again.append(False)
            world.put("1", a=number(1), good=number(2))

    world.table.before = meddle
    done = world.run(world.damages(since, until))
    assert world.table.row("1") == {**key_of("1"), "a": number(1), "good": number(2)}
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + RACED]
    assert done.counts.delete == 0
    world.tick()
    world.table.before = lambda *_: None
    back = world.run(world.of_receipt(done.receipt))
    assert world.table.row("1") == {**key_of("1"), "a": number(1), "good": number(2)}
    assert (back.counts.writes, back.counts.conflicts, back.counts.left) == (0, 0, [])


def test_a_deletion_that_races_with_a_new_row_leaves_it(tmp_path: Path) -> None:
    """Law (e): the old row is put back only if its key is absent."""
    world = UndoWorld(tmp_path)
    since = world.tick()
    world.put("1", a=number(1))
    until = world.tick()

    def meddle(operation: str, _: Any) -> None:
        if operation == "delete_item":
            world.put("1", a=number(1), good=number(2))

    def recreate(operation: str, _: Any) -> None:
        if operation == "delete_item":
            world.put("1", new=number(3))

    world.table.before, world.table.after = meddle, recreate
    done = world.run(world.damages(since, until))
    assert world.table.row("1") == {**key_of("1"), "new": number(3)}
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + GONE]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ([refusal("ThrottlingException")] * 3, RACED),
        ([refusal("AccessDeniedException")] * 20, LOST),
        ([UnavailableError("AWS was busy for 15 minutes.")] * 20, LOST),
    ],
)
def test_a_row_that_cannot_be_put_back_is_listed(
    tmp_path: Path, trouble: list[Exception], reason: str
) -> None:
    """Law (e): putting back a row is tried again. When it fails for good, the row is listed, and
    undoing the receipt gives it back."""
    world = UndoWorld(tmp_path)
    since = world.tick()
    world.put("1", a=number(1))
    until = world.tick()
    left = [*trouble]

    def meddle(operation: str, _: Any) -> None:
        if operation == "delete_item":
            world.put("1", a=number(1), good=number(2))
        if operation == "put_item" and left:
            raise left.pop()

    world.table.before = meddle
    done = world.run(world.damages(since, until))
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + reason]
    world.table.before = lambda *_: None
    world.tick()
    world.run(world.of_receipt(done.receipt))
    assert world.table.row("1") == {**key_of("1"), "a": number(1), "good": number(2)}


def test_a_lost_answer_to_putting_back_is_no_loss(tmp_path: Path) -> None:
    """Law (e): where the answer is lost, the row is there, and counts as put back."""
    world = UndoWorld(tmp_path)
    since = world.tick()
    world.put("1", a=number(1))
    until = world.tick()

    def meddle(operation: str, _: Any) -> None:
        if operation == "delete_item":
            world.put("1", a=number(1), good=number(2))

    world.table.before = meddle
    world.table.loses = lambda operation: operation == "put_item"
    done = world.run(world.damages(since, until))
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + RACED]


def damaged(folder: Path, **more: Any) -> tuple[UndoWorld, int, int]:
    """Returns a world with one row whose `a` was damaged."""
    world = UndoWorld(folder)
    world.put("1", a=number(1), b=number(1), **more)
    since = world.tick()
    world.put("1", a=number(9), b=number(9), **more)
    until = world.tick()
    world.tick()
    return world, since, until


@pytest.mark.parametrize("how", ["update_item", "put_item", "delete_item"])
def test_a_lost_answer_is_no_failure(tmp_path: Path, how: str) -> None:
    """A request whose answer is lost is sent again and fails against its own success. The row
    counts as undone, and the receipt does not say that it was not written. After a deletion, it is
    listed, because nobody saw what was deleted."""
    world = UndoWorld(tmp_path)
    if how != "delete_item":
        world.put("1", a=number(1))
    since = world.tick()
    if how == "put_item":
        world.remove("1")
    else:
        world.put("1", a=number(9))
    until = world.tick()
    world.table.loses = lambda operation: operation == how
    done = world.run(world.damages(since, until))
    assert done.counts.writes == 1
    assert done.counts.left == (['{"id":{"S":"1"}}: ' + UNSURE] if how == "delete_item" else [])
    assert world.damages(since, until)
    world.tick()
    world.table.loses = lambda _: False
    back = world.run(world.of_receipt(done.receipt))  # the archive shows the transition
    assert back.counts.left == []
    assert world.table.row("1") == (None if how == "put_item" else {**key_of("1"), "a": number(9)})


def test_a_counter_is_subtracted_once_whatever_is_lost(tmp_path: Path) -> None:
    """A difference is subtracted once, though the answer is lost, the request is sent again, and
    the undo is run again: the mark decides."""
    world, since, until = damaged(tmp_path)
    rule = Rule(Choice(deltas=frozenset([("a",)])), MARK)
    world.put("1", a=number(12), b=number(9))
    world.table.loses = lambda _: True
    world.run(world.damages(since, until), rule)
    wanted = {**key_of("1"), "a": number(4), "b": number(1), "undone": MARK.value}
    assert world.table.row("1") == wanted
    world.tick()
    assert world.run(world.damages(since, until), rule).counts.writes == 0
    assert world.table.row("1") == wanted


def test_a_row_with_another_mark_is_left(tmp_path: Path) -> None:
    """A row that has another value under the name of the mark is left and listed."""
    world, since, until = damaged(tmp_path, undone={"S": "mine"})
    done = world.run(world.damages(since, until), Rule(mark=MARK))
    assert done.counts.left == ['{"id":{"S":"1"}}: its attribute \'undone\' has another value']
    assert world.table.log[-1].by == "somebody"


def test_rows_that_come_back_are_marked(tmp_path: Path) -> None:
    """A row that is put back has the mark, and running the undo again does not take the mark for a
    change. The receipt takes it away again."""
    world = UndoWorld(tmp_path)
    world.put("1", a=number(1))
    since = world.tick()
    world.remove("1")
    until = world.tick()
    done = world.run(world.damages(since, until), Rule(mark=MARK))
    assert world.table.row("1") == {**key_of("1"), "a": number(1), "undone": MARK.value}
    world.tick()
    again = world.run(world.damages(since, until), Rule(mark=MARK))
    assert (again.counts.writes, again.counts.conflicts) == (0, 0)
    world.run(world.of_receipt(done.receipt))
    assert world.table.row("1") is None


def test_a_row_that_is_written_all_the_time_is_listed(tmp_path: Path) -> None:
    """A row that changes before every request is left after some tries, and listed."""
    world, since, until = damaged(tmp_path)
    count = [9]

    def meddle(operation: str, _: Any) -> None:
        if operation == "update_item":
            count[0] += 1
            world.put("1", a=number(count[0]), b=number(9))

    world.table.before = meddle
    done = world.run(world.damages(since, until), Rule(decide=lambda *_: "before"))
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + BUSY]


def test_a_row_that_would_be_too_large_is_listed(tmp_path: Path) -> None:
    """A row that would be larger than DynamoDB allows is listed, not tried again."""
    world = UndoWorld(tmp_path)
    world.put("1", a={"S": "x" * 300_000})
    since = world.tick()
    world.put("1", a={"S": ""})
    until = world.tick()
    world.put("1", a={"S": ""}, good={"S": "y" * 200_000})
    done = world.run(world.damages(since, until))
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + TOO_LARGE]
    assert [operation for operation, _ in world.table.requests] == ["get_item", "update_item"]


def test_hostile_names_and_many_paths(tmp_path: Path) -> None:
    """Any attribute name works, and a row with more changes than one request may have is updated in
    several, removals first."""
    names = ["a.b", "a[0]", " ", "size", "#0", ":0", "é\n", "'\"", *(f"n{at}" for at in range(400))]
    world = UndoWorld(tmp_path)
    inner = {"M": {name: number(1) for name in names}}
    world.put("1", **{name: number(1) for name in names}, m=inner)
    since = world.tick()
    bad = {name: number(2) for name in names[::2]} | {f"bad {at}": number(1) for at in range(200)}
    world.put("1", **bad, m={"M": bad})
    until = world.tick()
    done = world.run(world.damages(since, until))
    assert world.table.row("1") == {
        **key_of("1"),
        **{name: number(1) for name in names},
        "m": inner,
    }
    sent = [request for operation, request in world.table.requests if operation == "update_item"]
    assert len(sent) > 5
    clauses = [request["UpdateExpression"].split()[0] for request in sent]
    assert clauses[0] == "REMOVE"
    assert "REMOVE" not in clauses[clauses.index("SET") + 1 :]
    assert done.counts.update == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("which", range(1, 8))
def test_a_kill_loses_nothing(tmp_path: Path, when: str, which: int) -> None:
    """A run that is killed before or after any request can be run again, and ends as if it had not
    been killed. The receipt of the killed run can be read; undoing both receipts, the last first,
    gives the rows back."""
    names = [f"n{at}" for at in range(150)]
    world = UndoWorld(tmp_path)
    world.put("changed", **{name: number(1) for name in names})
    world.put("removed", a=number(1))
    since = world.tick()
    world.put("changed", **{name: number(2) for name in names}, count=number(5))
    world.remove("removed")
    world.put("inserted", a=number(1))
    until = world.tick()
    truth = world.table.rows.copy()
    left = [which]

    def burn(operation: str, _: Any) -> None:
        left[0] -= operation != "get_item"
        if not left[0]:
            raise Killed

    setattr(world.table, when, burn)
    receipts = []
    try:
        receipts.append(world.run(world.damages(since, until)).receipt)
    except Killed:
        receipts.append(world.receipt.path)
    setattr(world.table, when, lambda *_: None)
    world.tick()
    receipts.append(world.run(world.damages(since, until)).receipt)
    assert world.table.row("changed") == {
        **key_of("changed"),
        **{name: number(1) for name in names},
    }
    assert world.table.row("removed") == {**key_of("removed"), "a": number(1)}
    assert world.table.row("inserted") is None
    for receipt in reversed([each for each in receipts if each.exists()]):
        world.tick()
        back = world.run(world.of_receipt(receipt))
        assert back.counts.left == []
    assert world.table.rows == truth


def test_a_doubtful_line_is_left_unless_the_archive_shows_it(tmp_path: Path) -> None:
    """A line without an outcome is left and listed if undoing it would change the row, though the
    row looks as if it had been written. If the archive shows the transition it is undone."""
    world, since, until = damaged(tmp_path)

    def kill(operation: str, _: Any) -> None:
        if operation == "update_item":
            raise Killed

    world.table.before = kill
    with pytest.raises(Killed):
        world.run(world.damages(since, until))
    world.table.before = lambda *_: None
    receipt = world.receipt.path
    world.tick()
    assert world.run(world.of_receipt(receipt)).counts.left == []  # there is nothing to undo
    # Somebody else made the row what the undo would have made it, in two steps.
    world.put("1", a=number(1), b=number(9))
    world.put("1", a=number(1), b=number(1))
    world.tick()
    done = world.run(world.of_receipt(receipt))
    assert done.counts.left == ['{"id":{"S":"1"}}: ' + DOUBTFUL]
    assert world.table.row("1") == {**key_of("1"), "a": number(1), "b": number(1)}


def test_an_expired_row_is_counted_apart(tmp_path: Path) -> None:
    """A row that changed in the window and expired since is a conflict, counted as expired."""
    world, since, until = damaged(tmp_path)
    world.remove("1", "ttl")
    world.tick()
    counts = world.plan(world.damages(since, until), Rule())
    assert (counts.conflicting, counts.expired, counts.writes) == (1, 1, 0)


def test_a_receipt_keeps_what_came_after_it(tmp_path: Path) -> None:
    """Undoing a receipt takes back what the run wrote, and keeps what others wrote since: a path
    that they changed is a conflict, even if it has the run's value again."""
    world, since, until = damaged(tmp_path)
    done = world.run(world.damages(since, until))
    world.tick()
    world.put("1", a=number(5), b=number(1))
    world.put("1", a=number(1), b=number(1), good=number(1))
    world.tick()
    back = world.run(world.of_receipt(done.receipt))
    assert world.table.row("1") == {
        **key_of("1"),
        "a": number(1),
        "b": number(9),
        "good": number(1),
    }
    assert [each.path for each in back.rows[0].conflicts] == [("a",)]


def test_nothing_is_sent_for_a_row_that_is_as_before(tmp_path: Path) -> None:
    """A row that is as it was before is read, and nothing else."""
    world, since, until = damaged(tmp_path)
    rows = world.damages(since, until)
    world.put("1", a=number(1), b=number(1))
    done = world.run(rows)
    assert [operation for operation, _ in world.table.requests] == ["get_item"]
    assert done.counts.unchanged == 1


def test_a_retry_has_a_line_of_its_own(tmp_path: Path) -> None:
    """A request that failed is not written, says the receipt, and its retry has another number. An
    invalid document path is tried again like a failed condition, and a busy table as long as it
    takes."""
    world, since, until = damaged(tmp_path)
    trouble = [
        invalid("The document path provided in the update expression is invalid for update"),
        *(refusal("ThrottlingException") for _ in range(20)),
        refusal("ConditionalCheckFailedException"),
    ]

    def fail(operation: str, _: Any) -> None:
        if operation == "update_item" and trouble:
            raise trouble.pop()

    world.table.before = fail
    done = world.run(world.damages(since, until))
    assert (done.counts.update, done.counts.left, trouble) == (1, [], [])
    lines = [*map(json.loads, gzip.decompress(done.receipt.read_bytes()).splitlines())][1:-1]
    outcomes = {line["seq"]: line["outcome"] for line in lines if "outcome" in line}
    assert outcomes == dict.fromkeys(range(1, 23), "not written") | {23: "done"}


def test_the_receipt_of_a_rewind_gives_the_rows_back(tmp_path: Path) -> None:
    """A rewind writes a receipt of whole rows. Undoing it gives the rows back, with what somebody
    wrote while a row was being replaced."""
    world, since, _ = damaged(tmp_path, c=number(1))
    world.put("inserted", a=number(1))
    world.tick()
    wanted = {**key_of("1"), "a": number(1), "b": number(1), "c": number(1)}
    steps = [
        Step("put", key_hash(key_of("1")), key_of("1"), encode(wanted), digest_of(world, "1")),
        Step("delete", "", key_of("inserted"), None, digest_of(world, "inserted")),
    ]

    def meddle(operation: str, _: Any) -> None:
        if operation == "put_item" and world.table.log[-1].by != "put_item":
            world.table.write(key_of("1"), {**(world.table.row("1") or {}), "d": number(4)})

    world.table.before = meddle
    header = ReceiptHeader("rewind", "orders", "arn", "id", int(world.table.now))
    table: Any = world.table
    with Receipt(tmp_path, header, lambda: world.table.now) as receipt:
        found = rewind(table, world.archive, steps, world.pool, receipt=receipt)
    assert (found.done, len(found.left)) == (1, 1)
    assert world.table.row("1") == wanted
    world.tick()
    world.table.before = lambda *_: None
    assert world.run(world.of_receipt(receipt.path)).counts.left == []
    assert world.table.row("inserted") == {**key_of("inserted"), "a": number(1)}
    assert world.table.row("1") == {
        **key_of("1"),
        "a": number(9),
        "b": number(9),
        "c": number(1),
        "d": number(4),
    }
    assert since


def digest_of(world: UndoWorld, name: str) -> str:
    return digest(encode(world.table.row(name) or {}))


def test_the_pace_is_kept() -> None:
    """With a rate, each row waits for its turn; without one, none waits."""
    waits: list[float] = []

    class Waiting(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return False

    for _ in range(2):
        Pace(None, Waiting()).wait()
    assert waits == []
    pace = Pace(10, Waiting())
    for _ in range(4):
        pace.wait()
    assert waits == pytest.approx([0.1, 0.2, 0.3], abs=0.05)


def test_once_stopped_no_row_is_begun(tmp_path: Path) -> None:
    """An error in one row ends the run: what is not begun is not written."""
    world = UndoWorld(tmp_path)
    for which in range(5):
        world.put(str(which), a=number(1))
    since = world.tick()
    for which in range(5):
        world.put(str(which), a=number(2))
    until = world.tick()

    def fail(operation: str, _: Any) -> None:
        if operation == "update_item":
            raise OSError("out of reach")

    world.table.before = fail
    with pytest.raises(OSError, match="out of reach"):
        world.run(world.damages(since, until))
    assert [operation for operation, _ in world.table.requests].count("update_item") == 1
