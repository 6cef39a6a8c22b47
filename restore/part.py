"""The partial file of a restore: what is written until it is complete, under a hidden name next to
the file.

It holds real rows, so only its owner may read it, and it is never opened through a name that
somebody else prepared: not through a link, and not over an existing file. It is removed however the
restore ends. What a killed process left behind is replaced by the next restore to the same file. A
lock tells it from one that another restore is still writing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stream_backup.errors import UsageError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def partial(path: Path) -> Iterator[BinaryIO]:
    """Yields the partial file of `path`, and moves it there when the block ends without an error.

    Raises UsageError when another restore is writing it, and OSError when it cannot be created.
    """
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(_create(part), "wb") as file:
        try:
            yield file
            file.flush()
            os.replace(part, path)
        except BaseException:
            with suppress(FileNotFoundError):
                part.unlink()
            raise


def _create(part: Path) -> int:
    while True:
        try:
            made = os.open(part, _NEW, 0o600)
        except FileExistsError:
            _remove_stale(part)
            continue
        fcntl.flock(made, fcntl.LOCK_EX)
        if _is_at(made, part):
            return made
        os.close(made)  # Another restore took it for a stale one before it was locked.


def _remove_stale(part: Path) -> None:
    try:
        found = os.open(part, _OLD)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(found, part):
            part.unlink()
    except BlockingIOError as error:
        raise UsageError(
            f"Another restore is writing to this file: it has {part} open.",
            "Wait until it ends, or choose another name.",
        ) from error
    finally:
        os.close(found)


def _is_at(opened: int, part: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(opened), part.lstat())
    except FileNotFoundError:
        return False
