"""The error for a table that an archive does not know, so that a mistyped name is not taken for a
table without a backup."""

from botocore.exceptions import ClientError

from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import is_denied
from stream_backup.core.nearest import did_you_mean
from stream_backup.errors import UsageError


def unknown(connection: Connection, table: str, hint: str = "") -> UsageError:
    """Returns the error for a table of which the archive contains nothing; its hint begins with the
    nearest known name, where the names may be listed."""
    return UsageError(
        f"The archive {connection.location} contains nothing of table {table!r}.",
        f"{suggestion(connection, table)}{hint or 'Check the name of the table, and --archive.'}",
    )


def suggestion(connection: Connection, table: str) -> str:
    """Returns a question that names the nearest table of the archive, as `did_you_mean` does; empty
    where the names may not be listed."""
    try:
        return did_you_mean(table, connection.tables())
    except ClientError as error:
        if is_denied(error):
            return ""
        raise
