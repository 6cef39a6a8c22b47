"""What the commands print: notes and progress on stderr, data on stdout.

On a terminal a bar shows the rate and the time left. Elsewhere a plain line every few seconds shows
the same.

Nothing else in `cli/` writes to the terminal, because everything that does must pass through
`visible`: what an archive holds was written by others.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stream_backup.core.visible import visible, visible_lines

LINE_EVERY = 5.0
"""Seconds between two plain lines."""


KEPT = "stream_backup.report"
"""The name under which a click context holds what its command found."""

Report = TypeVar("Report")


class _Talk(Console):
    def on_broken_pipe(self) -> None:
        raise


err = _Talk(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
out = Console(highlight=False, markup=False, emoji=False)


def say(*lines: str) -> None:
    """Prints lines on stderr, in most cases one sentence."""
    for line in lines:
        err.print(visible(line))


def show(*lines: str) -> None:
    """Prints lines of a report on stdout."""
    for line in lines:
        click.echo(visible(line))


def draw(drawing: RenderableType) -> None:
    """Draws a part of a report on stdout, as wide as the terminal."""
    out.print(drawing)


def is_terminal() -> bool:
    """Returns whether stdout is a terminal."""
    return out.is_terminal


def width() -> int:
    """Returns the number of columns of the terminal, 80 where there is none."""
    return out.width


def unicode() -> bool:
    """Returns whether stdout can show characters that are not ASCII."""
    return (out.encoding or "").lower().startswith("utf")


def json_text(value: Any) -> str:
    """Returns a value as JSON in which characters that a terminal would obey are escaped, which
    does not change the value."""
    return visible_lines(json.dumps(value, indent=2, ensure_ascii=False))


def data(value: Any) -> None:
    """Prints a value for programs, as `json_text` on stdout."""
    click.echo(json_text(value))


def data_line(value: Any) -> None:
    """Prints one of many values for programs, as JSON on one line of stdout."""
    click.echo(visible_lines(json.dumps(value, ensure_ascii=False)))


def keep(report: Report) -> Report:
    """Keeps what a command found, for another one that runs it (`steps.py`), and returns it."""
    click.get_current_context().meta[KEPT] = report
    return report


class Bar:
    """Counts what is done; `fraction` (0 to 1) says how much of the whole that is, where it is
    known. Thread-safe."""

    def __init__(self, what: str, noun: str, live: Progress | None) -> None:
        self.done = 0
        self._what, self._noun, self._live = visible(what), noun, live
        self._fraction = 0.0
        self._started = self._shown = time.monotonic()
        self._lock = Lock()
        self._task: TaskID | None = live.add_task(self._what, total=1.0, count="") if live else None

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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as live:
        yield Bar(what, noun, live)


class Terminal:
    """The `Progress` that engines report to when a person is waiting."""

    note = staticmethod(say)
    task = staticmethod(bar)
