"""Executes a rewind on the live table, row by row, each under the condition that the row still is
what the plan saw.

A row that changed after the plan was made is left unchanged and reported. Running the same rewind
again is harmless: a row that already matches is not written.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from botocore.exceptions import ClientError

from restore.plan import Step
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.item import Item, decode, digest, encode
from stream_backup.core.key import key_json
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError

CONDITIONS = 120
"""Attributes compared in a condition expression, which takes 300 operators and 4 KB (Amazon
DynamoDB Developer Guide, "Service, account, and table quotas"). Each attribute needs two
operators."""


class Result(Enum):
    """What became of one row."""

    DONE = "done"
    ALREADY = "already matched"
    CHANGED = "changed since the plan"
    OVERWRITTEN = "changed during the write; that change was overwritten (it is in the archive)"
    FAILED = "not written"


@dataclass(slots=True)
class Rewound:
    """What became of all rows. `left` are the keys that were not rewound, or not cleanly, each with
    the reason."""

    done: int = 0
    already: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


def rewind(
    dynamodb: DynamoDB,
    archive: Archive,
    steps: Iterable[Step],
    pool: Executor,
    tell: Callable[[], None] = lambda: None,
) -> Rewound:
    """Executes `put` and `delete` steps; the others need nothing. Calls `tell` after each."""
    whole = Rewound()
    todo = (step for step in steps if step.action in ("put", "delete"))
    for step, result, reason in _windowed(dynamodb, archive, todo, pool):
        tell()
        if result is Result.DONE:
            whole.done += 1
        elif result is Result.ALREADY:
            whole.already += 1
        else:
            whole.left.append((key_json(step.key), f"{result.value}{reason and f': {reason}'}"))
    return whole


def _windowed(
    dynamodb: DynamoDB, archive: Archive, steps: Iterable[Step], pool: Executor
) -> Iterable[tuple[Step, Result, str]]:
    chunk: list[Step] = []
    for step in steps:
        chunk.append(step)
        if len(chunk) == CONCURRENCY:
            yield from pool.map(lambda step: _rewind_one(dynamodb, archive, step), chunk)
            chunk = []
    yield from pool.map(lambda step: _rewind_one(dynamodb, archive, step), chunk)


def _rewind_one(dynamodb: DynamoDB, archive: Archive, step: Step) -> tuple[Step, Result, str]:
    try:
        live = _live(dynamodb, archive.table, step.key)
        wanted = None if step.body is None else digest(step.body)
        present = None if live is None else digest(encode(live))
        if present == wanted:
            return step, Result.ALREADY, ""
        if present != step.now and not (step.unread and present == _content(archive, step.unread)):
            return step, Result.CHANGED, ""
        old = _write(dynamodb, archive.table, step, live)
        if (digest(encode(old)) if old else None) != present:
            return step, Result.OVERWRITTEN, ""
        return step, Result.DONE, ""
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return step, Result.CHANGED, ""
        return step, Result.FAILED, str(error)
    except ArchiveError as error:
        return step, Result.FAILED, str(error)


def _content(archive: Archive, version: Version) -> str:
    """Returns the digest of a version whose ETag may not be one."""
    return digest(archive.read(version).body or b"")


def _live(dynamodb: DynamoDB, table: str, key: Item) -> Item | None:
    found: Item | None = dynamodb.call(
        "get_item", {"TableName": table, "Key": key, "ConsistentRead": True}
    ).data.get("Item")
    return found


def _write(dynamodb: DynamoDB, table: str, step: Step, live: Item | None) -> Item | None:
    """Puts or deletes if the row still is `live`; returns the row that was replaced."""
    request: dict[str, Any] = {"TableName": table, "ReturnValues": "ALL_OLD"} | _condition(
        step.key, live
    )
    if step.body is None:
        operation, request["Key"] = "delete_item", step.key
    else:
        operation, request["Item"] = "put_item", decode(step.body)
    old: Item | None = dynamodb.call(operation, request).data.get("Attributes")
    return old


def _condition(key: Item, live: Item | None) -> dict[str, Any]:
    """Returns the condition that the row exists with these attributes, or does not exist. A
    condition cannot say that there are no other attributes: the replaced row shows that."""
    if live is None:
        return {
            "ConditionExpression": "attribute_not_exists(#0)",
            "ExpressionAttributeNames": {"#0": next(iter(key))},
        }
    compared = list(live.items())[:CONDITIONS]
    return {
        "ConditionExpression": " AND ".join(
            f"#{index} = :{index}" for index in range(len(compared))
        ),
        "ExpressionAttributeNames": {f"#{index}": name for index, (name, _) in enumerate(compared)},
        "ExpressionAttributeValues": {
            f":{index}": value for index, (_, value) in enumerate(compared)
        },
    }
