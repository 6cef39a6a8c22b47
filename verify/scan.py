"""The live table, scanned consistently into rows on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

from backfill.capacity import Capacity
from restore.load import run_shards
from stream_backup.dynamodb import DynamoDB
from stream_backup.item import Item, digest, encode
from stream_backup.key import KeySchema, key_hash, key_json
from verify.compare import Row
from verify.rows import Rows


@dataclass(frozen=True, slots=True)
class Scan:
    """`progress` is told how many rows each page had; `stop` ends it early."""

    dynamodb: DynamoDB
    table: str
    schema: KeySchema
    segments: int
    capacity: Capacity
    stop: Event
    progress: Callable[[int], None]

    def into(self, rows: Rows) -> None:
        """Every segment at once, to its end."""
        run_shards(
            lambda number: self._segment(int(number), rows), [str(number) for number in range(self.segments)], self.stop
        )

    def _segment(self, number: int, rows: Rows) -> None:
        request: dict[str, Any] = {
            "TableName": self.table,
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
            "Segment": number,
            "TotalSegments": self.segments,
        }
        while not self.stop.is_set():
            page = self.dynamodb.call("scan", request).data
            rows.add(self._row(item) for item in page["Items"])
            self.progress(len(page["Items"]))
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
            self.stop.wait(self.capacity.spend(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)))

    def _row(self, item: Item) -> Row:
        key = self.schema.key_of(item)
        return Row(key_hash(key), digest(encode(item)), key_json(key))
