"""A plan kept on disk until it is confirmed, so that what is executed is exactly what was shown."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from restore.plan import Step
from stream_backup.core.version import Version


class Spool:
    """Steps in a temporary file that is removed when it is closed. Each body follows the line of
    its step."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-plan-")  # noqa: SIM115 - closed by `close`
        try:
            for step in steps:
                size = None if step.body is None else len(step.body)
                line = [step.action, step.name, step.key, size, step.now, step.unread]
                self._file.write(json.dumps(line).encode() + b"\n" + (step.body or b""))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Step]:
        self._file.seek(0)
        while line := self._file.readline():
            action, name, key, size, now, unread = json.loads(line)
            body = None if size is None else self._file.read(size)
            yield Step(action, name, key, body, now, Version(*unread) if unread else None)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
