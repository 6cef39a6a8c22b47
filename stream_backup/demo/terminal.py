"""The commands of the demo: each is printed as a user types it, and runs as a process."""

import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from stream_backup.cli.console import say
from stream_backup.demo.embedded import stop
from stream_backup.errors import StreamBackupError

_SCRIPT = Path(sys.executable).with_name("stream-backup")
_PROGRAM = (
    [str(_SCRIPT)]
    if _SCRIPT.exists()
    else [sys.executable, "-c", "from stream_backup.cli.main import main; main()"]
)


def as_typed(words: Sequence[str]) -> str:
    """Returns `stream-backup WORDS` as a person types it in a shell."""
    return " ".join(("stream-backup", *map(_quoted, words)))


def _quoted(word: str) -> str:
    is_plain = not set(word) & set('"$`\\!')
    return f'"{word}"' if "'" in word and is_plain else shlex.quote(word)


def run(*words: str, expected: int = 0) -> None:
    """Runs `stream-backup WORDS` and shows its output, and its exit code if that is not 0.

    Raises StreamBackupError if the exit code is not the `expected` one.
    """
    typed = as_typed(words)
    say("", f"$ {typed}")
    code = subprocess.run([*_PROGRAM, *words], check=False).returncode  # noqa: S603 - our own words
    if code != expected:
        raise StreamBackupError(f"`{typed}` ended with exit code {code}.", "See its output above.")
    if code:
        say(f"(exit code {code})")


@dataclass(slots=True)
class Background:
    """A command that runs at the same time as others, as in a second terminal."""

    typed: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def require(self) -> None:
        """Raises StreamBackupError with the output of the command if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise StreamBackupError(f"`{self.typed}` ended with exit code {code}: {self.words()}")

    def words(self) -> str:
        """Returns the output so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace").strip()


@contextmanager
def background(*words: str) -> Iterator[Background]:
    """Runs `stream-backup WORDS &` until the block ends."""
    typed = as_typed(words)
    say("", f"$ {typed} &")
    with TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [*_PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield Background(typed, process, output)
        finally:
            stop(process)
