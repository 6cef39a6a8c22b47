"""The items that a restore is about: every item of a table, or those with the given keys."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.slices import SLICES
from stream_backup.core.item import Item, digest
from stream_backup.core.key import key_hash, key_json
from stream_backup.core.slice import NameSlice


def histories_of(archive: Archive, part: NameSlice) -> Iterator[History]:
    """Yields the histories of the items that are in a slice and not done, in order of name. It
    lists one prefix after another: not every server can begin after a name that does not exist, and
    a listing has no end but that of its prefix."""
    for prefix in part.prefixes():
        after = part.after if part.after.startswith(prefix) else ""
        for history in archive.histories(prefix, after=after):
            if history.name > part.after:  # some servers repeat the name after which they begin
                yield history


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

    def within(self, part: NameSlice) -> Iterator[History]:
        """Yields the histories of the selected items that are in a slice and not done, in order of
        name."""
        if self.keys:
            chosen = {key_hash(key): key for key in self.keys}
            names = sorted(filter(part.is_open, chosen))
            found = (self.archive.history(chosen[name]) for name in names)
            yield from (history for history in found if history.versions)
            return
        yield from histories_of(self.archive, part)

    def holds_any(self, part: NameSlice) -> bool:
        """Returns whether a selected item can be in a slice and not done."""
        if self.keys:
            return any(part.is_open(key_hash(key)) for key in self.keys)
        return not part.done

    @property
    def fingerprint(self) -> str:
        """Which items are selected, in a few characters; empty for all."""
        if not self.keys:
            return ""
        return digest(",".join(sorted(map(key_json, self.keys))).encode())

    def unknown(self) -> list[Item]:
        """Returns the selected keys that the archive has no version of."""
        return [key for key in self.keys if not self.archive.history(key).versions]
