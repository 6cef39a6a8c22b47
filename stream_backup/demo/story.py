"""The story of the demo: a bad deployment damages a table among good changes, and only the damage
is taken back."""

import os
import time
from contextlib import chdir
from tempfile import TemporaryDirectory

import boto3

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.cli.console import say
from stream_backup.demo import reader, rows
from stream_backup.demo.chapters import (
    CLOSED,
    TABLE,
    back_up,
    check,
    damage,
    find,
    heading,
    restore,
    take_back,
)
from stream_backup.demo.deployment import COUNTRIES
from stream_backup.demo.embedded import Embedded, free_url, serve
from stream_backup.demo.environment import MISLEADING, environment, settings
from stream_backup.demo.keep import show_commands
from stream_backup.demo.live import DemoTable
from stream_backup.demo.traffic import HUBS, Traffic
from stream_backup.demo.truth import Truth


def tell(*, keep: bool) -> None:
    """Runs the demo; with `keep`, the embedded AWS keeps running.

    Raises StreamBackupError if a command fails or if a row is not what it must be.
    """
    started = time.monotonic()
    url = free_url()
    own = settings(url)
    misleading = sorted(name for name in os.environ if name.startswith(MISLEADING))
    with (
        environment(own),
        serve(url) as server,
        TemporaryDirectory(prefix="stream-backup-demo-") as directory,
        chdir(directory),  # an undo leaves a receipt in the current folder
    ):
        table, traffic = _begin(server)
        named = reader.prepare()
        os.environ.update(named)
        moment = _run(table, traffic)
        say("", f"All rows are correct. The demo took {time.monotonic() - started:.0f} s.")
        if not keep:
            say("Nothing is left on this computer. With --keep, the embedded AWS keeps running.")
            return
        server.keep()
        heading(8, "Continue manually")
        show_commands(
            server,
            settings=own | named,
            misleading=misleading,
            table=TABLE,
            row=CLOSED[0],
            moment=moment,
        )


def _begin(server: Embedded) -> tuple[DemoTable, Traffic]:
    heading(1, "A table and an archive")
    say(
        f"ministack emulates AWS at {server.url}, in a separate process ({server.process.pid}). "
        "The demo uses no AWS account."
    )
    table = DemoTable(DynamoDB(boto3.Session()), TABLE, Truth(rows.KEY))
    table.create()
    airports = list(rows.airports().items())
    closed = {name: item for name, item in airports[1::2] if name not in (*HUBS, *CLOSED)}
    opened = {name: item for name, item in airports if name not in closed}
    table.fill(opened)
    say(
        f"Table {TABLE} has {len(opened):,} rows: half of the real airports with an IATA code, "
        f"from the package {rows.SOURCE} (license: {rows.LICENSE}). The others can open later."
    )
    return table, Traffic(table, closed, COUNTRIES)


def _run(table: DemoTable, traffic: Traffic) -> int:
    """Runs chapters 2 to 7; returns a second before the damage."""
    heading(2, "Back up the table during writes")
    with reader.reading(TABLE) as follow:
        with traffic.flowing() as writer:
            back_up(traffic)
            done = damage(table, traffic, writer)
            find(done, table, follow)
            take_back(done)
        moment = max(each for each in table.truth.moments() if each <= done.before)
        restore(moment)
    check(table, moment)
    return moment
