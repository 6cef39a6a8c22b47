"""The table that a restore fills: created from a description, resumed, or replaced.

While it is being filled it carries two tags, so that the same command resumes after an interruption
and no other command takes a half-filled table for a complete one: which restore is under way, and
which slices of the archive are complete.
"""

from dataclasses import dataclass, field
from threading import Lock

from stream_backup.archive.slices import SLICES
from stream_backup.aws.creation import create, restore_settings
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.table import RESTORING, look_up, tags_of, wait_until_active
from stream_backup.core.key import KeySchema
from stream_backup.core.records import TableDescription
from stream_backup.errors import UsageError

DONE = "stream-backup:done"
REPLACED = " overwrite"


@dataclass(slots=True)
class Target:
    """`done` are the slices that are already loaded; `resumed` says that an interrupted restore is
    continued; `had_rows` says that the table may contain other rows."""

    dynamodb: DynamoDB
    name: str
    arn: str
    description: TableDescription
    resumed: bool
    had_rows: bool
    done: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def slice_done(self, part: str) -> None:
        """Records on the table that nothing is left to write of this slice."""
        with self._lock:
            self.done.add(part)
            tags = [{"Key": DONE, "Value": "".join(sorted(self.done))}]
            self.dynamodb.call("tag_resource", {"ResourceArn": self.arn, "Tags": tags})

    def finish(self) -> None:
        """Restores the remaining settings and removes the tags of the restore."""
        restore_settings(self.dynamodb, self.name, self.description)
        request = {"ResourceArn": self.arn, "TagKeys": [RESTORING, DONE]}
        self.dynamodb.call("untag_resource", request)


def prepare(
    dynamodb: DynamoDB,
    name: str,
    description: TableDescription,
    identity: str,
    *,
    overwrite: bool,
    stream: bool,
) -> Target:
    """Returns the table `name`, ready to be filled; creates it when it does not exist. `identity`
    says which restore this is.

    Raises UsageError when the table has rows that this restore did not write, unless `overwrite`,
    or has another key.
    """
    tags = {RESTORING: identity, DONE: ""}
    live, _ = look_up(dynamodb, name)
    if live is None:
        create(dynamodb, name, description, tags, stream=stream)
        live, _ = look_up(dynamodb, name)
        assert live is not None
        arn = live.description["TableArn"]
        return Target(dynamodb, name, arn, description, resumed=False, had_rows=False)
    if KeySchema.of(live.description) != KeySchema.of(description.table):
        raise UsageError(
            f"Table {name} has another key than the table to restore.",
            "Restore into a new table: --into NAME",
        )
    arn = live.description["TableArn"]
    wait_until_active(dynamodb, name)
    kept = {tag["Key"]: tag["Value"] for tag in tags_of(dynamodb, arn)}
    if kept.get(RESTORING) == identity:
        done = set(kept.get(DONE, "")) & set(SLICES)
        return Target(dynamodb, name, arn, description, resumed=True, had_rows=False, done=done)
    if kept.get(RESTORING) == identity + REPLACED and overwrite:
        return Target(dynamodb, name, arn, description, resumed=True, had_rows=True)
    request = {"TableName": name, "Limit": 1, "ConsistentRead": True}
    rows = dynamodb.call("scan", request).data["Items"]
    if not overwrite:
        _require_free(name, kept.get(RESTORING), has_rows=bool(rows))
    if rows:
        tags[RESTORING] += REPLACED  # so that only another --overwrite resumes it
    settings = [{"Key": key, "Value": value} for key, value in tags.items()]
    dynamodb.call("tag_resource", {"ResourceArn": arn, "Tags": settings})
    return Target(dynamodb, name, arn, description, resumed=False, had_rows=bool(rows))


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
