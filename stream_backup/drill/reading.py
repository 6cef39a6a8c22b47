"""The independent reading of an archive: every version of an item is read, and the rule of
`docs/format.md` is applied to all of them at once.

It shares no code with the plan of a restore: no walk that ends early, no bound from the time of
writing, no announcement, no ETag. It shares the listing of versions, and the floor of the epoch.
"""

from stream_backup.archive.layout import Archive, History
from stream_backup.errors import foreign


def item_then(archive: Archive, history: History, moment: int, floor: int) -> bytes | None:
    """Returns what an item was at `moment`, in the canonical JSON of the archive; None when it did
    not exist. Versions stamped before `floor` do not count. Raises ArchiveError when a version has
    no stamp."""
    best: tuple[tuple[int, int], bytes | None] | None = None
    for version in history.versions:
        payload, metadata = archive.store.get(version.path, version.version_id)
        try:
            at, sequence, seen = (int(metadata[name]) for name in ("at", "sequence", "seen"))
            removed = metadata["kind"] in ("remove", "missing")
        except (KeyError, ValueError) as error:
            raise foreign(version.path, ValueError("it has no stamp")) from error
        if floor <= at and seen <= moment and (best is None or (at, sequence) > best[0]):
            best = (at, sequence), None if removed else payload
    return best[1] if best else None
