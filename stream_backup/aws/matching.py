"""The tables whose names match a pattern with `*`, `?` and `[…]`, in which case matters.

There are two places to look for them. A command that reads the live table looks in the account and
Region: a table that was never enabled is found too, and its failure shows that it is not backed up.
A command that needs only the archive looks in the archive: a table that was deleted is found there
alone, and it is the one that matters most.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from stream_backup.aws.connection import Connection
from stream_backup.aws.table import names
from stream_backup.errors import UsageError


def matching(tables: Iterable[str], pattern: str) -> list[str]:
    """Returns the names that match, sorted."""
    return sorted(table for table in tables if fnmatchcase(table, pattern))


def live_tables(connection: Connection, pattern: str) -> list[str]:
    """Returns the tables of this account and Region whose names match. Raises UsageError when there
    is none, and ClientError when tables may not be listed."""
    found = matching(names(connection.dynamodb), pattern)
    if not found:
        raise UsageError(
            f"No table in this account and Region matches {pattern!r}.",
            "Check the pattern (in quotes), --region and --profile.",
        )
    return found


def archived_tables(connection: Connection, pattern: str) -> list[str]:
    """Returns the tables in the archive whose names match, even those that were deleted. Raises
    UsageError when there is none, and ClientError when the archive may not be listed."""
    found = matching(connection.tables(), pattern)
    if not found:
        raise UsageError(
            f"No table in the archive {connection.location} matches {pattern!r}.",
            "Check the pattern (in quotes) and --archive. To see all tables, run: stream-backup"
            " status",
        )
    return found
