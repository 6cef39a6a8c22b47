"""The items that a restore is about: every item of a table, or those with the given keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.slices import SLICES
from stream_backup.core.item import Item, digest
from stream_backup.core.key import key_hash, key_json


@dataclass(frozen=True, slots=True)
class Selection:
    """Without `keys` every item of the archive is selected."""

    archive: Archive
    keys: tuple[Item, ...] = ()

    @property
    def slices(self) -> tuple[str, ...]:
        """The slices of the archive that can contain a selected item."""
        if not self.keys:
            return SLICES
        return tuple(sorted({key_hash(key)[0] for key in self.keys}))

    def histories(self, part: str) -> Iterable[History]:
        """Returns the histories of the selected items in this slice that the archive has versions
        of."""
        if not self.keys:
            return self.archive.histories(part)
        chosen = {key_hash(key): key for key in self.keys if key_hash(key).startswith(part)}
        found = (self.archive.history(key) for key in chosen.values())
        return (history for history in found if history.versions)

    @property
    def fingerprint(self) -> str:
        """Which items are selected, in a few characters; empty for all."""
        if not self.keys:
            return ""
        return digest(",".join(sorted(map(key_json, self.keys))).encode())

    def unknown(self) -> list[Item]:
        """Returns the selected keys that the archive has no version of."""
        return [key for key in self.keys if not self.archive.history(key).versions]
