"""What the commands print: notes and progress on stderr, data on stdout.

On a terminal a bar shows the rate and the time left. Elsewhere a plain line every few seconds shows
the same.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY = 5.0
"""Seconds between two plain lines."""

err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Prints a sentence on stderr."""
    err.print(text, markup=False)


def data(value: Any) -> None:
    """Prints a value for programs, as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


class Bar:
    """Counts what is done; `fraction` (0 to 1) says how much of the whole that is, where it is
    known. Thread-safe."""

    def __init__(self, what: str, noun: str, live: Progress | None) -> None:
        self.done = 0
        self._what, self._noun, self._live = what, noun, live
        self._fraction = 0.0
        self._started = self._shown = time.monotonic()
        self._lock = Lock()
        self._task: TaskID | None = live.add_task(what, total=1.0, count="") if live else None

    def advance(self, count: int, fraction: float | None = None) -> None:
        """Adds `count` to what is done and shows it."""
        with self._lock:
            self.done += count
            self._fraction = max(self._fraction, fraction or 0.0)
            now = time.monotonic()
            rate = self.done / max(now - self._started, 1e-3)
            text = f"{self.done:,} {self._noun}, {rate:,.0f}/s"
            if self._live and self._task is not None:
                self._live.update(self._task, completed=self._fraction, count=text)
            elif now - self._shown >= LINE_EVERY:
                self._shown = now
                say(f"{self._what}: {text}{self._left(now)}")

    def _left(self, now: float) -> str:
        if not self._fraction:
            return ""
        left = (now - self._started) * (1 / self._fraction - 1)
        return f", {self._fraction:.0%}, {left:,.0f} s left"


@contextmanager
def bar(what: str, noun: str) -> Iterator[Bar]:
    """Shows a bar for as long as the block runs."""
    if not sys.stderr.isatty():
        yield Bar(what, noun, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as live:
        yield Bar(what, noun, live)


class Terminal:
    """The `Progress` that engines report to when a person is waiting."""

    note = staticmethod(say)
    task = staticmethod(bar)
