"""The table a restore fills: made from a description, gone on with, or taken over.

While it is being filled it carries two tags, so that the same command goes on after an interruption and no other takes a
half-filled table for a whole one: which restore is under way, and which shards of the archive are done.
"""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from stream_backup.archive import SHARDS
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import UsageError
from stream_backup.key import KeySchema
from stream_backup.table import create, look_up, put_back_settings, tags_of, wait_until_active

RESTORING = "stream-backup:restoring"
DONE = "stream-backup:done"
TAKEN_OVER = " overwrite"


@dataclass(slots=True)
class Target:
    """`done` are the shards that are loaded already; `had_rows` says that foreign rows may be in it."""

    dynamodb: DynamoDB
    name: str
    arn: str
    description: dict[str, Any]
    goes_on: bool
    had_rows: bool
    done: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def shard_done(self, shard: str) -> None:
        """Keeps on the table that nothing is left to write of `shard`."""
        with self._lock:
            self.done.add(shard)
            tags = [{"Key": DONE, "Value": "".join(sorted(self.done))}]
            self.dynamodb.call("tag_resource", {"ResourceArn": self.arn, "Tags": tags})

    def finish(self) -> None:
        """Puts the remaining settings back and takes the tags of the restore off."""
        put_back_settings(self.dynamodb, self.name, self.description)
        self.dynamodb.call("untag_resource", {"ResourceArn": self.arn, "TagKeys": [RESTORING, DONE]})


def prepare(
    dynamodb: DynamoDB, name: str, description: dict[str, Any], order: str, *, overwrite: bool, stream: bool
) -> Target:
    """The table `name`, ready to be filled; made if it is not there. `order` says which restore this is.

    Raises UsageError when there is such a table with rows that this restore did not put there, unless `overwrite`, or one
    with another key.
    """
    tags = {RESTORING: order[:240], DONE: ""}
    live, _ = look_up(dynamodb, name)
    if live is None:
        create(dynamodb, name, description, tags, stream=stream)
        live, _ = look_up(dynamodb, name)
        assert live is not None
        return Target(dynamodb, name, live.description["TableArn"], description, goes_on=False, had_rows=False)
    if KeySchema.of(live.description) != KeySchema.of(description["Table"]):
        raise UsageError(f"Table {name} has another key than the one to restore.", "Restore into a new name: --into NAME")
    arn = live.description["TableArn"]
    wait_until_active(dynamodb, name)
    kept = {tag["Key"]: tag["Value"] for tag in tags_of(dynamodb, arn)}
    done = set(kept.get(DONE, "")) & set(SHARDS)
    if kept.get(RESTORING) == tags[RESTORING]:
        return Target(dynamodb, name, arn, description, goes_on=True, had_rows=False, done=done)
    if kept.get(RESTORING) == tags[RESTORING] + TAKEN_OVER and overwrite:
        return Target(dynamodb, name, arn, description, goes_on=True, had_rows=True)
    rows = dynamodb.call("scan", {"TableName": name, "Limit": 1, "ConsistentRead": True}).data["Items"]
    if RESTORING in kept and not overwrite:
        raise UsageError(
            f"Table {name} is half filled by another restore: {kept[RESTORING]}.",
            "Go on with that one, restore into a new name (--into NAME), or replace what is there (--overwrite).",
        )
    if rows and not overwrite:
        raise UsageError(
            f"Table {name} exists and is not empty.",
            "Restore into a new name (--into NAME), rewind the live table (--in-place), or make it equal to the moment "
            "(--overwrite), which deletes the rows that were not there.",
        )
    if rows:
        tags[RESTORING] += TAKEN_OVER  # so that only another --overwrite goes on with it
    dynamodb.call("tag_resource", {"ResourceArn": arn, "Tags": [{"Key": key, "Value": tags[key]} for key in tags]})
    return Target(dynamodb, name, arn, description, goes_on=False, had_rows=bool(rows))
