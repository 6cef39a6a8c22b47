"""The root of the command line: it collects the commands and turns errors into exit codes."""

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

from stream_backup.aws.errors import translate
from stream_backup.cli.backfill import backfill
from stream_backup.cli.check import check
from stream_backup.cli.console import say
from stream_backup.cli.demo import demo
from stream_backup.cli.diff import diff
from stream_backup.cli.disable import disable
from stream_backup.cli.drill import drill
from stream_backup.cli.enable import enable
from stream_backup.cli.estimate import estimate
from stream_backup.cli.follow import follow
from stream_backup.cli.history import history
from stream_backup.cli.incident import incident
from stream_backup.cli.local import translate_local
from stream_backup.cli.outage import outage
from stream_backup.cli.redrive import redrive
from stream_backup.cli.restore import restore
from stream_backup.cli.status import status
from stream_backup.cli.timeline import timeline
from stream_backup.cli.undo import undo
from stream_backup.cli.verify import verify

INTERRUPTED = 130

RESUME = "Nothing was lost. Run the same command again to resume."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stream-backup")
def cli() -> None:
    """Backs up DynamoDB tables through their streams into a versioned S3 bucket, and restores them
    to any second.

    \b
    To back up one table with the deployed stack:
      stream-backup enable orders
      stream-backup backfill orders
    To be guided through an incident:
      stream-backup incident orders
    To find out what happened, and to restore the table:
      stream-backup history orders '{"id": "order-1"}'
      stream-backup timeline orders
      stream-backup diff orders --from 2026-11-21T03:19:59Z
      stream-backup restore orders --at 2026-11-21T03:19:59Z --plan
      stream-backup restore orders --at 2026-11-21T03:19:59Z --in-place

    Exit codes: 0 done, 1 unexpected, 2 usage or bad input, 3 incomplete, 4 outside coverage, 5
    archive unreadable or inconsistent, 6 a table needs attention (status --check), 130 interrupted.
    With --match, the worst of any table: 130, 5, 1, 4, 3, 0.
    """


for command in (
    demo,
    estimate,
    enable,
    disable,
    follow,
    backfill,
    restore,
    incident,
    history,
    timeline,
    diff,
    undo,
    status,
    verify,
    drill,
    check,
    redrive,
    outage,
):
    cli.add_command(command)


def main(command: click.Command = cli, prog: str = "stream-backup") -> None:
    """Runs a command and exits with its code. An error is one sentence on stderr, followed by a
    hint."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as under nohup
            signal.signal(each, signal.default_int_handler)
    try:
        sys.exit(command.main(prog_name=prog, standalone_mode=False) or 0)
    except click.ClickException as error:
        _complain(" ".join(error.format_message().split()), _usage_hint(error, prog), 2)
    except (KeyboardInterrupt, click.Abort) as stop:
        _complain("Interrupted.", getattr(stop, "hint", RESUME), INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - this is the last place that can report it
        if "--debug" in sys.argv:
            say(*"".join(traceback.format_exception(error)).splitlines())
        known = translate_local(error) or translate(error)
        if known is None:
            _complain(
                f"Unexpected: {type(error).__name__}: {' '.join(str(error).split())}",
                "Run it again with --debug to see where, and report it.",
                1,
            )
        else:
            _complain(str(known), known.hint, known.exit_code)


def _complain(message: str, hint: str, code: int) -> Any:
    with suppress(OSError):  # nobody reads it, or there is no space for it
        say(message)
        if hint:
            say(f"hint: {hint}")
    _drop_output()
    sys.exit(code)


def _drop_output() -> None:
    """Gives up what stdout and stderr could not take, which Python would try again at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage_hint(error: click.ClickException, prog: str) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else prog} --help shows the usage."
