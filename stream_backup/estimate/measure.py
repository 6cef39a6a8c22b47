"""How many items a table has and how large they are: as given by hand, else from a page of them, else from DescribeTable."""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import UsageError
from stream_backup.estimate.sizes import Sizes
from stream_backup.item import Item

OLD = "DescribeTable's, up to six hours old"
HALF = "Write units are rounded up item by item, so they may be off by half a unit an item."


@dataclass(frozen=True, slots=True)
class Measured:
    """`notes` say where the numbers come from."""

    items: int
    sizes: Sizes
    notes: tuple[str, ...]


def measure(
    dynamodb: DynamoDB, found: dict[str, Any], items: int | None, item_bytes: int | None, *, sampling: bool
) -> Measured:
    """`found` is DescribeTable's `Table`; `items` and `item_bytes` are what was given by hand. Raises UsageError when nothing
    says how many items there are, or how large."""
    name, count, size = found["TableName"], int(found.get("ItemCount") or 0), int(found.get("TableSizeBytes") or 0)
    if item_bytes is not None:
        number = _given(items) or f"The number of items is {OLD}."
        unseen = f"The items' bytes are as given. {HALF}"
        return Measured(count if items is None else items, Sizes.of_mean(item_bytes), (number, unseen))
    page = _page(dynamodb, name) if sampling else None
    if page and not page.more:
        count = len(page.items)
        told = "The table is small and was read whole: its items and bytes are as of now."
        mean = None
    else:
        told, mean = f"Items and bytes are {OLD}.", size / count if count and size else None
    if page and page.more and not count and items is None:
        raise UsageError(
            f"DescribeTable, up to six hours old, counts no items in {name}, yet there are some.", "Pass --items N."
        )
    wanted = count if items is None else items
    notes = tuple(filter(None, (_given(items), told if items is None or count else "")))
    if page and page.items:
        looked = f"Sizes are rounded up as those of {len(page.items):,} items are, read by one Scan of 128 RCU at most."
        return Measured(wanted, Sizes.of_sample(page.items, mean), (*notes, looked))
    if mean is None and wanted:
        raise UsageError(f"Nothing says how large the items of {name} are.", "Pass --item-bytes N.")
    unseen = f"No items were looked at. {HALF}"
    return Measured(wanted, Sizes.of_mean(mean or 1), (*notes, unseen) if wanted else notes)


@dataclass(frozen=True, slots=True)
class _Page:
    items: list[Item]
    more: bool


def _page(dynamodb: DynamoDB, table: str) -> _Page | None:
    """One page: hundreds or thousands of items, in the order of their keys' hashes, so none is likelier to be on it; None
    where whoever asks may not Scan."""
    try:
        found = dynamodb.call("scan", {"TableName": table}).data
    except ClientError as error:
        if "AccessDenied" not in error.response["Error"]["Code"]:
            raise
        return None
    return _Page(found["Items"], "LastEvaluatedKey" in found)


def _given(items: int | None) -> str:
    return "The number of items is as given." if items is not None else ""
