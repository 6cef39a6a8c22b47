"""What changed between two versions, as `history` shows it."""

from hypothesis import given

from stream_backup.core.difference import Difference, differences, plain
from stream_backup.core.item import Item
from tests.strategies import items


def test_one_attribute_deep_in_a_map_is_seen_for_itself() -> None:
    """A difference has the path to the value that differs, and nothing that is equal on both
    sides."""
    old: Item = {
        "geo": {"M": {"lat": {"N": "1.5"}, "lon": {"N": "2"}}},
        "lines": {"L": [{"S": "a"}, {"S": "b"}]},
        "gone": {"BOOL": True},
    }
    new: Item = {
        "geo": {"M": {"lat": {"N": "-71"}, "lon": {"N": "2"}}},
        "lines": {"L": [{"S": "a"}, {"S": "c"}]},
        "come": {"NULL": True},
    }
    assert differences(old, new) == [
        Difference("come", None, {"NULL": True}),
        Difference("geo.lat", {"N": "1.5"}, {"N": "-71"}),
        Difference("gone", {"BOOL": True}, None),
        Difference("lines[1]", {"S": "b"}, {"S": "c"}),
    ]


@given(items, items)
def test_there_is_a_difference_exactly_when_items_differ(one: Item, other: Item) -> None:
    """Equal items have no difference. Unequal items have at least one, and the values of each
    difference are not equal."""
    found = differences(one, other)
    assert bool(found) == (one != other)
    assert all(each.old != each.new for each in found)


def test_values_read_as_people_write_them() -> None:
    """Text is quoted, numbers and booleans are not, and types without a plain form are shown as
    DynamoDB JSON."""
    shown = [
        plain(value)
        for value in (
            {"S": "é"},
            {"N": "1.10"},
            {"BOOL": False},
            {"NULL": True},
            {"SS": ["a"]},
            None,
        )
    ]
    assert shown == ['"é"', "1.10", "false", "null", '{"SS": ["a"]}', "—"]
