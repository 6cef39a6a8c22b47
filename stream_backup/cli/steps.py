"""Runs plain commands within another command, and prints each as it can be typed. What is printed
is parsed like a command that was typed, so it is exactly what is done."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.stack import NAME
from stream_backup.cli.console import KEPT, say
from stream_backup.core.moment import iso
from stream_backup.errors import IncompleteError


class Ran(NamedTuple):
    """A command that came to its end: what it found, and the error with which it says that
    something was left."""

    report: Any
    left: IncompleteError | None


@dataclass(slots=True)
class Steps:
    """Commands about one table. `options` are the options of the connection, which all of them
    have. `done` lists when each was run, by AWS's clock, and its text."""

    table: str
    options: tuple[str, ...]
    clock: Callable[[], float]
    done: list[tuple[str, str]] = field(default_factory=list)

    def text(self, name: str, *words: str) -> str:
        """Returns a command as it can be typed."""
        return " ".join(map(_quoted, ["stream-backup", name, *self._arguments(words)]))

    def run(self, command: click.Command, *words: str) -> Ran:
        """Prints a command and runs it. Raises what it raises, except the IncompleteError of one
        that came to its end."""
        name = str(command.name)
        say("", f"$ {self.text(name, *words)}")
        self.done.append((iso(int(self.clock())), self.text(name, *words)))
        left = None
        with command.make_context(f"stream-backup {name}", self._arguments(words)) as context:
            try:
                command.invoke(context)
            except IncompleteError as error:
                if KEPT not in context.meta:
                    raise
                left = error
        return Ran(context.meta.get(KEPT), left)

    def _arguments(self, words: tuple[str, ...]) -> list[str]:
        return [self.table, *words, *self.options]


def _quoted(word: str) -> str:
    """The word for a shell. One with single quotes, as a JMESPath expression has them, is in double
    quotes where no character in it is special there."""
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)


def options_of(connection: Connection) -> tuple[str, ...]:
    """Returns the options with which another command has the same connection."""
    given = {
        "--archive": connection.archive_url,
        "--stack": connection.stack_name if connection.stack_name != NAME else None,
        "--profile": connection.profile,
        "--region": connection.region,
    }
    return tuple(word for option, value in given.items() if value for word in (option, value))
