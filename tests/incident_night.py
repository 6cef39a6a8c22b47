"""The night of `tests/undo_night.py` on a pseudo-terminal, at which all commands of an incident can
be run."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import stream_backup.cli.diff
import stream_backup.cli.incident
import stream_backup.cli.main
import stream_backup.cli.options
import stream_backup.cli.restore
import stream_backup.cli.status
import stream_backup.cli.timeline
import stream_backup.cli.undo
import stream_backup.cli.undo_source
from stream_backup.core.item import encode
from stream_backup.core.records import Run
from tests.damage import LABEL, NOW, START
from tests.terminal import Terminal
from tests.undo_night import UndoNight


class IncidentNight(UndoNight):
    def __init__(self, folder: Path) -> None:
        super().__init__(None, folder)  # type: ignore[arg-type]  # a terminal keeps what is said
        counts = {"read": 11, "written": 11}
        self.meta.write_run(Run("r", LABEL, START - 20, START - 5, START, True, counts))

    def terminal(self) -> Terminal:
        return Terminal(self.command, self._look)

    def _look(self) -> dict[str, str]:
        """The rows, as canonical text."""
        return {name: encode(row).decode() for name, row in self.rows_now().items()}

    def command(self, words: list[str]) -> int:
        """Runs a command in this process, whose terminal is the real one."""
        self.now = NOW - 30
        self.tick()
        paginator = SimpleNamespace(paginate=lambda **_: [{"EventSourceMappings": []}])
        here = SimpleNamespace(
            archive=self.archive,
            store=self.store,
            location="s3://backups",
            archive_url=None,
            stack_name="stream-backup",
            profile=None,
            region=None,
            clock=lambda: NOW,
            now=lambda: self.table.now,
            dynamodb=self.table,
            session=SimpleNamespace(
                client=lambda *_, **__: SimpleNamespace(get_paginator=lambda _: paginator)
            ),
        )
        cli = stream_backup.cli
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(cli.options, "Connection", lambda *_: here)
            for module in (
                cli.diff, cli.incident, cli.restore, cli.status, cli.timeline, cli.undo
            ):  # fmt: skip
                patch.setattr(module, "state_of", lambda *_: self.state())
            for module in (cli.restore, cli.undo_source):
                patch.setattr(module, "up_to_date", lambda _, point, *__, **___: point)
            patch.setattr(cli.undo_source, "catch_up", lambda *_: self.state())
            patch.setattr(cli.incident, "catch_up", lambda *_: self.tick())
            patch.setattr(sys, "argv", ["stream-backup", *words])
            try:
                cli.main.main()
            except SystemExit as end:
                return int(end.code or 0)
        return 0


def report_in(folder: Path) -> str:
    """The only report in a folder."""
    (path,) = folder.glob("*-incident-*.md")
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text()
