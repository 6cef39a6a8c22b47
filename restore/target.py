"""The table that a restore fills: created from a description, resumed, or replaced.

While it is being filled it carries two tags, so that the same command resumes after an interruption
and no other command takes a half-filled table for a complete one: which restore is under way, and
which parts of the archive are complete (`kept.py`). Only the process that a person started writes
them: its workers report to it. A table that was new or empty keeps one tag after that:
what it was restored from, unless its own tags leave no room for it. Tags may be written five times
a second, and are seen some seconds later (Amazon DynamoDB API Reference, "TagResource").
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from botocore.exceptions import ClientError

from restore.kept import DoneBlocks
from restore.usable import DONE, OURS, REPLACED, restored_as, usable
from stream_backup.aws.creation import MOST_TAGS, create, restore_settings, tags_later
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.table import (
    RESTORED,
    RESTORING,
    require,
    wait_until_active,
)
from stream_backup.core.records import TableDescription
from stream_backup.core.slice import NameSlice

TAG_PAUSE = 0.25
"""Seconds between two writes of tags: AWS takes five a second of an account."""

PART_PAUSE = 5.0
"""Seconds between two writes of tags while no slice has ended: what was written in them is written
again after an interruption."""


@dataclass(slots=True)
class Target:
    """`identity` says which restore fills the table; `done` is what is already loaded; `resumed`
    says that an interrupted restore is continued; `had_rows` says that the table may contain other
    rows, so that what is loaded is not recorded: the names of all items are needed to tell them."""

    dynamodb: DynamoDB
    name: str
    arn: str
    description: TableDescription
    identity: str
    resumed: bool
    had_rows: bool
    done: DoneBlocks = field(default_factory=DoneBlocks)
    _parts: dict[tuple[str, str], NameSlice] = field(default_factory=dict)
    _tagged: DoneBlocks = field(default_factory=DoneBlocks)
    _tagged_at: float = 0.0
    _reporting: Lock = field(default_factory=Lock)
    _lock: Lock = field(default_factory=Lock)

    def record(self, parts: Iterable[NameSlice]) -> None:
        """Records on the table how far these slices are done, together with the others that have
        moved since the last record. What is not recorded yet is only restored again after an
        interruption, so nothing waits for AWS to take another tag."""
        ended = False
        with self._reporting:
            for part in parts:
                ended |= part.done
                # Threads overtake each other.
                self._parts[part.range] = part.further(self._parts.get(part.range, part))
        if self.had_rows or not self._lock.acquire(blocking=False):
            return  # another thread is writing a tag
        try:
            now, pause = time.monotonic(), TAG_PAUSE if ended else PART_PAUSE
            if now < self._tagged_at + pause:
                return
            with self._reporting:
                self.done = self.done.and_of(self._parts.values())
            if self.done != self._tagged:
                self._tag([{"Key": DONE, "Value": str(self.done)}])
                self._tagged = self.done
                self._tagged_at = time.monotonic()
        finally:
            self._lock.release()

    def keep(self, done: DoneBlocks) -> None:
        """Records on the table that these blocks are done."""
        self._tag([{"Key": DONE, "Value": str(done)}])

    def finish(self) -> None:
        """Restores the remaining settings and removes the tags of the restore, which make room for
        the last tags of a table that has as many as it may have. Of more than 48 tags, the last is
        missing if the process is killed just before the end: there is no room for it earlier."""
        restore_settings(self.dynamodb, self.name, self.description)
        later = tags_later(self.description, len(OURS))
        if not self.had_rows and len(self.description.tags) < MOST_TAGS:
            later.append({"Key": RESTORED, "Value": restored_as(self.identity)})
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
    look = partial(usable, dynamodb, name, description, identity)
    found = look(overwrite=overwrite, warm_throughput=warm_throughput)
    if found is None:
        try:
            create(dynamodb, name, description, tags, warm_throughput, stream=stream)
        except ClientError as error:
            # The answer to CreateTable may have been lost. The table's tags say who created it.
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
            wait_until_active(dynamodb, name)
            found = look(overwrite=overwrite, warm_throughput=warm_throughput)
    if found is None:
        arn = require(dynamodb, name)[0].description["TableArn"]
        return Target(dynamodb, name, arn, description, identity, resumed=False, had_rows=False)
    target = Target(dynamodb, name, found.arn, description, identity, found.resumed, found.has_rows)
    if found.resumed:
        if not found.has_rows:
            target.done = DoneBlocks.of(found.tags.get(DONE, ""))
        return target
    if found.has_rows:
        tags[RESTORING] += REPLACED  # so that only another --overwrite resumes it
    settings = [{"Key": key, "Value": value} for key, value in tags.items()]
    dynamodb.call("tag_resource", {"ResourceArn": found.arn, "Tags": settings})
    return target
