"""A plan's items → DynamoDB JSON lines, as AWS's own export writes them: `{"Item":…}`, gzip when the name ends in `.gz`."""

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from restore.plan import Step
from stream_backup.errors import UsageError


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Lines:
    """Thread-safe; items come in no particular order."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._lock = Lock()

    def write(self, step: Step) -> None:
        if step.body is not None:
            with self._lock:
                self._stream.write(b'{"Item":' + step.body + b"}\n")


@contextmanager
def open_lines(name: str, *, overwrite: bool) -> Iterator[Lines]:
    """The file `name`, `-` being stdout. It appears under its name only when it is whole."""
    if name == "-":
        yield Lines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name!r} is a folder.", f"Name a file in it: --to {path / 'items.json.gz'}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{name!r} is no file but a device or a pipe.", f"Write to stdout: --to - > {name}")
    if path.exists() and not overwrite:
        raise UsageError(f"{name} exists.", "Choose another name, or pass --overwrite.")
    part = path.with_name(f".{path.name}.part")
    try:
        raw = part.open("wb")
    except FileNotFoundError as error:
        raise UsageError(f"There is no folder {str(path.parent)!r}.", "Make it first.") from error
    except OSError as error:
        raise UsageError(f"{name!r} cannot be written: {error.strerror}.", "Choose another place.") from error
    try:
        with raw:
            if name.endswith(".gz"):
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                    yield Lines(packed)
            else:
                yield Lines(raw)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
