"""What can go wrong on this machine, as errors of this project: a full disk, and an output that
nobody reads any more."""

import errno
import sqlite3
import tempfile

from stream_backup.errors import IncompleteError, StreamBackupError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def translate_local(error: BaseException) -> StreamBackupError | None:
    """Returns the error, None when it has another cause than this machine."""
    match error:
        case BrokenPipeError():
            return IncompleteError(
                "The program that reads the output has stopped reading, so the output is"
                " incomplete.",
                "Run the same command again, and read its output to the end.",
            )
        case OSError() if error.errno in _FULL:
            where = repr(error.filename) if error.filename else "a file or the output"
            return _disk_full(f"There is no space left for {where}.")
        case sqlite3.OperationalError() if "full" in str(error):
            return _disk_full("There is no space left for temporary files.")
    return None


def _disk_full(message: str) -> StreamBackupError:
    return IncompleteError(
        message,
        "Free some space, and run the same command again. Temporary files are in"
        f" {tempfile.gettempdir()}; to use another folder, set TMPDIR.",
    )
