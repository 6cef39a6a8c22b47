"""`diff`: what differs between two moments, by shape, by item, and for programs."""

import json
import sys
import tracemalloc
from contextlib import closing
from decimal import Decimal
from random import Random
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_backup.archive.layout import History
from stream_backup.core.item import Item, encode
from stream_backup.core.key import key_hash
from stream_backup.core.moment import iso
from stream_backup.core.plain import plain_item, plain_text
from stream_backup.core.records import End
from stream_backup.core.stamp import Stamp
from stream_backup.errors import UsageError
from stream_backup.inspect.shapes import ANY, SETS, Shape, Shapes, differences_of, often
from stream_backup.inspect.where import Where
from stream_backup.inspect.window import Changed
from tests import strategies
from tests.damage import CAUSE, END, FROM, NOW, START, TO, Night, incident, order
from tests.profiles import histories


@pytest.fixture
def night(capsys: pytest.CaptureFixture[str]) -> Night:
    return incident(capsys)


def changed(
    before: Item | None, after: Item | None, number: int = 1, by: str | None = None
) -> Changed:
    key: Item = {"id": {"S": f"item-{number}"}}
    old, new = (None if each is None else encode(key | each) for each in (before, after))
    stamp = Stamp(1000 + number, 1, 1000 + number, "modify", by)
    return Changed(key_hash(key), key, old, new, (stamp,), History("", ()))


def grouped(*every: Changed) -> list[Shape]:
    with closing(Shapes()) as found:
        for each in every:
            found.add(each, differences_of(each))
        return found.found()


def text(value: str) -> Item:
    return {"state": {"S": value}}


# Shapes


def test_damage_is_recognized_by_its_shape(night: Night) -> None:
    """What a job wrote into every item is one line with the count, the first and the last second,
    and an example; good changes are another; insertions, removals and expiries follow."""
    said = night.done("diff", "orders", "--from", FROM, "--to", TO)
    first, second, *others = said.out.splitlines()
    assert first.split("   ", 1)[0].rstrip() == 'state: * → "undefined"'
    assert '60 items   first 02:14:07   last 02:19:55   e.g. {"id": "order-' in first
    assert second.startswith('box: — → *, state: "new" → "shipped"   5 items')
    assert [line.split()[:2] for line in others] == [
        ["inserted", "3"], ["removed", "1"], ["expired", "1"]
    ]  # fmt: skip
    assert "70 items differ; 1 changed and ended as they began." in said.err
    assert "16 LIST, " in said.err


def test_a_shape_is_not_what_its_values_happen_to_be() -> None:
    """A former value is shown only if all items had it, a new value if it is frequent."""
    many = [changed(text(f"old-{n % 3}"), text("undefined"), n) for n in range(100)]
    few = [changed(text("old-0"), text(f"note {n}"), 100 + n) for n in range(7)]
    both, rare = grouped(*many, *few)
    assert (both.changes, both.items) == ((("state", ANY, '"undefined"'),), 100)
    assert (rare.changes, rare.items) == ((("state", '"old-0"', ANY),), 7)
    assert (both.first, both.last) == (1000, 1099)
    (one,) = grouped(many[0])
    assert one.changes == (("state", '"old-0"', '"undefined"'),)


@pytest.mark.parametrize(
    ("items", "least"), [(1, 2), (3, 2), (4, 2), (5, 3), (25, 5), (26, 6), (10_000, 100)]
)
def test_how_often_a_value_must_occur(items: int, least: int) -> None:
    """A value is told apart when at least the square root of all items have it."""
    assert often(items) == least


def test_names_in_maps_do_not_hide_damage() -> None:
    """Thousands of items that changed under a name of their own are one shape."""
    every = [
        changed({"carts": {"M": {}}}, {"carts": {"M": {f"cart-{n}": {"S": "x"}}}}, n)
        for n in range(SETS * 3)
    ]
    damaged = [changed(text("good"), text("bad"), SETS * 3 + n) for n in range(50)]
    carts, bad = grouped(*every, *damaged)
    assert (carts.changes, carts.items) == ((("carts.*", ANY, ANY),), SETS * 3)
    assert (bad.changes, bad.items) == ((("state", '"good"', '"bad"'),), 50)


def test_the_number_of_sets_is_bounded() -> None:
    """Items with more different attributes than are told apart are counted all the same."""
    every = [changed({}, {f"name-{n}": {"S": "x"}}, n) for n in range(2 * SETS + 40)]
    found = grouped(*every)
    assert sum(shape.items for shape in found) == len(every)
    assert len(found) == 2 * SETS + 1
    assert found[0].changes == (((ANY, ANY, ANY),))
    assert found[0].items == 40


