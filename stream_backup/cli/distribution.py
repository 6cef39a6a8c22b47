"""The options of distributed runs, and how a command follows one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from stream_backup.cli.console import bar, say
from stream_backup.cli.questions import confirm, is_answered
from stream_backup.distributed.machine import Execution
from stream_backup.distributed.records import JobEnd, again
from stream_backup.distributed.run import DistributedRun
from stream_backup.errors import UsageError

Command = Callable[..., Any]


def distribution(command: Command) -> Command:
    """Adds `--distributed`, `--detach` and `--attach`, and refuses combinations of them."""

    @click.option(
        "--distributed",
        is_flag=True,
        help="Run on Lambda workers of the stack, which goes on without this command.",
    )
    @click.option(
        "--detach", is_flag=True, help="With --distributed: start the run, and do not wait for it."
    )
    @click.option(
        "--attach", is_flag=True, help="Return to the distributed run of this table, and wait."
    )
    @wraps(command)
    def wrapper(*words: Any, distributed: bool, detach: bool, attach: bool, **rest: Any) -> Any:
        if detach and not distributed:
            raise UsageError(
                "--detach is about a distributed run.", "Pass it together with --distributed."
            )
        if attach and distributed:
            raise UsageError(
                "--attach returns to a run that --distributed has started.",
                "Pass only one of them.",
            )
        return command(*words, distributed=distributed, detach=detach, attach=attach, **rest)

    return wrapper


def report_start(run: DistributedRun, execution: Execution) -> dict[str, Any]:
    """Says that a run was started, and returns what is to be reported as a JSON object."""
    say(f"The distributed {run.what} was started. {to_attach(run)}")
    return {"table": run.table, "execution": execution.arn}


def follow(
    run: DistributedRun, execution: Execution, stopped: Callable[[], str] | None = None
) -> JobEnd:
    """Shows how an execution goes on until it has ended, and returns how. Ctrl-C asks whether to
    stop it; where nobody can answer, it goes on. `stopped`, if any, is called when it was stopped,
    and returns what to say then."""
    try:
        with bar(run.task, "slices") as progress:
            return run.follow(execution, progress)
    except KeyboardInterrupt as interrupt:
        hint = f"The run goes on without this command. {to_attach(run)}"
        if is_answered() and confirm("Stop the distributed run? It goes on otherwise."):
            run.stop(execution)
            hint = stopped() if stopped else f"The run was stopped. {again(run.task)}"
        interrupt.hint = hint  # type: ignore[attr-defined]
        raise


def to_attach(run: DistributedRun) -> str:
    """Returns how to return to a run."""
    return f"To return to it, run: stream-backup {run.task} {run.table} --attach"
