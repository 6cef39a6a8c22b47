"""The number of items in a table, and their sizes.

The sources, in this order: the options of the command, one page of items, DescribeTable.
"""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import is_denied
from stream_backup.core.item import Item
from stream_backup.errors import UsageError
from stream_backup.estimate.sizes import Sizes

_GIVEN_ITEMS = "The item count is the value of --items."
_GIVEN_SIZE = "The item size is the value of --item-bytes."
_OLD_ITEMS = "The item count is from DescribeTable and up to six hours old."
_OLD_SIZE = "The mean item size is from DescribeTable and up to six hours old."
_OLD = "The item count and the mean item size are from DescribeTable and up to six hours old."
_WHOLE = "The table is small and was read completely: its item count and sizes are current."
_WHOLE_SIZE = "The table is small and was read completely: the sizes of its items are current."
_ROUNDED = (
    "Write units are rounded up for each item, so the estimate can be off by half a unit each."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The number of items and their sizes. `notes` are sentences that name the sources."""

    items: int
    sizes: Sizes
    notes: tuple[str, ...]


def measure(
    dynamodb: DynamoDB,
    found: dict[str, Any],
    items: int | None,
    item_bytes: int | None,
    *,
    sampling: bool,
) -> Measured:
    """Returns the number of items in a table and their sizes.

    `found` is `Table` of a DescribeTable answer. `items` and `item_bytes` are values of options,
    None if not given. With `sampling`, one page of items is read. Raises UsageError if the
    number of items or their size is unknown.
    """
    count, size = int(found.get("ItemCount") or 0), int(found.get("TableSizeBytes") or 0)
    if item_bytes is not None:
        notes = (_OLD_ITEMS if items is None else _GIVEN_ITEMS, f"{_GIVEN_SIZE} {_ROUNDED}")
        return Measured(count if items is None else items, Sizes.of_mean(item_bytes), notes)
    page = _page(dynamodb, found["TableName"]) if sampling else None
    if page and not page.more:
        source = _WHOLE if items is None else _WHOLE_SIZE
        return _measured(found["TableName"], len(page.items), items, None, source, page)
    if page and not count and items is None:
        raise UsageError(
            f"DescribeTable reports no items in {found['TableName']}, but there are some: "
            "its count is up to six hours old.",
            "Pass --items N.",
        )
    mean = size / count if count and size else None
    source = _OLD if items is None else _OLD_SIZE
    return _measured(found["TableName"], count, items, mean, source, page)


@dataclass(frozen=True, slots=True)
class _Sample:
    """A page of items; `more` is True if the table has other items too."""

    items: list[Item]
    more: bool


def _measured(
    table: str,
    count: int,
    given: int | None,
    mean: float | None,
    source: str,
    page: _Sample | None,
) -> Measured:
    """Combines a `count` of items, and their `mean` size where known, with a page of items."""
    items = count if given is None else given
    notes = () if given is None else (_GIVEN_ITEMS,)
    if given is None or count:
        notes = (*notes, source)
    if page and page.items:
        return Measured(items, Sizes.of_sample(page.items, mean), (*notes, _sampled(page)))
    if not items:
        return Measured(items, Sizes.of_mean(mean or 1), notes)
    if mean is None:
        raise UsageError(f"The size of the items in {table} is unknown.", "Pass --item-bytes N.")
    return Measured(items, Sizes.of_mean(mean), (*notes, f"No items were sampled. {_ROUNDED}"))


def _sampled(page: _Sample) -> str:
    """Names the sample as the source."""
    number = "one item" if len(page.items) == 1 else f"{len(page.items):,} items"
    return (
        f"Sizes are rounded up to capacity units as in a sample of {number}, which one Scan of at "
        "most 128 RCU reads."
    )


def _page(dynamodb: DynamoDB, table: str) -> _Sample | None:
    """Reads one page, hundreds or thousands of items; None if the caller has no permission.

    Items are in the order of their keys' hashes, so the page is a random sample.
    """
    try:
        found = dynamodb.call("scan", {"TableName": table}).data
    except ClientError as error:
        if not is_denied(error):
            raise
        return None
    return _Sample(found["Items"], "LastEvaluatedKey" in found)
