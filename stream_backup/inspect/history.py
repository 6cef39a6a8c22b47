"""What happened to one item: its versions in order, and what each of them changed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.connection import Connection
from stream_backup.aws.table import look_up
from stream_backup.capture.known import unknown
from stream_backup.core.change import Change
from stream_backup.core.difference import Difference, differences
from stream_backup.core.item import Item, decode, digest
from stream_backup.core.key import KeySchema
from stream_backup.core.moment import iso
from stream_backup.core.second import distinct
from stream_backup.core.stamp import Stamp


@dataclass(frozen=True, slots=True)
class Event:
    """One version of an item. `item` is empty after a removal; `gap` says that a change before this
    one is not in the archive. The stamp says how many changes of its second it stands for."""

    stamp: Stamp
    gap: bool
    changed: tuple[Difference, ...]
    item: Item

    def record(self) -> dict[str, Any]:
        """Returns the event as a JSON object."""
        stamp = self.stamp
        return {
            "at": iso(stamp.at),
            "kind": stamp.kind,
            "by": stamp.by,
            "sequence": str(stamp.sequence),
            "seen": iso(stamp.seen),
            "merged": stamp.merged,
            "gap": self.gap,
            "changed": [list(each) for each in self.changed],
            "item": self.item or None,
        }


def history(archive: Archive, key: Item) -> list[Event]:
    """Returns what happened to the item with this key, the oldest first. Raises ArchiveError for an
    unreadable version."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        found = list(pool.map(archive.read, archive.history(key).versions))
    # A change counts once, however often it was written, alone or merged with others.
    counting = {*distinct(change.stamp for change in found)}
    unique = {
        (change.stamp.rank, change.stamp.seen, change.body): change
        for change in found
        if not change.stamp.streamed or change.stamp in counting
    }
    order = sorted(unique.values(), key=lambda change: (change.stamp.rank, change.stamp.seen))
    return _events(order)


def schemas_of(connection: Connection, table: str) -> list[KeySchema]:
    """Returns every key schema that the table had, the newest first, from the archive's own
    descriptions, or from the live table where there are none.

    Raises UsageError when neither knows it.
    """
    if found := Catalog(connection.archive(table)).descriptions():
        return list(dict.fromkeys(KeySchema.of(each.table) for each in reversed(found)))
    live, _ = look_up(connection.dynamodb, table)
    if live is None:
        raise unknown(connection, table)
    return [KeySchema.of(live.description)]


def _events(changes: Sequence[Change]) -> list[Event]:
    found = []
    before: Item = {}
    streamed: str | None = None  # the digest of what the last streamed change left
    last: Stamp | None = None  # and its stamp
    for change in changes:
        now = decode(change.body) if change.body else {}
        stamp = change.stamp
        within = last is not None and last.at == stamp.at and stamp.begins <= last.sequence
        gap = bool(stamp.before and streamed and stamp.before != streamed and not within)
        found.append(Event(stamp, gap, tuple(differences(before, now)), now))
        before = now
        if stamp.sequence:
            streamed, last = digest(change.body) if change.body else None, stamp
    return found
