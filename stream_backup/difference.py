"""How two items differ: path by path, so that one attribute deep in a map is seen for itself."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from stream_backup.item import Item, Value


class Difference(NamedTuple):
    """At `path` (`geo.lat`, `lines[2].price`) there was `old` and is `new`; None where there was or is nothing."""

    path: str
    old: Value | None
    new: Value | None


def differences(old: Item, new: Item) -> list[Difference]:
    """In order of path; empty when the items are equal."""
    return list(_of_maps(old, new, ""))


def plain(value: Value | None) -> str:
    """A value for people: text in quotes, numbers as they are, the rest as DynamoDB JSON."""
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
