"""What `undo` takes back: what changed in a window, or what the receipt of an earlier run says."""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol, Self

from stream_backup.archive.selection import Selection
from stream_backup.aws.connection import Connection
from stream_backup.capture.catch_up import catch_up
from stream_backup.capture.point import RestorePoint, resolve_window, up_to_date
from stream_backup.capture.state import State
from stream_backup.cli.console import say
from stream_backup.cli.input import parse_when
from stream_backup.cli.items import schema_at
from stream_backup.cli.undo_options import UndoOptions
from stream_backup.core.coverage import OVERRIDE
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.errors import CoverageError, UsageError
from stream_backup.inspect.window import Examined, Window
from stream_backup.progress import Progress
from stream_backup.undo.damage import Damage
from stream_backup.undo.plan import of_receipt, of_window
from stream_backup.undo.receipts import ReceiptFile


class Source(Protocol):
    """Where the damage is read from."""

    @property
    def undone(self) -> dict[str, Any]:
        """What is undone, as members of a JSON object."""

    def resolve(self, connection: Connection, state: State, progress: Progress) -> KeySchema:
        """Checks that this can be undone exactly, and returns the key schema of the table. Raises
        UsageError or CoverageError."""

    def catch_up(self, connection: Connection, progress: Progress) -> State:
        """Returns the state once the archive has everything up to the moment of this call."""

    def damages(
        self,
        connection: Connection,
        chosen: Selection,
        pool: Executor,
        examined: Examined,
        progress: Progress,
    ) -> Iterator[Damage]:
        """Yields the selected rows that were damaged."""


class WindowSource:
    """The window of the options `--from`, `--to` and `--where`."""

    def __init__(self, options: UndoOptions) -> None:
        self._options = options
        self._where = options.chooser()

    @property
    def undone(self) -> dict[str, Any]:
        """The first and the last moment of the window."""
        return {"from": iso(self._first.moment), "to": iso(self._last.moment)}

    def resolve(self, connection: Connection, state: State, progress: Progress) -> KeySchema:
        """Resolves both moments."""
        moments = []
        for text in (self._options.since, self._options.until):
            moment, note = parse_when(text or "", state.now)
            moments.append(moment)
            if note:
                say(note)
        try:
            self._first, self._last = resolve_window(
                connection, state, moments[0], moments[1], progress, incomplete_ok=False
            )
        except CoverageError as error:
            raise CoverageError(str(error), error.hint.replace(f"; {OVERRIDE}", ".")) from error
        self._require_present(self._last)
        return schema_at(connection, self._last)

    def catch_up(self, connection: Connection, progress: Progress) -> State:
        """Waits for the archive."""
        self._last = up_to_date(connection, self._last, progress, incomplete_ok=False)
        self._require_present(self._last)
        return self._last.state

    def damages(
        self,
        connection: Connection,  # noqa: ARG002
        chosen: Selection,
        pool: Executor,
        examined: Examined,
        progress: Progress,
    ) -> Iterator[Damage]:
        """Yields the rows that changed in the window."""
        window = Window.between(chosen.archive, self._first, self._last)
        where = self._where.matches if self._where else lambda _: True
        floor = self._last.floor_now
        return of_window(window, chosen, where, floor, pool, examined, progress)

    def _require_present(self, point: RestorePoint) -> None:
        """Everything since the window must be known too, so it is in the epoch of the present."""
        point.require_present()
        newest = point.state.status.coverage.epochs[-1]
        if point.epoch != newest:
            raise CoverageError(
                f"{iso(point.moment)} is in an earlier epoch of {point.table}: not everything that"
                " happened since is known.",
                "Restore into a new table (--into NAME) and compare, or choose a window that begins"
                f" at {iso(newest.start)} or later.",
            )


class ReceiptSource:
    """A receipt, which is closed when the context is left."""

    def __init__(self, path: Path) -> None:
        self._file = ReceiptFile(path)
        header = self._file.header
        self.undone: dict[str, Any] = {
            "undone": f"the {header.what} of {iso(header.started)}",
            "of": digest(repr(header.record()).encode())[:8],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

    def resolve(self, connection: Connection, state: State, progress: Progress) -> KeySchema:
        """Checks that the receipt is of this table."""
        header = self._file.header
        for theirs, ours in zip((header.arn, header.table_id), state.identity, strict=True):
            if header.table != state.table or (theirs and ours and theirs != ours):
                raise UsageError(
                    f"{self._file.path} is the receipt of another table: {header.arn}, TableId"
                    f" {header.table_id or 'unknown'}.",
                    "Check the name of the table, --region and --profile. A table that was created"
                    " again under its name is another table.",
                )
        if not self._file.ended:
            progress.note(
                f"{self._file.path} ends early: its run was interrupted, or the file was cut off."
            )
        self._state = state
        self._present().require_present()
        return schema_at(connection, self._present())

    def catch_up(self, connection: Connection, progress: Progress) -> State:
        """Waits for the archive."""
        self._state = catch_up(connection, self._state, progress)
        self._present().require_present()
        return self._state

    def damages(
        self,
        connection: Connection,
        chosen: Selection,
        pool: Executor,
        examined: Examined,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Iterator[Damage]:
        """Yields the rows of the receipt."""
        return of_receipt(self._file, chosen, connection.dynamodb, pool)

    def _present(self) -> RestorePoint:
        epochs = self._state.status.coverage.epochs
        return RestorePoint(self._state.now, epochs[-1] if epochs else None, self._state)