@histories(60)
@given(data=st.lists(st.tuples(strategies.items, strategies.items), min_size=1, max_size=12),
       seed=st.integers(0, 99))  # fmt: skip
def test_every_item_has_exactly_one_shape(data: list[tuple[Item, Item]], seed: int) -> None:
    """The counts are exact, every literal of a shape is true of all its items, and the shapes do
    not depend on the order in which items are found."""
    every = [changed(before, after, number) for number, (before, after) in enumerate(data)]
    every = [each for each in every if each.differs]
    found = grouped(*every)
    assert sum(shape.items for shape in found) == len(every)
    shuffled = list(every)
    Random(seed).shuffle(shuffled)
    assert grouped(*shuffled) == found
    for shape in found:
        assert shape.key in [each.key for each in every]


def test_too_many_shapes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond what is shown, the report says how many shapes and items there are more."""
    night = Night(capsys)
    night.scan(*(order(number, "new") for number in range(30)))
    for number in range(30):
        night.write(CAUSE, order(number, "new", **{f"a{number:02}": {"S": "x"}}))
    said = night.done("diff", "orders", "--from", FROM, "--to", TO)
    assert len(said.out.splitlines()) == 21
    assert said.out.splitlines()[-1] == "… and 10 more shapes (10 items)."


def test_long_values_are_told_apart_and_cut() -> None:
    """Two values that begin alike are not the same value."""
    values = ["x" * 5000 + end for end in "ab"]
    found = grouped(*(changed(text("old"), text(values[n % 2]), n) for n in range(6)))
    assert [shape.items for shape in found] == [3, 3]
    assert all(len(new) < 300 for shape in found for _, _, new in shape.changes)


# Items and JSON


def test_items_are_listed_with_their_changes(night: Night) -> None:
    """--items lists each item: its key, what became of it, when, and each attribute."""
    said = night.done("diff", "orders", "--from", FROM, "--to", TO, "--items",
                      "--key", '{"id": "order-1009"}', "--key", '{"id": "order-4"}')  # fmt: skip
    assert sorted(said.out.splitlines()) == sorted(
        [
            '{"id": "order-1009"}  expired  2026-11-21T02:19:45Z  (remove by ttl)',
            '    state: "new" → —',
            "    total: 1009.10 → —",
            '{"id": "order-4"}  modified  2026-11-21T02:14:30Z  (modify)',
            '    state: "paid" → "undefined"',
        ]
    )


def rows_at(night: Night, moment: int) -> dict[str, bytes]:
    """The table at a moment, from every version there is."""
    found = {}
    for history in night.archive().histories():
        every = [night.archive().read(version) for version in history.versions]
        seen = [each for each in every if each.stamp.seen <= moment]
        best = max(seen, key=lambda each: each.stamp.rank, default=None)
        if best and best.body:
            found[history.name] = best.body
    return found


def test_diff_applied_to_the_table_at_a_gives_the_table_at_b(night: Night) -> None:
    """Law 15, on what --json prints: every line removes the item as it was and adds it as it
    became."""
    for since, until in ((START, NOW - 1), (CAUSE - 1, END), (CAUSE, CAUSE + 60), (END, END + 900)):
        said = night.done("diff", "orders", "--from", iso(since), "--to", iso(until), "--json")
        rows = rows_at(night, since)
        for line in map(json.loads, said.out.splitlines()):
            name = key_hash(line["key"])
            assert rows.pop(name, None) == (line["before"] and encode(line["before"]))
            if line["after"]:
                rows[name] = encode(line["after"])
            assert iso(since) < line["first"] <= line["last"] <= iso(until)
        assert rows == rows_at(night, until)


def test_json_is_one_object_a_line(night: Night) -> None:
    """A line has the key, both states as DynamoDB JSON, and when, how and by whom it changed; the
    summary is on stderr."""
    said = night.done("diff", "orders", "--from", FROM, "--to", TO, "--json",
                      "--where", "contains(by, 'ttl')")  # fmt: skip
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {
            "key": {"id": {"S": "order-1009"}},
            "before": order(1009, "new", total={"N": "1009.10"}),
            "after": None,
            "first": iso(END - 10),
            "last": iso(END - 10),
            "kinds": ["remove"],
            "by": ["ttl"],
        }
    ]
    assert "70 items differ, 1 of them match --where" in said.err


def test_an_interrupted_diff(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it with its exit code, and leaves no thread behind."""

    def pressed(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["stream_backup.cli.diff"], "data_line", pressed)
    assert night.run("diff", "orders", "--from", FROM, "--json").refused(130, "Interrupted")
    assert not [each for each in enumerate_threads() if each.name.startswith("slice-")]


