"""Questions to a person at a terminal. An answer that is not understood is asked again, with a
hint."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from stream_backup.cli.console import err, say
from stream_backup.core.visible import visible
from stream_backup.errors import UsageError

Answer = TypeVar("Answer")


class InputEndedError(UsageError):
    """The input ended at a question."""


def is_answered() -> bool:
    """Returns whether questions are seen and answered by somebody at a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and err.file.isatty()


def ask(question: str, parse: Callable[[str], Answer], default: str = "") -> Answer:
    """Asks until `parse` returns something for what was typed. It raises UsageError for what it
    does not understand. `default` is what Enter stands for.

    Raises InputEndedError at the end of the input, and Abort when the question is interrupted.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise InputEndedError("The input ended at a question.")
    while True:
        try:
            typed = click.prompt(
                visible(question), default=default, show_default=bool(default), err=True
            ).strip()
        except click.Abort as abort:
            if isinstance(abort.__context__, EOFError):
                say("")
                raise InputEndedError("The input ended at a question.") from abort
            raise
        try:
            return parse(_text(typed))
        except UsageError as error:
            say(str(error))
            if error.hint:
                say(f"hint: {error.hint}")


def confirm(question: str) -> bool:
    """Asks for a yes or a no. Enter is a no, and so is the end of the input."""
    try:
        return ask(f"{question} [y/N]", lambda typed: yes_or_no(typed or "n"))
    except InputEndedError:
        return False


def yes_or_no(typed: str) -> bool:
    """Returns what was typed as a yes or a no. Raises UsageError."""
    if typed.lower() not in ("y", "yes", "n", "no"):
        raise UsageError(f"{typed!r} is neither yes nor no.", "Type y or n.")
    return typed.lower().startswith("y")


def _text(typed: str) -> str:
    try:
        typed.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{typed!r} is not UTF-8 text.", "Type it again.") from error
    return typed
