"""What was damaged: one row with its states, and many rows on disk until they are undone."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from stream_backup.core.item import Item


class Layer(NamedTuple):
    """One change that is to be undone: the row `before` and after it, and its states `since`, each
    once and in any order. A layer is `doubtful` where it is not known whether the change was made.
    """

    before: Item | None
    damaged: Item | None
    since: tuple[Item | None, ...]
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Damage:
    """A row that was damaged. Of several `layers` the last change comes first. `present` is the row
    as the archive knows it now. `expired` says that its time to live has removed it since."""

    key: Item
    layers: tuple[Layer, ...]
    present: Item | None
    expired: bool = False

    def record(self) -> list[Any]:
        """Returns the row as JSON."""
        return [self.key, self.layers, self.present, self.expired]

    @classmethod
    def of(cls, record: list[Any]) -> "Damage":
        """Returns the row in this JSON."""
        key, layers, present, expired = record
        return cls(key, tuple(Layer(*each) for each in layers), present, expired)


class DamageSpool:
    """Rows in a temporary file, which is removed when it is closed: what is undone is exactly what
    was counted."""

    def __init__(self, rows: Iterable[Damage]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stream-backup-undo-")  # noqa: SIM115 - closed by `close`
        try:
            for row in rows:
                self._file.write(json.dumps(row.record()).encode() + b"\n")
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Damage]:
        self._file.seek(0)
        return (Damage.of(json.loads(line)) for line in self._file)

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
