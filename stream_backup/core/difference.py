"""The differences between two items, by path, so that a change of one nested attribute is reported
as that attribute and not as the whole map."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from stream_backup.core.item import Item, Value


class Difference(NamedTuple):
    """The typed values at one `path`, for example `geo.lat` or `lines[2].price`: `old` and `new`.
    None means that the path did not exist, or no longer exists."""

    path: str
    old: Value | None
    new: Value | None


def differences(old: Item, new: Item) -> list[Difference]:
    """Returns the differences between two items, ordered by attribute name at every level. The list
    is empty when the items are equal."""
    return list(_of_maps(old, new, ""))


def plain(value: Value | None) -> str:
    """Returns a value for display: strings in quotes, numbers, booleans and null as plain text,
    other types as DynamoDB JSON, and a dash for a value that does not exist."""
    match value:
        case None:
            return "—"
        case {"S": text}:
            return json.dumps(text, ensure_ascii=False)
        case {"N": text}:
            return str(text)
        case {"BOOL": found}:
            return str(found).lower()
        case {"NULL": _}:
            return "null"
    return json.dumps(value, ensure_ascii=False)


def _of_maps(old: Item, new: Item, where: str) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        path = f"{where}.{name}" if where else name
        yield from _of_values(old.get(name), new.get(name), path)


def _of_values(old: Value | None, new: Value | None, path: str) -> Iterator[Difference]:
    match old, new:
        case _ if old == new:
            return
        case {"M": before}, {"M": after}:
            yield from _of_maps(before, after, path)
        case {"L": before}, {"L": after} if len(before) == len(after):
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from _of_values(one, other, f"{path}[{index}]")
        case _:
            yield Difference(path, old, new)
