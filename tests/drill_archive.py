"""A real table of some emulator, with an archive on which drills are made."""

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import describe
from stream_backup.core.change import Change
from stream_backup.core.checkpoints import FollowCheckpoint
from stream_backup.core.item import Item, encode
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Run, Stream
from stream_backup.core.stamp import Stamp
from tests.cli import Table


def with_history(connection: Connection, table: Table) -> Catalog:
    """Puts eight rows into a real table, and their history of some hours into its archive, every
    moment of which is exact."""
    name = table.name
    found = connection.dynamodb.call("describe_table", {"TableName": name}).data["Table"]
    archive = connection.archive(name, KeySchema.of(found))
    catalog, now, label = Catalog(archive), connection.clock(), found["LatestStreamLabel"]
    arn, identity = found["LatestStreamArn"], found.get("TableId", "")
    catalog.write_stream(Stream(label, arn, identity, now - 9000, True, "follow", now - 9000))
    catalog.write_description(label, describe(connection.dynamodb, found))
    catalog.write_run(Run("1", label, now - 9000, now - 8000, now - 7900, True, {}))
    for number in range(8):
        row: Item = {"id": {"S": f"row {number}"}, "v": {"S": "new"}}
        for at, text in ((now - 7000, "old"), (now - 3000 - number, "new")):
            stamp = Stamp(at, at, at, "modify")
            archive.put(Change({"id": row["id"]}, stamp, encode({**row, "v": {"S": text}})))
        table.put(row)
    catalog.write_follow_checkpoint(label, FollowCheckpoint(now + 60, now, True, False, {}))
    return catalog
