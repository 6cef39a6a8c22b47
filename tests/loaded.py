"""Clients of a worker that are not opened: the worker reports what its process has loaded instead.
This module imports nothing that a worker does not need."""

import sys
from typing import Any

from stream_backup.errors import UsageError


def report(_: Any) -> Any:
    """Raises UsageError with the names of all loaded modules."""
    raise UsageError(" ".join(sys.modules))


def troubled(parent: Any) -> Any:
    """Reports trouble with AWS to the parent, twice, and ends. Raises UsageError."""
    for _ in range(2):
        parent.note("AWS is busy")
    raise UsageError("over")
