"""How to use the embedded AWS after a demo with `--keep`."""

import json
import shlex

from stream_backup.cli.console import say
from stream_backup.core.moment import iso
from stream_backup.demo import reader, rows
from stream_backup.demo.embedded import Embedded


def show_commands(
    server: Embedded,
    *,
    settings: dict[str, str],
    misleading: list[str],
    table: str,
    row: str,
    moment: int,
) -> None:
    """Prints commands that a user can type in a shell.

    `settings` are the environment variables to export, and `misleading` the names of those to
    unset. The examples are about the row with the key `row`, at `moment`.
    """
    say("The embedded AWS keeps running. Run this in your shell:", "")
    if misleading:
        say(f"unset {' '.join(misleading)}")
    for name, value in settings.items():
        say(f"export {name}={shlex.quote(value)}")
    key = shlex.quote(json.dumps({rows.KEY: row}))
    say("", "Then, for example:", "")
    if not reader.is_function():
        say(f"stream-backup follow {table} --once        # reads new changes, then ends")
    say(f"stream-backup status {table}")
    say(f"stream-backup timeline {table}")
    say(f"stream-backup history {table} {key}")
    say(f"stream-backup restore {table} --at {iso(moment)} --key {key} --to -")
    say("", f"To end the server and delete all its data: kill {server.process.pid}")
