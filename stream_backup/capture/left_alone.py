"""Which tables are left alone by whoever finds them by a pattern or a tag."""

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import RESTORED, RESTORING, require, tags_of
from stream_backup.capture.stream import REPLACED
from stream_backup.core.moment import iso


def reason_to_skip(connection: Connection, table: str) -> str:
    """Returns why a table is left alone unless it is named, else "": somebody disabled it, or a
    restore made it and nobody has enabled it since. Raises UsageError when it does not exist."""
    catalog = Catalog(connection.archive(table))
    live, _ = require(connection.dynamodb, table)
    newest = next(reversed(catalog.streams()), None)
    if newest:
        end = catalog.recorded_ends().get(newest.label)
        if end and live.label != newest.label and not end.reason.startswith(REPLACED):
            return f"it was disabled; its coverage ended at {iso(end.end)}"
        if newest.table_id == live.description.get("TableId", ""):
            return ""
    tags = {tag["Key"] for tag in tags_of(connection.dynamodb, live.description["TableArn"])}
    return "a restore made it" if tags & {RESTORED, RESTORING} else ""
