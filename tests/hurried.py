"""Small margins and no waiting, for commands in a process of a test whose servers have one clock.

Nothing waits for AWS: what a thread would wait is added to a clock that is its own.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.endpoint

import restore.usable
import stream_backup.archive.s3
import stream_backup.aws.connection
import stream_backup.aws.patience
import stream_backup.capture.shards
from stream_backup.aws.patience import PatientAttempts
from stream_backup.cli.main import main
from stream_backup.core import time_rule
from tests import callers

Setter = Callable[[Any, str, Any], object]
"""`setattr`, or one that is undone at the end of a test."""

SHORTEST = 0.25
"""Seconds that a wait of the command itself lasts at most."""


@dataclass
class Waiting:
    """A clock that only waiting moves: of each thread, and the latest of all."""

    latest: float = 0.0
    waits: int = 0
    _own: threading.local = field(default_factory=threading.local)

    def monotonic(self) -> float:
        return getattr(self._own, "now", 0.0)

    def wait(self, seconds: float) -> None:
        self._own.now = self.monotonic() + seconds
        self.latest = max(self.latest, self._own.now)
        self.waits += 1


def margins(change: Setter, seconds: int) -> None:
    """Makes the margins between AWS's clocks as small as the clocks of a test allow."""
    for name in ("SKEW", "MARGIN", "QUIET"):
        change(time_rule, name, seconds)
    change(time_rule, "SETTLE", 0)
    for module in (time_rule, stream_backup.capture.shards):
        change(module, "QUIET_READS", 3)


def clients(change: Setter) -> None:
    """Makes AWS clients wait for nothing between two attempts."""
    change(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None))


def patience(change: Setter, clock: Waiting) -> None:
    """Makes a command's patience pass on this clock."""
    change(stream_backup.aws.patience, "time", clock)
    change(PatientAttempts, "_wait", lambda _, seconds: clock.wait(seconds))


def hurry() -> None:
    """Does all of it to this process, which ends with its command."""
    margins(setattr, 0)
    clients(setattr)
    patience(setattr, Waiting())
    soon = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2)}
    brief = {"max_retries": 2, "retry_timeout": timedelta(seconds=60)}
    brief["backoff"] = {"base": 2, **soon}
    for module in (stream_backup.aws.connection, stream_backup.archive.s3):
        for name in {"FEW_RETRIES", "_RETRIES"} & {*vars(module)}:
            setattr(module, name, brief)
    restore.usable.TAGS_SEEN = 1
    stream_backup.aws.patience.LONGEST_WAIT = 300.0  # a quarter of an hour has few attempts
    sleep = time.sleep
    setattr(time, "sleep", lambda seconds: sleep(min(seconds, SHORTEST)))  # noqa: B010 - typed
    if told := os.environ.get(callers.FILE):
        callers.tell(Path(told))


def command() -> None:
    """Runs `stream-backup` in this process, which has its words in `sys.argv`."""
    hurry()
    main()


def function() -> None:
    """Runs the function that reads streams, with the event on stdin, and prints its answer."""
    from stream_backup.handler import handler

    hurry()
    answer = handler(json.load(sys.stdin), None)
    print(f"\n{json.dumps(answer)}")


def watcher() -> None:
    """Runs the function that watches."""
    from stream_backup.watcher import handler

    hurry()
    handler({}, None)
