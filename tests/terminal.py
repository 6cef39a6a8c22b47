"""A person at a terminal: a child process on a pseudo-terminal that runs commands one after
another, in memory, and whoever types the answers."""

import json
import os
import pty
import re
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

PATIENCE = 60
"""Seconds to wait for anything on the screen."""

INTERRUPT, END = "\x03", "\x04"
"""What Ctrl-C and Ctrl-D send."""

_COLORS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Ended(NamedTuple):
    """A command that has ended: its exit code, what was on the screen, and what `look` returned
    then."""

    code: int
    screen: str
    seen: Any


class Terminal:
    """`run` runs a command in the child and returns its exit code. `look` returns something about
    the child as JSON, after each command."""

    def __init__(self, run: Callable[[list[str]], int], look: Callable[[], Any]) -> None:
        asks, self._commands = os.pipe()
        self._results, tells = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child starts no thread early
            self._child, self._screen = pty.fork()
        if not self._child:
            try:
                _serve(asks, tells, run, look)
            finally:
                os._exit(1)
        os.close(asks)
        os.close(tells)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        for number in (self._commands, self._results, self._screen):
            os.close(number)

    def run(self, words: Sequence[str], answers: Sequence[tuple[str, str]]) -> Ended:
        """Runs a command. Each answer is typed when its question is on the screen; an answer other
        than Ctrl-C and Ctrl-D is followed by Enter."""
        os.write(self._commands, json.dumps([*words]).encode() + b"\n")
        shown, start, result = "", 0, b""
        todo = [*answers]
        deadline = time.monotonic() + PATIENCE
        while not result.endswith(b"\n"):
            ready, _, _ = select.select([self._screen, self._results], [], [], 0.01)
            assert time.monotonic() < deadline, shown[start:]
            if self._screen in ready:
                shown += self._read()
                deadline = time.monotonic() + PATIENCE
            elif self._results in ready:
                result += os.read(self._results, 1 << 16)
            # The space after a question says that the answer is awaited.
            asked = todo and re.search(rf"{re.escape(todo[0][0])}[^\n]*: ", shown[start:])
            if asked and self._waits():
                start = len(shown)
                typed = todo.pop(0)[1]
                os.write(
                    self._screen, (typed if typed in (INTERRUPT, END) else f"{typed}\n").encode()
                )
        assert not todo, (todo, shown)
        code, seen = json.loads(result)
        return Ended(code, _COLORS.sub("", shown).replace("\r", ""), seen)

    def _waits(self) -> bool:
        """Whether the child sleeps. A signal that arrives before Python begins to wait for input
        would only be noticed at the next key."""
        stat = Path(f"/proc/{self._child}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "S"

    def _read(self) -> str:
        return os.read(self._screen, 1 << 16).decode(errors="replace")


def _serve(asks: int, tells: int, run: Callable[[list[str]], int], look: Callable[[], Any]) -> None:
    """Runs the commands that come through a pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {"TERM": "dumb", "COLUMNS": "160"}
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - pytest has put others there
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    with os.fdopen(asks) as commands, suppress(KeyboardInterrupt):
        for line in commands:
            code = run(json.loads(line))
            sys.stdout.flush()
            os.write(tells, json.dumps([code, look()]).encode() + b"\n")
