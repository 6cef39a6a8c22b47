"""The report of an incident, in Markdown."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from stream_backup.errors import UsageError


@dataclass(slots=True)
class IncidentReport:
    """What is known of an incident so far, in sentences. `started` is in ISO-8601, `resume` says
    how to go on after the present step, `commands` has the time and the text of each command,
    `shapes` are lines of `diff`, `offers` has what each way would write, and `receipts` are those
    of the runs, each with the command that takes it back. `ended` says how the guide ended early,
    "" when it did not."""

    table: str
    started: str
    resume: str
    commands: Sequence[tuple[str, str]]
    coverage: str = ""
    window: str = ""
    shapes: Sequence[str] = ()
    where: str = ""
    offers: dict[str, str] = field(default_factory=dict)
    chosen: str = ""
    done: Sequence[str] = ()
    receipts: Sequence[tuple[str, str]] = ()
    checked: list[str] = field(default_factory=list)
    ended: str = ""

    def markdown(self) -> str:
        """Returns the report. What comes from the table is in indented blocks, in which Markdown
        interprets nothing."""
        return "\n".join(self._lines()) + "\n"

    def write(self, folder: Path) -> Path:
        """Writes the report to a new file that only its owner can read, and returns its path.
        Raises UsageError."""
        moment = self.started.replace(":", "").replace("-", "")
        for turn in count(1):
            more = f"-{turn}" if turn > 1 else ""
            path = folder / f"{self.table}-incident-{moment}{more}.md"
            try:
                number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    file.write(self.markdown())
                return path
            except FileExistsError:
                continue
            except OSError as error:
                raise UsageError(
                    f"The report {path} cannot be written: {error.strerror}.",
                    "The commands above are what was run.",
                ) from error
        raise AssertionError  # pragma: no cover - count() does not end

    def _lines(self) -> Iterator[str]:
        yield f"# Incident: table {self.table}, {self.started}"
        yield from _sentence("Written by `stream-backup incident`. All times are UTC.")
        if self.ended:
            yield from _sentence("**It ended early:**")
            yield from _block([self.ended, self.resume])
        yield from _title("What happened")
        yield from _sentence(self.window)
        yield from _sentence("What differs between the moment before and the last second:")
        yield from _block(self.shapes)
        if self.where:
            yield from _sentence("These are the items that were chosen:")
            yield from _block([f"--where {self.where}"])
        yield from _sentence(self.coverage)
        yield from _title("What could be done")
        yield from _block(f"{name:<8} {offer}" for name, offer in self.offers.items())
        yield from _title("What was done")
        yield from _sentence(f"Chosen: {self.chosen}.")
        if not (self.done or self.receipts or self.ended):
            yield from _sentence("No table was written to.")
        yield from _block(self.done)
        for name, back in self.receipts:
            yield from _sentence(f"Receipt: `{name}`. To take back what was written:")
            yield from _block([back])
        yield from _title("Verification")
        yield from _block(self.checked or ["None."])
        yield from _title("Commands")
        yield from _sentence("Every command that was run, with its time:")
        yield from _block(f"{text}    # {when}" for when, text in self.commands)


def _title(text: str) -> Iterator[str]:
    yield from ("", f"## {text}")


def _sentence(text: str) -> Iterator[str]:
    yield from ("", text)


def _block(lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield from (f"    {_line(line)}" for line in lines)


def _line(text: str) -> str:
    """The text on one line, with every character that is not printable escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
