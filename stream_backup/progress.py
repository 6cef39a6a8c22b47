"""How an engine reports what it is doing, without knowing who reads it: a terminal, a worker's
parent, or nobody."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Task(Protocol):
    """A piece of work that is being counted. Thread-safe."""

    done: int

    def advance(self, count: int, fraction: float | None = None) -> None:
        """Adds `count` to what is done; `fraction` (0 to 1) says how much of the whole that is,
        where it is known."""


class Progress(Protocol):
    """Receives what an engine reports while it works."""

    def note(self, text: str) -> None:
        """Reports one sentence."""

    def task(self, what: str, noun: str) -> AbstractContextManager[Task]:
        """Counts `noun`s of the work `what` for as long as the block runs."""


class Silent:
    """Reports nothing; only counts."""

    def note(self, text: str) -> None:
        """Drops the sentence."""

    def task(self, what: str, noun: str) -> AbstractContextManager[Task]:  # noqa: ARG002
        """Counts and shows nothing."""
        return nullcontext(_Count())


class _Count:
    def __init__(self) -> None:
        self.done = 0

    def advance(self, count: int, fraction: float | None = None) -> None:  # noqa: ARG002
        self.done += count
