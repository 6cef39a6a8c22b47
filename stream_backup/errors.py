"""Every error this project raises on purpose, each with the exit code the command line ends with.

    StreamBackupError          1   something nobody foresaw
    ├── UsageError             2   bad input: a missing table, a malformed key, a bucket that is not versioned
    ├── IncompleteError        3   some items could not be written; they are listed
    ├── CoverageError          4   the moment asked for lies outside what the archive can answer exactly
    ├── ArchiveError           5   the archive is unreadable or inconsistent
    └── RecordError            1   a stream record the handler cannot parse (it fails its batch item)

A message is one sentence; `hint` says what to do next. AWS errors become these in `translate.py` alone.
"""


class StreamBackupError(Exception):
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StreamBackupError):
    exit_code = 2


class IncompleteError(StreamBackupError):
    exit_code = 3


class CoverageError(StreamBackupError):
    exit_code = 4


class ArchiveError(StreamBackupError):
    exit_code = 5


class RecordError(StreamBackupError):
    pass
