"""The root of the command line: it collects the commands and turns errors into exit codes."""

import os
import signal
import sys
from typing import Any

import click

from stream_backup.aws.errors import translate
from stream_backup.cli.backfill import backfill
from stream_backup.cli.console import say
from stream_backup.cli.demo import demo
from stream_backup.cli.disable import disable
from stream_backup.cli.enable import enable
from stream_backup.cli.estimate import estimate
from stream_backup.cli.follow import follow
from stream_backup.cli.history import history
from stream_backup.cli.redrive import redrive
from stream_backup.cli.restore import restore
from stream_backup.cli.status import status
from stream_backup.cli.verify import verify

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stream-backup")
def cli() -> None:
    """Backs up DynamoDB tables through their streams into a versioned S3 bucket, and restores them
    to any second.

    \b
    To back up one table with the deployed stack:
      stream-backup enable orders
      stream-backup backfill orders
    To find out what happened to an item, and to restore the table:
      stream-backup history orders '{"id": "order-1"}'
      stream-backup restore orders --at 2026-11-21T03:19:59Z --plan
      stream-backup restore orders --at 2026-11-21T03:19:59Z --in-place

    Exit codes: 0 done, 1 unexpected, 2 usage or bad input, 3 incomplete, 4 outside coverage, 5
    archive unreadable or inconsistent, 130 interrupted.
    """


for command in (
    demo,
    estimate,
    enable,
    disable,
    follow,
    backfill,
    restore,
    history,
    status,
    verify,
    redrive,
):
    cli.add_command(command)


def main(command: click.Command = cli, prog: str = "stream-backup") -> None:
    """Runs a command and exits with its code. An error is one sentence on stderr, followed by a
    hint."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(command.main(prog_name=prog, standalone_mode=False) or 0)
    except click.ClickException as error:
        _complain(error.format_message(), _usage_hint(error, prog), 2)
    except (KeyboardInterrupt, click.Abort):
        _complain(
            "Interrupted.",
            "Nothing was lost. Run the same command again to resume.",
            INTERRUPTED,
        )
    except BrokenPipeError:
        # The reader of our output has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        known = translate(error)
        if known is None:
            _complain(
                f"Unexpected: {type(error).__name__}: {error}",
                "Run it again with --debug to see where, and report it.",
                1,
            )
        else:
            _complain(str(known), known.hint, known.exit_code)


def _complain(message: str, hint: str, code: int) -> Any:
    say(message)
    if hint:
        say(f"hint: {hint}")
    sys.exit(code)


def _usage_hint(error: click.ClickException, prog: str) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else prog} --help shows the usage."
