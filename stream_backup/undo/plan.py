"""What an undo has to do, computed from the archive alone: from a window, or from the receipt of an
earlier run. It only reads."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

from stream_backup.archive.layout import Archive
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import CONCURRENCY
from stream_backup.aws.dynamodb import Caller
from stream_backup.aws.row import read_row
from stream_backup.core.chain import found_by
from stream_backup.core.change import Change
from stream_backup.core.edits import applied, as_value, value_at
from stream_backup.core.item import Item, decode, digest, encode
from stream_backup.core.key import key_hash
from stream_backup.core.time_rule import first_stamp, latest_stamp
from stream_backup.core.values import same
from stream_backup.errors import ArchiveError
from stream_backup.inspect.window import Changed, Examined, Window, changes
from stream_backup.progress import Progress
from stream_backup.undo.damage import Damage, Layer
from stream_backup.undo.receipts import ReceiptFile, Sent

One = TypeVar("One")
Other = TypeVar("Other")


def in_parallel(
    work: Callable[[One], Other], todo: Iterable[One], pool: Executor
) -> Iterator[Other]:
    """Yields what `work` returns for each of `todo`, in their order, CONCURRENCY at a time."""
    rest = iter(todo)
    while chunk := [*islice(rest, CONCURRENCY)]:
        yield from pool.map(work, chunk)


def of_window(
    window: Window,
    chosen: Selection,
    where: Callable[[Changed], bool],
    floor_now: int,
    pool: Executor,
    examined: Examined,
    progress: Progress,
) -> Iterator[Damage]:
    """Yields the selected rows that changed in a window and did not end as they began, of which
    `where` is true. A row that cannot be read is counted in `examined` instead."""

    def damage(changed: Changed) -> Damage | None:
        try:
            since = window.after(changed, floor_now)
        except ArchiveError as error:
            examined.unreadable.append(error)
            return None
        last = since.changes[-1].stamp if since.changes else None
        expired = bool(since.present is None and last and last.by == "ttl")
        states = dict.fromkeys(each.body for each in since.changes)
        before, damaged, present, *rest = map(
            _item, (changed.before, changed.after, since.present, *states)
        )
        layer = Layer(before, damaged, tuple(rest))
        return Damage(changed.key, (layer,), present, expired)

    found = changes(window, chosen, pool, examined, progress)
    differing = (each for each in found if each.differs and where(each))
    return (each for each in in_parallel(damage, differing, pool) if each)


def of_receipt(
    receipt: ReceiptFile, chosen: Selection, table: Caller, pool: Executor
) -> Iterator[Damage]:
    """Yields the selected rows of a receipt. A request without an outcome was executed if the
    archive shows that. `table` is read for the rows as they are now.

    Raises ArchiveError when a version cannot be read.
    """
    names = {key_hash(key) for key in chosen.keys}

    def damage(sent: Sequence[Sent]) -> Damage:
        key = sent[0].line.key
        present = read_row(table, chosen.archive.table, key)
        changes = _changes(chosen.archive, key, sent[-1].time)
        return Damage(key, tuple(_layers(sent, changes)), present)

    rows = receipt.rows()
    wanted = (each for each in rows if not names or key_hash(each[0].line.key) in names)
    return in_parallel(damage, wanted, pool)


def _changes(archive: Archive, key: Item, sent: int) -> list[Change]:
    """The changes of a row that may have been made in the second `sent` or later, by rank. Of one
    that was also merged with others, the version that stands for the fewest says most."""
    first = first_stamp(sent)
    versions = (each for each in archive.history(key).versions if latest_stamp(each) >= first)
    widest_first = sorted(map(archive.read, versions), key=lambda change: change.stamp.begins)
    found = {change.stamp.rank: change for change in widest_first}
    return [found[rank] for rank in sorted(found) if found[rank].stamp.at >= first]


def _layers(sent: Sequence[Sent], changes: Sequence[Change]) -> Iterator[Layer]:
    """The layers of a row: its requests from the last to the first. What a later request did is
    taken out of the states since an earlier one, because it is undone before that."""
    bodies = [_item(change.body) for change in changes]
    end = len(bodies)
    for each in sent:
        at = _found(each, changes, bodies, end)
        since = bodies[at + 1 :] if at is not None else []
        line = each.line
        yield Layer(line.before, line.after, tuple(since), not each.certain and at is None)
        if at is not None:
            bodies[at:] = [_without(each, body) for body in bodies[at:]]
            end = at


def _found(
    sent: Sent, changes: Sequence[Change], bodies: Sequence[Item | None], end: int
) -> int | None:
    """The index of the change that this request made, None where the archive does not show it. It
    is before `end`. Of an update only the paths are compared: other writers may have changed
    others."""
    earliest = first_stamp(sent.time)
    paths = [edit.path for edit in sent.line.edits] or [()]
    for at in reversed(range(end)):
        if changes[at].stamp.at < earliest:
            return None
        before, after = sent.line.before, sent.line.after
        if not all(same(value_at(bodies[at], path), value_at(after, path)) for path in paths):
            continue
        if at and all(
            same(value_at(bodies[at - 1], path), value_at(before, path)) for path in paths
        ):
            return at
        if found_by(changes[at].stamp) == (None if before is None else digest(encode(before))):
            return at
    return None


def _without(sent: Sent, state: Item | None) -> Item | None:
    """A state of a row without what a request did to it, where that is still there."""
    line = sent.line
    if not line.edits:
        return line.before if same(as_value(state), as_value(line.after)) else state
    edits = [
        edit._replace(now=edit.after, after=edit.now)
        for edit in line.edits
        if state is not None and same(value_at(state, edit.path), edit.after)
    ]
    try:
        return applied(state, edits)
    except KeyError:  # a map around the path is gone
        return state


def _item(body: bytes | None) -> Item | None:
    return None if body is None else decode(body)
