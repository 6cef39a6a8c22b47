"""The errors that this project raises, each with the exit code of the command line.

    StreamBackupError          1   an unexpected error
    ├── UsageError             2   invalid input: a missing table, a malformed key
    │   └── NotConfirmedError  2   a question was answered with no
    ├── IncompleteError        3   some items could not be written
    │   └── UnavailableError   3   AWS was busy or out of reach for longer than a command waits
    ├── CoverageError          4   the moment cannot be restored exactly
    ├── AttentionError         6   a table needs attention (`status --check`)
    ├── ArchiveError           5   the archive is unreadable or inconsistent
    │   ├── LatenessError      5   a version is later than its writer announced
    │   └── StampError         5   a version is stamped later than it was written
    └── RecordError            1   a stream record that cannot be parsed; in the handler it fails
                                   its batch item

The message of an error is one sentence. Its `hint` states what to do next. `aws/errors.py`
translates errors of AWS into these errors.
"""


class StreamBackupError(Exception):
    """The base class of this project's errors. `hint` states what to do next and may be empty."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StreamBackupError):
    """The input or the configuration is invalid."""

    exit_code = 2


class NotConfirmedError(UsageError):
    """A question was answered with no, or not at all."""


class IncompleteError(StreamBackupError):
    """The work was not completed, for example because some items could not be written."""

    exit_code = 3


class UnavailableError(IncompleteError):
    """AWS refused a request, failed, or was out of reach, and the command does not wait any
    longer. The same cause has the same exit code in every command."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(
            message, hint or "Nothing was lost. Run the same command again later to resume."
        )


class CoverageError(StreamBackupError):
    """The moment is outside coverage, so the archive cannot restore it exactly."""

    exit_code = 4


class ArchiveError(StreamBackupError):
    """The archive is unreadable or inconsistent."""

    exit_code = 5


class AttentionError(StreamBackupError):
    """`status --check` found a table that needs attention."""

    exit_code = 6


class LatenessError(ArchiveError):
    """A version is later than its writer announced, so that others like it may have been passed
    over."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(
            message,
            hint
            or "Check which release of the function is deployed. To read every version that may"
            " matter, whatever was announced, run the same command with --incomplete-ok.",
        )


class StampError(ArchiveError):
    """A version is stamped later than S3 wrote it, so its stamp is false."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(
            message,
            hint
            or "Find out who wrote this version: only stream-backup may write under the prefix of"
            " an archive. Restores are possible again when somebody who may use"
            " s3:DeleteObjectVersion has removed it.",
        )


class RecordError(StreamBackupError):
    """A stream record cannot be parsed."""


def foreign(path: str, reason: Exception) -> ArchiveError:
    """Returns the error for an object in the archive that is not in format 1, for the `reason` that
    was raised when it was parsed."""
    return ArchiveError(
        f"{path} in the archive is not in format 1: {reason}.",
        "Find out what wrote this object. Only stream-backup may write under the prefix of an"
        " archive.",
    )
