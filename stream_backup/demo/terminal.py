"""What a user would type, typed: each command is printed and then run, as a process of its own."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from stream_backup.demo.embedded import stop
from stream_backup.errors import StreamBackupError
from stream_backup.talk import say

_SCRIPT = Path(sys.executable).with_name("stream-backup")
_PROGRAM = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-c", "from stream_backup.cli import main; main()"]


def run(*words: str) -> None:
    """`stream-backup WORDS`, its output passed through. Raises StreamBackupError when it fails."""
    typed = shlex.join(("stream-backup", *words))
    say(f"\n$ {typed}")
    code = subprocess.run([*_PROGRAM, *words], check=False).returncode  # noqa: S603 - our own words
    if code:
        raise StreamBackupError(f"`{typed}` ended with exit code {code}.", "What it said is above.")


@dataclass(slots=True)
class Background:
    """A command that runs beside the others, as in a second terminal. What it says is kept until it ends."""

    typed: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    def require(self) -> None:
        """Raises StreamBackupError when it has ended by itself."""
        code = self.process.poll()
        if code is not None:
            raise StreamBackupError(f"`{self.typed}` ended with exit code {code}: {self.words()}")

    def words(self) -> str:
        self.said.seek(0)
        return self.said.read().decode(errors="replace").strip()


@contextmanager
def background(*words: str) -> Iterator[Background]:
    """`stream-backup WORDS &`, stopped where the block ends."""
    typed = shlex.join(("stream-backup", *words))
    say(f"\n$ {typed} &")
    with TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [*_PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            yield Background(typed, process, said)
        finally:
            stop(process)
