"""What the table that a restore is to fill is before anything is written: whether it exists, and
whether its tags and rows allow it."""

import time
from typing import NamedTuple

from stream_backup.aws.creation import MOST_TAGS
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.table import (
    RESTORED,
    RESTORING,
    look_up,
    require,
    tags_of,
    wait_until_active,
)
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Live, TableDescription
from stream_backup.errors import UsageError

DONE = "stream-backup:done-parts"
REPLACED = " overwrite"

OURS = (RESTORING, DONE)
"""The tags of a table that is being filled."""

TAGS_SEEN = 10
"""Seconds after the creation of a table in which its tags may not be seen yet: AWS says "a few
seconds"."""


class Usable(NamedTuple):
    """An existing table that a restore may fill: its tags, whether it may contain other rows, and
    whether an interrupted restore is continued."""

    arn: str
    tags: dict[str, str]
    has_rows: bool
    resumed: bool


def usable(
    dynamodb: DynamoDB,
    name: str,
    description: TableDescription,
    identity: str,
    *,
    overwrite: bool,
    warm_throughput: int | None = None,
) -> Usable | None:
    """Returns the table `name` as it is, None when it does not exist. It only reads. The arguments
    are those of `prepare`, and so are the errors."""
    live, now = look_up(dynamodb, name)
    if live is None:
        return None
    if KeySchema.of(live.description) != KeySchema.of(description.table):
        raise UsageError(
            f"Table {name} has another key than the table to restore.",
            "Restore into a new table: --into NAME",
        )
    arn = live.description["TableArn"]
    wait_until_active(dynamodb, name)
    kept = _tags_seen(dynamodb, name, live, now)
    if kept.get(RESTORING) == identity:
        return Usable(arn, kept, has_rows=False, resumed=True)
    if kept.get(RESTORING) == identity + REPLACED and overwrite:
        return Usable(arn, kept, has_rows=True, resumed=True)
    if warm_throughput:
        raise UsageError(
            f"Table {name} exists, and --warm-throughput is a setting of a new table.",
            "Leave it out. To change an existing table: aws dynamodb update-table --table-name"
            f" {name} --warm-throughput WriteUnitsPerSecond={warm_throughput}",
        )
    request = {"TableName": name, "Limit": 1, "ConsistentRead": True}
    rows = dynamodb.call("scan", request).data["Items"]
    if not overwrite:
        _require_free(name, kept.get(RESTORING), has_rows=bool(rows))
    if len(kept.keys() | set(OURS)) > MOST_TAGS:
        raise UsageError(
            f"Table {name} has {len(kept)} tags. While it is being filled it needs"
            f" {len(OURS)} more, and a table has at most {MOST_TAGS}.",
            "Remove some of its tags, or restore into a new table (--into NAME).",
        )
    return Usable(arn, kept, has_rows=bool(rows), resumed=False)


def is_complete(dynamodb: DynamoDB, name: str, identity: str) -> bool:
    """Returns whether the restore with this identity has ended, as far as the tag of table `name`
    says."""
    live, _ = look_up(dynamodb, name)
    if live is None:
        return False
    kept = {each["Key"]: each["Value"] for each in tags_of(dynamodb, live.description["TableArn"])}
    return RESTORING not in kept and kept.get(RESTORED) == restored_as(identity)


def restored_as(identity: str) -> str:
    """Returns the tag of a table that a restore has filled: the moment and the table for people,
    and then the digest that tells restores of the same moment apart."""
    known, _, told = identity.partition(" ")
    return f"{told} {known}"


def _tags_seen(dynamodb: DynamoDB, name: str, live: Live, now: int) -> dict[str, str]:
    """Returns the tags of an existing table. When it was just created, another restore may have
    created it, whose tags are not seen yet."""
    while True:
        found = tags_of(dynamodb, live.description["TableArn"])
        kept = {tag["Key"]: tag["Value"] for tag in found}
        if RESTORING in kept or now - live.created >= TAGS_SEEN:
            return kept
        time.sleep(1)
        now = require(dynamodb, name)[1]


def _require_free(name: str, other: str | None, *, has_rows: bool) -> None:
    """Raises UsageError when another restore is filling the table, or the table has rows."""
    if other is not None:
        raise UsageError(
            f"Table {name} is partly filled by another restore: {other.partition(' ')[2]}.",
            "Resume that restore, restore into a new table (--into NAME), or replace the rows "
            "(--overwrite).",
        )
    if has_rows:
        raise UsageError(
            f"Table {name} exists and is not empty.",
            "Restore into a new table (--into NAME), rewind the live table (--in-place), or make it"
            " equal to the moment (--overwrite), which deletes the rows that did not exist then.",
        )
