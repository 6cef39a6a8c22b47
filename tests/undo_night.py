"""The night of `tests/damage.py` with a live table, on which `undo` is run in this process.
Everything is in the archive at once, so that catching up takes no time."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import stream_backup.cli.main
import stream_backup.cli.options
import stream_backup.cli.undo
import stream_backup.cli.undo_source
from stream_backup.capture.state import State
from stream_backup.core.item import Item
from stream_backup.core.key import key_hash
from stream_backup.core.records import Live, Outage, Run
from tests.cli import Said
from tests.damage import ARN, LABEL, NOW, SCHEMA, Night
from tests.undo_world import UndoTable

TABLE_ARN = ARN.partition("/stream/")[0]


class NightTable(UndoTable):
    """The table, whose other settings are `described` by operation."""

    described: dict[str, Any]

    def _execute(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation in self.described:
            found = self.described[operation]
            if isinstance(found, Exception):
                raise found
            return dict(found)
        return super()._execute(operation, request)


class UndoNight(Night):
    """`live` is the table as AWS describes it, `table` its rows."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        super().__init__(capsys)
        self.folder = folder
        self.table = NightTable(self.archive("orders", SCHEMA))
        self.table.now = NOW - 60
        self.table.described = {
            "describe_kinesis_streaming_destination": {},
            "describe_time_to_live": {},
        }
        self.live: dict[str, Any] = {"TableArn": TABLE_ARN, "TableId": "1"}
        self.mappings: list[dict[str, Any]] = []

    def write(self, at: int | str, item: Item, *, late: int = 1) -> None:
        super().write(at, item, late=late)
        self.table.rows[key_hash(SCHEMA.key_of(item))] = item

    def remove(self, at: int | str, number: int, by: str | None = None) -> None:
        name = f"order-{number}"
        del self.table.rows[key_hash({"id": {"S": name}})]
        super().remove(at, number, by)

    def scan(self, *items: Item) -> None:
        super().scan(*items)
        for item in items:
            self.table.rows[key_hash(SCHEMA.key_of(item))] = item

    def rows_now(self) -> dict[str, Item]:
        return {row["id"]["S"]: row for row in self.table.rows.values()}

    def tick(self) -> None:
        """Lets a few seconds pass: what was written is in the past."""
        self.table.now += 10

    def state(self) -> State:
        found = super().state()
        live = Live(self.live, None)
        return State("orders", found.status, live, (), (), (), True, {}, None)

    def run(self, *words: str, typed: str = "") -> Said:
        """Runs a command in this process."""
        self.now = NOW - 30
        pages = [{"EventSourceMappings": self.mappings}]
        paginator = SimpleNamespace(paginate=lambda **_: pages)
        functions = SimpleNamespace(get_paginator=lambda _: paginator)
        here = SimpleNamespace(
            archive=self.archive,
            store=self.store,
            location="s3://backups",
            clock=lambda: NOW,
            now=lambda: self.table.now,
            dynamodb=self.table,
            session=SimpleNamespace(client=lambda _, **__: functions),
        )
        assert self._capsys is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(stream_backup.cli.options, "Connection", lambda *_: here)
            patch.setattr(stream_backup.cli.undo, "state_of", lambda *_: self.state())
            source = stream_backup.cli.undo_source
            patch.setattr(source, "up_to_date", lambda _, point, *__, **___: point)
            patch.setattr(source, "catch_up", lambda *_: self.state())
            patch.setattr(sys, "argv", ["stream-backup", *words])
            answers = [*reversed(typed.splitlines())]
            patch.setattr("click.termui.visible_prompt_func", lambda _: _answer(answers))
            self._capsys.readouterr()
            code: Any = 0
            try:
                stream_backup.cli.main.main()
            except SystemExit as end:
                code = end.code
        said = self._capsys.readouterr()
        return Said(int(code or 0), said.out, said.err)

    def undo(self, *words: str, code: int = 0, typed: str = "") -> Any:
        """Runs an undo and returns its report."""
        said = self.run("undo", "orders", *words, "--json", typed=typed)
        assert said.code == code, said
        return said.json

    def outage(self, since: int, until: int) -> None:
        """Records that changes between these seconds may be lost."""
        self.meta.write_outage(Outage(LABEL, since, until, "a test"))

    def backfill(self, at: int) -> None:
        """A backfill that begins another epoch."""
        self.meta.write_run(Run("again", LABEL, at, at, at + 5, True, {}))

    def break_version(self, name: str) -> None:
        """Makes the versions of an item unreadable."""
        path = next(
            path for path in self.store.objects if path.endswith(key_hash({"id": {"S": name}}))
        )
        stored = self.store.objects[path]
        stored[:] = [each._replace(metadata={}) for each in stored]

    @property
    def receipts(self) -> list[Path]:
        return sorted(self.folder.glob("*.receipt.jsonl.gz"))


def _answer(answers: list[str]) -> str:
    if not answers:
        raise EOFError
    return answers.pop()
