"""How long a scratch table lives: as long as its drill, and where that ended without removing it,
until the next drill of the same table."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.aws.errors import is_denied
from stream_backup.aws.table import look_up
from stream_backup.core.moment import iso
from stream_backup.drill.lock import forget, held, is_over
from stream_backup.drill.scratch import OnlyScratch, Scratch, others, remove
from stream_backup.errors import StreamBackupError
from stream_backup.progress import Progress


def remove_leftovers(
    dynamodb: DynamoDB, scratch: Scratch, now: int, progress: Progress
) -> list[str]:
    """Deletes the scratch tables of earlier drills of the same archive and table, and returns their
    names. One whose drill may still be running is left: it was not seen to end on this machine, and
    its time is not over. Reports each sentence to `progress`."""
    removed = []
    try:
        for other in others(dynamodb, scratch.archive, scratch.table):
            if not is_over(other.name) and now <= other.until:
                progress.note(
                    f"Scratch table {other.name} belongs to a drill that may still be running. A"
                    f" drill after {iso(other.until)} removes it."
                )
            elif remove(dynamodb, other):
                forget(other.name)
                removed.append(other.name)
                progress.note(f"Removed scratch table {other.name} of an interrupted drill.")
    except ClientError as error:
        if not is_denied(error):
            raise
        progress.note("No permission to look for scratch tables of interrupted drills.")
    return removed


@contextmanager
def scratch_table(
    dynamodb: DynamoDB, scratch: Scratch, progress: Progress
) -> Iterator[OnlyScratch]:
    """Gives a client that can create, fill, and change the scratch table, and removes that table
    whatever happens in the block. Raises StreamBackupError when there is such a table already."""
    if look_up(dynamodb, scratch.name)[0]:
        raise StreamBackupError(
            f"Table {scratch.name} exists already.", "Run the same command again."
        )
    with held(scratch.name):
        try:
            yield OnlyScratch(dynamodb, scratch.name)
            _end(dynamodb, scratch)
        except BaseException:
            progress.note(f"Removing scratch table {scratch.name}.")
            # Once more where the removal itself was interrupted. The first error is reported.
            try:
                _end(dynamodb, scratch)
            except Exception as error:  # noqa: BLE001 - whatever it is, the table may exist
                progress.note(
                    f"Scratch table {scratch.name} could not be removed: {error} The next drill of"
                    f" {scratch.table} removes it."
                )
            raise


def _end(dynamodb: DynamoDB, scratch: Scratch) -> None:
    """Removes the scratch table. The lock stays where no table was found: one that was just created
    may not be seen yet (Amazon DynamoDB API Reference, "DescribeTable")."""
    if remove(dynamodb, scratch):
        forget(scratch.name)
