"""The options that several commands share."""

import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from stream_backup.aws.capacity import READ_SHARE
from stream_backup.aws.connection import Connection
from stream_backup.aws.patience import PatientAttempts
from stream_backup.aws.stack import NAME
from stream_backup.cli.console import say
from stream_backup.cli.local import translate_local
from stream_backup.errors import UsageError
from stream_backup.settings import ARCHIVE, STACK

Command = Callable[..., Any]


def connected(command: Command) -> Command:
    """Adds `--archive`, `--stack`, `--profile`, `--region` and `--debug`, and passes the command a
    `Connection` as its first argument."""

    @click.option(
        "--archive",
        "archive_url",
        envvar=ARCHIVE,
        metavar="s3://BUCKET[/PREFIX]",
        help=f"The archive [{ARCHIVE}].  [default: the stack's]",
    )
    @click.option(
        "--stack",
        "stack_name",
        envvar=STACK,
        default=NAME,
        metavar="NAME",
        help=f"The deployed stack [{STACK}].  [default: {NAME}]",
    )
    @click.option("--profile", help="AWS profile [AWS_PROFILE].")
    @click.option("--region", help="AWS Region [AWS_REGION].")
    @click.option(
        "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
    )
    @wraps(command)
    def wrapper(
        archive_url: str | None,
        stack_name: str,
        profile: str | None,
        region: str | None,
        **rest: Any,
    ) -> Any:
        patience = PatientAttempts(say)
        _end_when_interrupted(patience)
        connection = Connection(profile, region, archive_url, stack_name, patience)
        try:
            return command(connection, **rest)
        except BrokenPipeError as error:
            raise translate_local(error) or error from error  # click would exit without a word

    return wrapper


def _end_when_interrupted(patience: PatientAttempts) -> None:
    """Makes Ctrl-C end the waiting of every thread at once."""

    def interrupt(number: int, frame: Any) -> None:
        patience.end()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread():  # signals reach no other
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, interrupt)


as_json = click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")


def _table_name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> Any:
    """Refuses what is no name of a table (Amazon DynamoDB Developer Guide, "Naming rules"), before
    it becomes part of the name of an object."""
    if name is not None:
        require_table_name(name)
    return name


def require_table_name(name: str) -> None:
    """Raises UsageError for what is not the name of a table."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) or name in (".", ".."):
        raise UsageError(
            f"{name!r} is not the name of a table.",
            "Names consist of letters, digits, and the characters _ - . only.",
        )


def _table_names(
    _context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    for name in names:
        require_table_name(name)
        if names.count(name) > 1:
            raise UsageError(f"Table {name} is named twice.", "Name each table once.")
    return names


table_argument = click.argument("table", callback=_table_name)

optional_table = click.argument("table", required=False, callback=_table_name)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tables that a command is about: the one that was named, or those whose names match a
    pattern, or neither, where a command permits that."""

    table: str | None
    pattern: str | None


def table_or_match(does: str, *, required: bool = True) -> Callable[[Command], Command]:
    """Adds the argument TABLE and the option `--match PATTERN`, of which the user gives exactly one
    (or none, unless `required`), and passes the command a `Chosen`. `does` is the beginning of the
    option's help, like "Back up". `cli/several.py` runs the command for the tables."""

    def decorate(command: Command) -> Command:
        @optional_table
        @click.option(
            "--match",
            metavar="PATTERN",
            help=f"{does} every table whose name matches, like 'prod-*'.",
        )
        @wraps(command)
        def wrapper(*arguments: Any, table: str | None, match: str | None, **rest: Any) -> Any:
            both = bool(table) and match is not None
            if both or (required and not table and not match):
                raise UsageError(
                    "Name one table, or a pattern, not both."
                    if both
                    else "Name one table, or a pattern.",
                    f"{click.get_current_context().command_path} TABLE, or --match PATTERN for"
                    " every table that matches.",
                )
            if match == "":
                raise UsageError("The pattern is empty.", "Write it in quotes, like 'prod-*'.")
            return command(*arguments, chosen=Chosen(table, match), **rest)

        return wrapper

    return decorate


@dataclass(frozen=True, slots=True)
class ChosenTables:
    """The tables that one plan is about: one or several that were named, or those whose names match
    a pattern."""

    names: tuple[str, ...]
    pattern: str | None

    @property
    def one(self) -> str | None:
        """The only table that was named, None where there is a pattern or another one."""
        return self.names[0] if len(self.names) == 1 and self.pattern is None else None


def tables_or_match(does: str) -> Callable[[Command], Command]:
    """Adds the arguments TABLE… and the option `--match PATTERN`, of which the user gives exactly
    one, and passes the command `ChosenTables`. `does` is the beginning of the option's help, like
    "Restore". Several tables have one plan (`cli/together.py`)."""

    def decorate(command: Command) -> Command:
        @click.argument("tables", metavar="[TABLE]...", nargs=-1, callback=_table_names)
        @click.option(
            "--match",
            metavar="PATTERN",
            help=f"{does} every table in the archive whose name matches, like 'shop-*', with one"
            " plan.",
        )
        @wraps(command)
        def wrapper(
            *arguments: Any, tables: tuple[str, ...], match: str | None, **rest: Any
        ) -> Any:
            if bool(tables) == (match is not None):
                path = click.get_current_context().command_path
                raise UsageError(
                    "Name one table or several, or a pattern.",
                    f"{path} TABLE…, or --match PATTERN for every table that matches.",
                )
            if match == "":
                raise UsageError("The pattern is empty.", "Write it in quotes, like 'shop-*'.")
            return command(*arguments, chosen_tables=ChosenTables(tables, match), **rest)

        return wrapper

    return decorate


def read_capacity(command: Command) -> Command:
    """Adds `--read-share` and `--read-units` to a command that scans a live table."""
    share = click.option(
        "--read-share",
        type=click.FloatRange(0.01, 1),
        default=READ_SHARE,
        show_default=True,
        help="Share of a provisioned table's read capacity to use.",
    )
    units = click.option(
        "--read-units",
        type=click.FloatRange(1),
        help="Read capacity units a second at most.  [default: the share; on-demand: no limit]",
    )
    return share(units(command))
