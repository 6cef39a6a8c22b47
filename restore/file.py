"""A restore into a file of DynamoDB JSON lines, as AWS's own export writes them: `{"Item":…}`, gzip
when the name ends in `.gz`."""

import errno
import gzip
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Protocol

from restore.destination import Work
from restore.part import partial
from restore.plan import Planner, Rebuild, Step
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import HashFraction, run_slices
from stream_backup.capture.point import RestorePoint
from stream_backup.core.visible import visible_lines
from stream_backup.errors import UsageError

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Exported:
    """How many items were written to the file `to`."""

    to: str
    written: int

    @property
    def left(self) -> tuple[str, ...]:
        """Nothing: a file takes every item."""
        return ()

    def record(self) -> dict[str, Any]:
        """Returns the outcome as members of a JSON object."""
        return {"to": self.to, "written": self.written}

    def __str__(self) -> str:
        return f"Done: {self.written:,} items written to {self.to}."


@dataclass(frozen=True, slots=True)
class File:
    """The file `name`, `-` for stdout. An existing file is replaced only with `overwrite`."""

    name: str
    overwrite: bool

    def planner(self, chosen: Selection, point: RestorePoint, *, counting: bool) -> Planner:
        """Returns the plan that reads every item as it was."""
        archive, bodies = chosen.archive, not counting
        return Rebuild(archive, point.moment, point.floor, bodies, point.lateness)

    def execute(self, work: Work, plan: Planner) -> Exported:
        """Writes the items in no particular order. Raises UsageError when the file cannot be
        written."""
        chosen = work.chosen
        with (
            open_lines(self.name, overwrite=self.overwrite) as lines,
            work.progress.task("restore", "items") as task,
        ):
            fraction = HashFraction(len(chosen.slices))

            def write(part: str) -> None:
                for step in work.steps(plan, part):
                    lines.write(step)
                    task.advance(step.action == "put", fraction.reach(step.name))

            run_slices(write, chosen.slices, work.stop)
        return Exported(self.name, work.tally.steps["put"])


class Sink(Protocol):
    """Something that bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Writes the bytes."""


class Lines:
    """Items as lines of a stream. Thread-safe."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._lock = Lock()

    def write(self, step: Step) -> None:
        """Writes the item of a `put` step, and nothing for another."""
        if step.body is not None:
            with self._lock:
                self._stream.write(b'{"Item":' + step.body + b"}\n")


@contextmanager
def open_lines(name: str, *, overwrite: bool) -> Iterator[Lines]:
    """Opens the file `name`, `-` for stdout. The file appears under its name only when it is
    complete."""
    if name == STDOUT:
        if sys.stdout is None:
            raise UsageError("stdout is closed.", "Write to a file: --to FILE")
        yield Lines(_Visible(sys.stdout.buffer))
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    _require_writable(path, overwrite=overwrite)
    with _opened(path) as raw:
        if name.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                yield Lines(packed)
        else:
            yield Lines(raw)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(partial(path))
        except FileNotFoundError as error:
            raise UsageError(
                f"There is no folder {str(path.parent)!r}.", "Create it first."
            ) from error
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be written: {error.strerror}.", "Choose another file."
            ) from error
        try:
            yield raw
        except OSError as error:
            if error.errno == errno.ENOSPC:
                error.filename = str(path)
            raise


class _Visible:
    """Lines of JSON on their way to stdout, which may be a terminal."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream

    def write(self, data: bytes, /) -> object:
        """Writes the lines with what a terminal would obey as escapes; they mean the same."""
        return self._stream.write(visible_lines(data.decode()).encode())


def _require_writable(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UsageError(
            f"{str(path)!r} is a folder.", f"Name a file in it: --to {path / 'items.json.gz'}"
        )
    if path.exists() and not path.is_file():
        raise UsageError(
            f"{str(path)!r} is a device or a pipe, not a file.",
            f"Write to stdout: --to - > {path}",
        )
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists.", "Choose another name, or pass --overwrite.")
