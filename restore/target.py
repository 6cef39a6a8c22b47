"""The table that a restore fills: created from a description, resumed, or replaced.

While it is being filled it carries two tags, so that the same command resumes after an interruption
and no other command takes a half-filled table for a complete one: which restore is under way, and
which slices of the archive are complete. A table that was new or empty keeps one tag after that:
what it was restored from, unless its own tags leave no room for it. Tags may be written five times
a second, and are seen some seconds later (Amazon DynamoDB API Reference, "TagResource").
"""

import time
from dataclasses import dataclass, field
from threading import Lock

from botocore.exceptions import ClientError

from stream_backup.archive.slices import SLICES
from stream_backup.aws.creation import MOST_TAGS, create, restore_settings, tags_later
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

DONE = "stream-backup:done"
REPLACED = " overwrite"

OURS = (RESTORING, DONE)
"""The tags of a table that is being filled."""

TAG_PAUSE = 0.25
"""Seconds between two writes of tags: AWS takes five a second of an account."""

TAGS_SEEN = 10
"""Seconds after the creation of a table in which its tags may not be seen yet: AWS says "a few
seconds"."""


@dataclass(slots=True)
class Target:
    """`identity` says which restore fills the table; `done` are the slices that are already loaded;
    `resumed` says that an interrupted restore is continued; `had_rows` says that the table may
    contain other rows."""

    dynamodb: DynamoDB
    name: str
    arn: str
    description: TableDescription
    identity: str
    resumed: bool
    had_rows: bool
    done: set[str] = field(default_factory=set)
    _tagged_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def slice_done(self, part: str) -> None:
        """Records on the table that nothing is left to write of this slice, together with those
        that ended since the last record. A slice that is not recorded yet is only restored again
        after an interruption, so nothing waits for AWS to take another tag."""
        self.done.add(part)
        with self._lock:
            now = time.monotonic()
            if now >= self._tagged_at + TAG_PAUSE:
                self._tag([{"Key": DONE, "Value": "".join(sorted(self.done.copy()))}])
                self._tagged_at = time.monotonic()

    def finish(self) -> None:
        """Restores the remaining settings and removes the tags of the restore, which make room for
        the last tags of a table that has as many as it may have. Of more than 48 tags, the last is
        missing if the process is killed just before the end: there is no room for it earlier."""
        restore_settings(self.dynamodb, self.name, self.description)
        later = tags_later(self.description, len(OURS))
        if not self.had_rows and len(self.description.tags) < MOST_TAGS:
            later.append({"Key": RESTORED, "Value": self.identity.partition(" ")[2]})
        if later:
            # While it is being filled, so that a run that is killed here is resumed.
            self._untag([DONE])
            self._tag([later.pop()])
        self._untag(list(OURS))
        if later:
            self._tag(later)

    def _tag(self, tags: list[dict[str, str]]) -> None:
        self.dynamodb.call("tag_resource", {"ResourceArn": self.arn, "Tags": tags})

    def _untag(self, names: list[str]) -> None:
        self.dynamodb.call("untag_resource", {"ResourceArn": self.arn, "TagKeys": names})


def prepare(
    dynamodb: DynamoDB,
    name: str,
    description: TableDescription,
    identity: str,
    *,
    overwrite: bool,
    stream: bool,
    warm_throughput: int | None = None,
) -> Target:
    """Returns the table `name`, ready to be filled; creates it when it does not exist, with
    `warm_throughput` in write units a second. `identity` says which restore this is.

    Raises UsageError when the table has rows that this restore did not write, unless `overwrite`,
    or has another key.
    """
    tags = {RESTORING: identity, DONE: ""}
    live, now = look_up(dynamodb, name)
    if live is None:
        try:
            create(dynamodb, name, description, tags, warm_throughput, stream=stream)
        except ClientError as error:
            # The answer to CreateTable may have been lost. The table's tags say who created it.
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
            wait_until_active(dynamodb, name)
            live, now = require(dynamodb, name)
        else:
            arn = require(dynamodb, name)[0].description["TableArn"]
            return Target(dynamodb, name, arn, description, identity, resumed=False, had_rows=False)
    if KeySchema.of(live.description) != KeySchema.of(description.table):
        raise UsageError(
            f"Table {name} has another key than the table to restore.",
            "Restore into a new table: --into NAME",
        )
    arn = live.description["TableArn"]
    wait_until_active(dynamodb, name)
    kept = _tags_seen(dynamodb, name, live, now)
    if kept.get(RESTORING) == identity:
        done = set(kept.get(DONE, "")) & set(SLICES)
        return Target(
            dynamodb, name, arn, description, identity, resumed=True, had_rows=False, done=done
        )
    if kept.get(RESTORING) == identity + REPLACED and overwrite:
        return Target(dynamodb, name, arn, description, identity, resumed=True, had_rows=True)
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
    if rows:
        tags[RESTORING] += REPLACED  # so that only another --overwrite resumes it
    if len(kept.keys() | tags.keys()) > MOST_TAGS:
        raise UsageError(
            f"Table {name} has {len(kept)} tags. While it is being filled it needs"
            f" {len(OURS)} more, and a table has at most {MOST_TAGS}.",
            "Remove some of its tags, or restore into a new table (--into NAME).",
        )
    settings = [{"Key": key, "Value": value} for key, value in tags.items()]
    dynamodb.call("tag_resource", {"ResourceArn": arn, "Tags": settings})
    return Target(dynamodb, name, arn, description, identity, resumed=False, had_rows=bool(rows))


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
