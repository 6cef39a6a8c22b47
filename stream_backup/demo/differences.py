"""How two DynamoDB values differ, without code of the product, which is under test."""

from collections.abc import Iterator
from typing import Any


def differences(expected: dict[str, Any], found: dict[str, Any], where: str = "") -> Iterator[str]:
    """Yields one sentence for each difference of two typed values, with the path of the value.

    Only the order of a set is ignored.
    """
    if expected == found:
        return
    if set(expected) != set(found) or len(expected) != 1:
        yield f"{where} is {found}, not {expected}"
        return
    ((kind, wanted),) = expected.items()
    given = found[kind]
    if kind == "M":
        yield from _of_maps(wanted, given, where)
    elif kind == "L" and len(wanted) == len(given):
        for index, (one, other) in enumerate(zip(wanted, given, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif kind not in ("SS", "NS", "BS") or sorted(wanted) != sorted(given):
        yield f"{where} is {found}, not {expected}"


def _of_maps(expected: dict[str, Any], found: dict[str, Any], where: str) -> Iterator[str]:
    for name in sorted({*expected, *found}):
        path = f"{where}.{name}" if where else name
        if name not in found:
            yield f"{path} is missing"
        elif name not in expected:
            yield f"{path} should not exist"
        else:
            yield from differences(expected[name], found[name], path)