def test_the_window_ends_now_by_default(night: Night) -> None:
    """Without --to, the window ends at the latest exact moment, and says so."""
    said = night.done("diff", "orders", "--from", FROM, "--where", "after.state == 'fixed'")
    assert 'state: * → "fixed"' in said.out
    assert "The window ends at the latest exact moment, 2026-11-21T02:59:59Z." in said.err


def test_a_window_that_is_not_known_yet(night: Night) -> None:
    """Without --to, a window that begins where the archive ends is refused for that reason."""
    said = night.run("diff", "orders", "--from", iso(NOW - 1))
    said.refused(4, "not over yet")
    night.caught_up(NOW - 100)
    said = night.run("diff", "orders", "--from", iso(NOW - 50))
    said.refused(4, "outside the coverage", "The stream has been read up to")


def test_keys_from_a_file(night: Night, tmp_path: Any) -> None:
    """Only the keys in a file are listed and read."""
    keys = tmp_path / "keys"
    keys.write_text('{"id": "order-1"}\n{"id": {"S": "order-2"}}\n')
    night.store.requests.clear()
    said = night.done("diff", "orders", "--from", FROM, "--to", TO, "--keys-from", str(keys))
    assert "2 items" in said.out
    assert night.store.requests["get"] < 15  # some of them are records of the archive


def test_what_could_not_be_read_is_said_once(night: Night) -> None:
    """Two moments are resolved, and the same sentence about both is one."""
    night.unseen = ("No permission to describe table orders.",)
    said = night.done("diff", "orders", "--from", FROM, "--to", TO)
    assert said.err.count("No permission") == 1


def test_nothing_differs(night: Night) -> None:
    """A quiet window prints nothing on stdout, and says so on stderr."""
    said = night.done("diff", "orders", "--from", iso(END + 1000), "--to", iso(END + 1100))
    assert said.out == ""
    assert "0 items differ." in said.err


# --where


def where(expression: str, before: Item | None, after: Item | None) -> bool:
    return Where(expression).matches(changed(before, after))


def number(digits: str) -> Item:
    return {"n": {"N": digits}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("after.n == `1.1`", True),
        ("after.n < `1.10000000000000000000001`", False),  # the expression has 15 digits
        ("after.n == before.n", False),
        ("after.n > before.n", True),
        ("abs(before.n) == `1.09999999999999999999`", False),
        ("type(after.n) == 'number'", True),
        ("to_number('1.1') == after.n", True),
        ("sum([after.n, before.n]) < `2.2`", True),
        ("after.missing", False),
        ("!(after.missing)", True),
        ("key.id == 'item-1'", True),
        ("first >= '1970-01-01T00:16:41Z'", True),
        ("contains(kinds, 'modify') && by == `[]`", True),
        ("contains(kinds, 'modify') && !by", True),
    ],
)
def test_numbers_are_compared_exactly(expression: str, expected: bool) -> None:
    """Numbers of an item keep all their digits, and those of an expression are decimal."""
    before, after = number("1.0999999999999999999999999999999999999"), number("1.1")
    assert where(expression, before, after) is expected


def test_binary_sets_and_null() -> None:
    """Every type has a plain form."""
    item: Item = {
        "b": {"B": "AQ=="}, "ss": {"SS": ["x"]}, "ns": {"NS": ["1", "2.5"]}, "bs": {"BS": ["AQ=="]},
        "z": {"NULL": True}, "f": {"BOOL": False}, "l": {"L": [{"M": {"x": {"N": "-1E-130"}}}]},
    }  # fmt: skip
    assert plain_item(item) == {
        "b": "AQ==", "ss": ["x"], "ns": [1, Decimal("2.5")], "bs": ["AQ=="], "z": None, "f": False,
        "l": [{"x": Decimal("-1E-130")}],
    }  # fmt: skip
    assert plain_text({"a": [1, Decimal("1.10"), None, True, 'x"']}) == (
        '{"a": [1, 1.10, null, true, "x\\""]}'
    )


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "empty"),
        ("after.state ==", "Incomplete"),
        ('after.state == "undefined"', "Text is written in single quotes"),
        ("state == 'x'", "'state' is none of key, before"),
        ("after.x && foo(after.y)", "foo()"),
        ("length(after.x, after.y)", "Expected 1 argument"),
        ("!after.missing", "!(a.b)"),
        ("!" * 9000 + "after", "!"),
    ],
)
def test_an_expression_that_is_not_jmespath(night: Night, expression: str, words: str) -> None:
    """Such an expression is refused before anything is read, with a hint; so is one that could
    never be true because a name or a quote is wrong."""
    night.store.requests.clear()
    said = night.run("diff", "orders", "--from", FROM, "--where", expression)
    said.refused(2, words)
    assert not night.store.requests


