"""A table whose every write is in the archive at once, and undos of it. Requests are executed as
strictly as DynamoDB executes them (tests/expressions.py), and others may act around each."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from restore.pace import Pace
from restore.receipt import Receipt, ReceiptHeader
from stream_backup.archive.layout import Archive
from stream_backup.archive.memory import MemoryStore
from stream_backup.archive.selection import Selection
from stream_backup.aws.dynamodb import Answer
from stream_backup.core.change import Change
from stream_backup.core.edits import Conflict
from stream_backup.core.item import Item, digest, encode
from stream_backup.core.key import KeySchema, key_hash
from stream_backup.core.stamp import Kind, Stamp
from stream_backup.core.time_rule import NEVER
from stream_backup.inspect.window import Changed, Examined, Window
from stream_backup.progress import Silent
from stream_backup.undo.damage import Damage
from stream_backup.undo.plan import of_receipt, of_window
from stream_backup.undo.receipts import ReceiptFile
from stream_backup.undo.rule import Rule
from stream_backup.undo.run import UndoCounts, counted, undo_rows
from stream_backup.undo.writer import RowUndone, RowWriter
from tests.expressions import Expressions, invalid, refusal
from tests.process import Inline, Stop
from tests.undo_model import sized

SCHEMA = KeySchema((("id", "S"),))
T0 = 1_800_000_000


class Written(NamedTuple):
    """A write that took effect; `by` is the operation of an undo, or who else wrote. `read` is the
    row as it was read last."""

    key: Item
    old: Item | None
    new: Item | None
    by: str
    read: Item | None


@dataclass
class UndoTable:
    """`before` is called with each operation before it is executed, `after` after it took effect.
    A write of which `loses` is true loses its answer, and is sent again as botocore does."""

    archive: Archive
    now: float = T0
    rows: dict[str, Item] = field(default_factory=dict)
    log: list[Written] = field(default_factory=list)
    reads: dict[str, Item | None] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before: Callable[[str, dict[str, Any]], None] = lambda _operation, _request: None
    after: Callable[[str, dict[str, Any]], None] = lambda _operation, _request: None
    loses: Callable[[str], bool] = lambda _operation: False

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        asked = json.loads(request if isinstance(request, bytes) else json.dumps(request))
        self.requests.append((operation, asked))
        self.before(operation, asked)
        found = self._execute(operation, asked)
        self.after(operation, asked)
        if operation != "get_item" and self.loses(operation):
            try:
                found = self._execute(operation, asked)
            except ClientError as error:
                error.response["ResponseMetadata"]["RetryAttempts"] = 1
                raise
        return Answer(json.loads(json.dumps(found)), int(self.now))

    def _execute(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        key = request.get("Key") or SCHEMA.key_of(request["Item"])
        row = self.rows.get(key_hash(key))
        if operation == "get_item":
            assert request["ConsistentRead"]
            self.reads[key_hash(key)] = row
            return {"Item": row} if row else {}
        expressions = Expressions(request)
        holds = expressions.holds(request["ConditionExpression"], row)
        if not holds:
            raise refusal("ConditionalCheckFailedException")
        new: Item | None = request.get("Item")
        if operation == "update_item":
            assert row is not None, "a row must not come back as a stump"
            new = expressions.updated(request["UpdateExpression"], row, {*key})
        expressions.finish()
        if new is not None and sized(new) > 400 * 1024:
            raise invalid("Item size has exceeded the maximum allowed size")
        self.write(key, new, operation)
        return {"Attributes": row} if row and "ReturnValues" in request else {}

    def write(self, key: Item, new: Item | None, by: str = "somebody") -> None:
        """Writes a row, and its change into the archive in the same second."""
        old = self.rows.get(key_hash(key))
        if new is None and old is None:
            return
        if new is None:
            del self.rows[key_hash(key)]
        else:
            self.rows[key_hash(key)] = json.loads(json.dumps(new))
        self.log.append(Written(key, old, new, by, self.reads.get(key_hash(key))))
        if old == new:
            return
        kind: Kind = "remove" if new is None else "modify" if old else "insert"
        stamp = Stamp(
            at=int(self.now),
            sequence=10**21 + len(self.log),
            seen=int(self.now),
            kind=kind,
            by="ttl" if by == "ttl" else None,
            before=digest(encode(old)) if old else None,
        )
        self.archive.put(Change(key, stamp, None if new is None else encode(new)))

    def row(self, name: str) -> Item | None:
        return self.rows.get(key_hash(key_of(name)))


def key_of(name: str) -> Item:
    return {"id": {"S": name}}


def every(_: Changed) -> bool:
    return True


class UndoWorld:
    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.random = Random(seed)
        store = MemoryStore(lambda: self.table.now)
        self.archive = Archive(store, "", "orders", SCHEMA, lambda: self.table.now)
        self.table = UndoTable(self.archive)
        self.pool: Executor = Inline(self.random)
        self.conflicts: list[tuple[Item, Conflict]] = []

    def tick(self) -> int:
        """Lets a minute pass and returns the last second of it."""
        self.table.now += 60
        return int(self.table.now) - 1

    def put(self, name: str, **attributes: Any) -> None:
        self.table.write(key_of(name), {**key_of(name), **attributes})

    def remove(self, name: str, by: str = "somebody") -> None:
        self.table.write(key_of(name), None, by)

    def damages(
        self, since: int, until: int, where: Callable[[Changed], bool] = every
    ) -> list[Damage]:
        window = Window(self.archive, since, until, NEVER, NEVER)
        examined = Examined()
        chosen = Selection(self.archive)
        found = of_window(window, chosen, where, NEVER, self.pool, examined, Silent())
        rows = sorted(found, key=lambda each: str(each.key))
        assert not examined.unreadable
        return rows

    def of_receipt(self, path: Path) -> list[Damage]:
        with ReceiptFile(path) as receipt:
            return [*of_receipt(receipt, Selection(self.archive), self.table, self.pool)]

    def plan(self, rows: list[Damage], rule: Rule) -> UndoCounts:
        counts = UndoCounts()
        self.conflicts.clear()
        [*counted(rule, rows, counts, lambda key, each: self.conflicts.append((key, each)))]
        return counts

    def run(self, rows: list[Damage], rule: Rule | None = None) -> "Done":
        """Undoes rows, with a receipt."""
        header = ReceiptHeader("undo", "orders", "arn", "table", int(self.table.now))
        counts = UndoCounts()
        stop = Stop()
        self.receipt = Receipt(self.folder, header, lambda: self.table.now)
        with self.receipt as receipt:
            writer = RowWriter(self.table, "orders", rule or Rule(), receipt, stop)
            found = []
            for row in undo_rows(writer, rows, self.pool, Pace(None, stop)):
                counts.add(row)
                found.append(row)
        return Done(counts, found, self.receipt.path)


class Done(NamedTuple):
    counts: UndoCounts
    rows: list[RowUndone]
    receipt: Path
