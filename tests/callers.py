"""Which lines of the product make a request, told by the process that makes it.

Requests of botocore have the lines in a header. obstore has no place for them: they are appended to
a file before the request is made, with its path. What a pool runs has the lines that submitted it
as well.
"""

import inspect
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import botocore.httpsession
import obstore

import stream_backup.archive.s3
from tests.cli import CALLER

FILE = "STREAM_BACKUP_TEST_CALLERS"
"""The environment variable with the name of the file."""

ROOT = str(Path(__file__).parent.parent) + os.sep
PRODUCT = tuple(f"{ROOT}{name}{os.sep}" for name in ("stream_backup", "backfill", "restore"))

_submitted = threading.local()


def lines() -> str:
    """The lines of the product that are being executed by this thread, the innermost first, and
    those that submitted its work."""
    found: list[str] = []
    frame = inspect.currentframe()
    while frame:
        if frame.f_code.co_filename.startswith(PRODUCT):
            found.append(f"{frame.f_code.co_filename.removeprefix(ROOT)}:{frame.f_lineno}")
        frame = frame.f_back
    return " ".join([*found, getattr(_submitted, "lines", "")]).strip()


def tell(file: Path) -> None:
    """Makes this process tell it for the rest of its life."""
    send, submit = botocore.httpsession.URLLib3Session.send, ThreadPoolExecutor.submit

    def sending(session: Any, request: Any) -> Any:
        request.headers[CALLER] = lines()
        return send(session, request)

    def submitting(
        pool: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        before = lines()

        def working(*args: Any, **kwargs: Any) -> Any:
            _submitted.lines = before
            return work(*args, **kwargs)

        return submit(pool, working, *args, **kwargs)

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(store: Any, path: str, *args: Any, **kwargs: Any) -> Any:
            opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(opened, f"{path}\t{lines()}\n".encode())
            os.close(opened)
            return work(store, path, *args, **kwargs)

        return noting

    both = {name: noted(getattr(obstore, name)) for name in ("get", "put")}
    setattr(stream_backup.archive.s3, "obstore", SimpleNamespace(**both))  # noqa: B010 - typed
    setattr(botocore.httpsession.URLLib3Session, "send", sending)  # noqa: B010 - typed
    setattr(ThreadPoolExecutor, "submit", submitting)  # noqa: B010 - typed


class Callers:
    """What a process told about its requests with obstore, read while it runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self._found: dict[str, str] = {}

    def of(self, path: str) -> str:
        """The lines that made the latest request for the object at the end of this path."""
        with self._file.open("rb") as opened:
            opened.seek(self._read)
            content = opened.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            name, _, told = line.partition("\t")
            self._found[name] = told
        asked = unquote(path.partition("?")[0]).partition("/")[2].partition("/")[2]
        return self._found.get(asked, "")