def test_an_expression_that_cannot_be_evaluated(night: Night) -> None:
    """A function that gets what it does not take ends the command, with the item and a hint."""
    said = night.run("diff", "orders", "--from", FROM, "--where", "contains(after.box, '1')")
    assert said.code == 2
    assert "cannot be evaluated for {" in said.err
    assert "hint: Check first that the attribute exists" in said.err


def test_dynamodb_json_in_an_expression_is_pointed_out(night: Night) -> None:
    """An expression that matches nothing because it names types gets a hint."""
    said = night.done("diff", "orders", "--from", FROM, "--where", "after.state.S == 'undefined'")
    assert "hint: --where sees plain values" in said.err
    with pytest.raises(UsageError):
        Where("(")


# What is refused


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--from", TO, "--to", FROM), 2, "contains no second"),
        (("--from", FROM, "--to", FROM), 2, "contains no second"),
        (("--from", "2026-11-19T00:00:00Z", "--to", TO), 4, "outside the coverage"),
        (("--from", FROM, "--to", "2026-11-21T03:00:00Z"), 4, "not over yet"),
        (("--from", "soon"), 2, "'soon' is not a moment"),
        (("--from", FROM, "--items", "--json"), 2, "exclude each other"),
        (("--from", FROM, "--key", "7"), 2, "not a key"),
        (("--from", FROM, "--key", '{"id": "nobody"}'), 2, "contains none of these items"),
        ((), 2, "--from"),
    ],
)
def test_a_window_that_is_refused(
    night: Night, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """Each mistake has its sentence, its hint, and its exit code, and prints nothing on stdout."""
    night.run("diff", "orders", *words).refused(code, sentence)


def test_a_window_over_two_epochs_is_refused(night: Night) -> None:
    """Two moments that are exact, but not in one epoch, have no known difference."""
    again = "2026-11-21T04:00:00.000"
    night.now = NOW - 1300
    found = night.meta.streams()[0]
    night.meta.write_stream(
        found.__class__(again, found.arn, "2", NOW - 1200, True, "follow", NOW - 1200, True)
    )
    run = night.meta.runs()[0].__class__
    night.meta.write_run(run("s", again, NOW - 1190, NOW - 1190, NOW - 1180, True, {}))
    night.meta.write_end("2026-11-20T00:00:00.000", _end(NOW - 1300))
    night.caught_up(NOW - 1)
    kept = night.meta.follow_checkpoint("2026-11-20T00:00:00.000")
    assert kept
    night.meta.write_follow_checkpoint(again, kept)
    since, until = iso(CAUSE), iso(NOW - 100)
    said = night.run("diff", "orders", "--from", since, "--to", until)
    said.refused(4, "two epochs")
    assert iso(NOW - 1180) in said.err
    night.done("diff", "orders", "--from", since, "--to", until, "--incomplete-ok")


def _end(moment: int) -> Any:
    return End(moment, "it was replaced")


def test_an_unreadable_item_is_named(night: Night) -> None:
    """What can be read is shown, and what cannot is named with exit code 5."""
    path = next(path for path in night.store.objects if "meta" not in path)
    night.now = CAUSE + 5
    night.store.put(path, b"{}", {"format": "99"})
    said = night.run("diff", "orders", "--from", FROM, "--to", TO)
    assert said.code == 5
    assert '"undefined"' in said.out
    assert path in said.err
    assert night.done("diff", "orders", "--from", FROM, "--to", TO, "--incomplete-ok").code == 0


def test_memory_does_not_grow_with_the_items() -> None:
    """What is counted is on disk: thousands of items take no more memory than a few."""

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            with closing(Shapes()) as shapes:
                for number in range(count):
                    each = changed(text(f"old {number}"), text("new"), number)
                    shapes.add(each, differences_of(each))
                (shape,) = shapes.found()
            assert shape.items == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(5000) < 500_000
