"""A table scanned consistently, page by page, within a budget of read capacity."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, NamedTuple

from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item


class ScanPage(NamedTuple):
    """Items in wire form, the key to scan on from (None at the end), AWS's clock when the page was
    answered, and the read capacity units it consumed."""

    items: list[Item]
    following: Item | None
    moment: int
    consumed: float


@dataclass(frozen=True, slots=True)
class TableScan:
    """One of `segments` parts of a table. With `names`, only these attributes are read. A page has
    at most `most` items, and 1 MB in any case."""

    dynamodb: DynamoDB
    table: str
    segment: int = 0
    segments: int = 1
    names: tuple[str, ...] = ()
    most: int | None = None

    def page(self, start: Item | None = None) -> ScanPage:
        """Reads the page that begins after the key `start`. Raises ClientError."""
        request: dict[str, Any] = {
            "TableName": self.table,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
            "Segment": self.segment,
            "TotalSegments": self.segments,
        }
        if self.names:
            placeholders = {f"#{index}": name for index, name in enumerate(self.names)}
            request["ProjectionExpression"] = ", ".join(placeholders)
            request["ExpressionAttributeNames"] = placeholders
        if self.most:
            request["Limit"] = self.most
        if start:
            request["ExclusiveStartKey"] = start
        data, moment = self.dynamodb.call("scan", request)
        consumed = data.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
        return ScanPage(data["Items"], data.get("LastEvaluatedKey"), moment, consumed)

    def pages(self, budget: ReadBudget, stop: Event) -> Iterator[ScanPage]:
        """Yields every page, until `stop` is set. Raises ClientError."""
        start: Item | None = None
        while not stop.is_set():
            page = self.page(start)
            yield page
            if page.following is None:
                return
            start = page.following
            stop.wait(budget.spend(page.consumed))


class ScanFraction:
    """How much of a table has been scanned, by its ItemCount, which is up to six hours old.
    Thread-safe."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._read = 0
        self._lock = Lock()

    def reach(self, count: int) -> float | None:
        """Adds items that were read and returns the fraction (0 to 1), None when the table's size
        is unknown."""
        with self._lock:
            self._read += count
            return min(self._read / self._expected, 0.99) if self._expected else None
