"""The story of the demo: a table is backed up during writes, damaged by a release, and restored."""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3

from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.cli.console import say
from stream_backup.demo import reader, rows
from stream_backup.demo.chapters import TABLE, VICTIM, back_up, check, damage, heading, restore
from stream_backup.demo.embedded import Embedded, free_url, serve
from stream_backup.demo.environment import MISLEADING, environment, settings
from stream_backup.demo.keep import show_commands
from stream_backup.demo.live import DemoTable
from stream_backup.demo.traffic import HUBS, Traffic
from stream_backup.demo.truth import Truth


def tell(*, keep: bool) -> None:
    """Runs the demo; with `keep`, the embedded AWS keeps running.

    Raises StreamBackupError if a command fails or if a restore is not correct.
    """
    started = time.monotonic()
    url = free_url()
    own = settings(url)
    misleading = sorted(name for name in os.environ if name.startswith(MISLEADING))
    with (
        environment(own),
        serve(url) as server,
        TemporaryDirectory(prefix="stream-backup-demo-") as directory,
    ):
        table, traffic = _begin(server)
        named = reader.prepare()
        os.environ.update(named)
        moment = _run(table, traffic, Path(directory, "airports.json.gz"))
        say(f"\nAll restored rows are correct. The demo took {time.monotonic() - started:.0f} s.")
        if not keep:
            say("Nothing is left on this computer. With --keep, the embedded AWS keeps running.")
            return
        server.keep()
        heading(7, "Continue manually")
        show_commands(
            server,
            settings=own | named,
            misleading=misleading,
            table=TABLE,
            row=VICTIM,
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
    closed = {name: item for name, item in airports[1::2] if name not in (*HUBS, VICTIM)}
    opened = {name: item for name, item in airports if name not in closed}
    table.fill(opened)
    say(
        f"Table {TABLE} has {len(opened):,} rows: half of the real airports with an IATA code, "
        f"from the package {rows.SOURCE} (license: {rows.LICENSE}). The others can open later."
    )
    return table, Traffic(table, closed, VICTIM)


def _run(table: DemoTable, traffic: Traffic, file: Path) -> int:
    """Runs chapters 2 to 6; returns the second before the damage."""
    heading(2, "Back up the table during writes")
    with reader.reading(TABLE) as follow:
        since = back_up(traffic)
        moment = damage(table, follow)
        busy = [second for second in table.truth.moments() if since < second < moment]
        other = busy[len(busy) // 2] if busy else moment
        restore(moment, other, file)
    check(table, moment, other, file)
    return moment
