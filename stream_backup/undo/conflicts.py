"""Files of conflicts: written for people to decide, and read again with their decisions.

Each line is one conflict: {key, path, before, damaged, now}, with typed values and null for a value
that does not exist. A decision is a member `resolve`, "before" or "now", that was added to a line.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from stream_backup.core.edits import Conflict
from stream_backup.core.item import Item, Value
from stream_backup.core.key import key_json
from stream_backup.core.merge import Decision
from stream_backup.core.values import same
from stream_backup.errors import UsageError


class ConflictFile:
    """A file to which conflicts are written, which only its owner may read. Raises UsageError when
    it exists or cannot be created."""

    def __init__(self, path: Path) -> None:
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise UsageError(
                f"The conflicts cannot be written to {path}: {error.strerror}.",
                "Name another file: --conflicts FILE",
            ) from error
        self._file: IO[str] = os.fdopen(number, "w", encoding="utf-8")

    def add(self, key: Item, conflict: Conflict) -> None:
        """Writes a conflict of the row with this key."""
        self._file.write(json.dumps(conflict_record(key, conflict), ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._file.close()


def conflict_record(key: Item, conflict: Conflict) -> dict[str, Any]:
    """Returns a conflict as a JSON object."""
    path, before, damaged, now = conflict
    states = {"before": before, "damaged": damaged, "now": now}
    return {"key": key, "path": list(path), **states}


class _Decided(NamedTuple):
    decision: Decision
    before: Value | None
    now: Value | None


class Decisions:
    """The decisions in a file of conflicts. One counts only as long as the conflict has the values
    that were decided upon. Raises UsageError when a line is not a conflict."""

    def __init__(self, path: Path) -> None:
        self._decided: dict[tuple[str, tuple[str, ...]], _Decided] = {}
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        self._add(line, f"Line {number} of {path}")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The decisions in {path} cannot be read: {error}.",
                "--resolve takes before, now, or a file that --conflicts wrote.",
            ) from error

    def __call__(self, key: Item, conflict: Conflict) -> Decision | None:
        """Returns the decision of a conflict, None without one."""
        found = self._decided.get((key_json(key), conflict.path))
        if found is None:
            return None
        unchanged = same(found.before, conflict.before) and same(found.now, conflict.now)
        return found.decision if unchanged else None

    def _add(self, line: str, where: str) -> None:
        try:
            found = json.loads(line)
            name = key_json(found["key"]), tuple(found["path"])
            decision = found.get("resolve")
            states = found["before"], found["now"]
            if decision not in ("before", "now", None):
                raise ValueError(f"resolve is {decision!r}")
            for state in states:
                same(state, {"M": {}})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{where} is not a conflict with a decision: {error}.",
                'Add "resolve": "before" or "resolve": "now" to lines that --conflicts wrote.',
            ) from error
        if decision:
            self._decided[name] = _Decided(decision, *states)
