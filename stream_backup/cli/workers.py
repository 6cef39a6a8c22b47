"""The option `--workers`, and the processes that it asks for."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from stream_backup.aws.connection import Connection
from stream_backup.aws.patience import PatientAttempts
from stream_backup.cli.console import say
from stream_backup.core.key import KeySchema
from stream_backup.workers.clients import WorkerClients
from stream_backup.workers.credentials import lend
from stream_backup.workers.crew import MOST, SMALL, Workers

Command = Callable[..., Any]


def workers_option(what: str) -> Callable[[Command], Command]:
    """Returns the option `--workers` of a command; `what` is what the processes are for."""
    return click.option(
        "--workers",
        type=click.IntRange(1, 256),
        help=(f"{what}  [default: one a core, at most {MOST}; one for {SMALL:,} rows or fewer]"),
    )


def workers_of(
    number: int, connection: Connection, table: str, schema: KeySchema, **more: str
) -> Workers | None:
    """Returns so many workers with the settings of this connection; None for one: this process
    does the work. `more` are further fields of `Workers`."""
    if number == 1:
        return None
    clients = WorkerClients.of(connection, table, schema)
    patience = connection.attempts
    tell = patience.tell if isinstance(patience, PatientAttempts) else say
    requested = connection.store.requests.update
    return Workers(number, clients, partial(lend, connection.session), tell, requested, **more)
