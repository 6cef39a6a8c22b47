"""A lock that shows on this machine whether the drill that made a scratch table is still running.

The operating system releases it when a process ends, however it ends. On another machine nobody
sees it: there the time until which a drill may run decides.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stream_backup.core.item import digest


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"stream-backup-drill-{digest(name.encode())}.lock"


@contextmanager
def held(name: str) -> Iterator[None]:
    """Holds the lock of a scratch table while the block runs, where this machine has a place for
    it. `forget` removes it once the table is deleted; until then it stays, and shows that the drill
    has ended."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(_path(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_over(name: str) -> bool:
    """Returns whether the drill with this scratch table ran on this machine and has ended;
    False where nothing shows that."""
    try:
        descriptor = os.open(_path(name), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def forget(name: str) -> None:
    """Removes the lock of a scratch table that was deleted."""
    _path(name).unlink(missing_ok=True)
