"""Writes docs/cli.md from the commands' own help. `--check` only says whether it would change."""

import sys
from pathlib import Path

import click

from stream_backup.cli import cli

TARGET = Path(__file__).with_name("cli.md")


def reference() -> str:
    parts = ["# Command line reference", "", "Written by `make docs` from the commands' own help. Do not edit.", ""]
    parts += _section(cli, "stream-backup", None)
    for name, command in sorted(cli.commands.items()):
        context = click.Context(cli, info_name="stream-backup")
        parts += _section(command, name, context)
    return "\n".join(parts).rstrip() + "\n"


def _section(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    title = name if parent is None else f"stream-backup {name}"
    return [f"## {title}", "", "```", command.get_help(context).rstrip(), "```", ""]


if __name__ == "__main__":
    text = reference()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.exists() and TARGET.read_text() == text else "docs/cli.md is stale: run make docs")
    TARGET.write_text(text)
