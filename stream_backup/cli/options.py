"""The options that several commands share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from stream_backup.aws.capacity import READ_SHARE
from stream_backup.aws.connection import Connection
from stream_backup.aws.stack import NAME
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
        return command(Connection(profile, region, archive_url, stack_name), **rest)

    return wrapper


as_json = click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")

table_argument = click.argument("table")


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
