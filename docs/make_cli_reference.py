"""Writes docs/cli.md from the help of the commands.

`--check` only reports whether the file would change.
"""

import sys
from pathlib import Path

import click

from stream_backup.cli.main import cli

TARGET = Path(__file__).with_name("cli.md")


def reference() -> str:
    parts = [
        "# Command line reference",
        "",
        "Written by `make docs` from the commands' own help. Do not edit.",
        "",
    ]
    root = click.Context(
        cli, info_name="stream-backup", **cli.context_settings | {"max_content_width": 100}
    )
    parts += _section(cli, root)
    for name, command in sorted(cli.commands.items()):
        parts += _section(command, click.Context(command, info_name=name, parent=root))
    return "\n".join(parts).rstrip() + "\n"


def _section(command: click.Command, context: click.Context) -> list[str]:
    context.terminal_width = 100
    return [f"## {context.command_path}", "", "```", command.get_help(context).rstrip(), "```", ""]


if __name__ == "__main__":
    text = reference()
    if "--check" in sys.argv:
        sys.exit(
            0
            if TARGET.exists() and TARGET.read_text() == text
            else "docs/cli.md is out of date: run make docs"
        )
    TARGET.write_text(text)
