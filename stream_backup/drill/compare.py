"""Slices of a copy, compared with an independent reading of the archive: what one worker does, in
any process.

Rows and items are in order of name, and each name is on one side, or on both. A row that is only on
one side is a difference, and so is an item with a version that cannot be read.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from threading import Event
from typing import Any, NamedTuple, TypeVar

import orjson

from stream_backup.archive.layout import Archive
from stream_backup.archive.selection import histories_of
from stream_backup.archive.slices import never, run_slices
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.record import Record
from stream_backup.core.slice import NameSlice
from stream_backup.drill.reading import item_then
from stream_backup.errors import ArchiveError
from stream_backup.verify.compare import Pair, paired
from stream_backup.verify.shares import SomeRows

CHUNK = 100
"""Items of a slice that are read at the same time."""

NAMED = 20
"""Differences that are named at most."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CompareOrder(Record):
    """A copy has the rows of `moment`, in an epoch with this `floor`. Every worker must be given
    the same order."""

    moment: int
    floor: int


@dataclass(frozen=True, slots=True)
class CopyCompared:
    """What was found in one slice: the `slice` as it is to be continued, how many items were
    compared, with how many versions, how many of them differ, and the keys of the first that do.
    The counts are those of this call."""

    slice: NameSlice
    items: int = 0
    versions: int = 0
    differ: int = 0
    examples: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Returns the counts by name."""
        return {"items": self.items, "compared_versions": self.versions, "differ": self.differ}

    def record(self) -> dict[str, Any]:
        """Returns the result as a JSON object. It names keys, and has no contents."""
        found = {"slice": self.slice.record(), "counts": self.counts}
        return found | {"examples": list(self.examples)}


class _Read(NamedTuple):
    """One item that was compared: its name, its versions, and what names it if it differs."""

    name: str
    versions: int
    differs: str | None


def compare_copy(
    order: CompareOrder,
    parts: Sequence[NameSlice],
    archive: Archive,
    rows: SomeRows,
    pool: Executor,
    stop: Event,
    report: Callable[[int, str], None] = lambda *_: None,
    over: Callable[[], bool] = never,
    at_once: int | None = None,
) -> list[CopyCompared]:
    """Compares as much of these slices of `rows`, which are those of the copy, as there is time
    for, all at once: of each at least one chunk. With `at_once`, so many are done at once, and one
    that was not begun when the time is over is left as it is. `archive` has the items that were
    copied, and its key schema. Calls `report` after each chunk, with its number of items and the
    last of their names."""
    assert archive.schema is not None
    read, most = _reader(order, archive, archive.schema), at_once or len(parts)

    def one(number: str) -> CopyCompared:
        part = parts[int(number)]
        if int(number) >= most and (stop.is_set() or over()):
            return CopyCompared(part)
        items = versions = differ = 0
        examples: list[str] = []
        reached = part.finished()
        pairs = paired(rows.within(part), histories_of(archive, part))
        for chunk in chunks(pairs, CHUNK):
            if stop.is_set():
                reached = part
                break
            found = list(pool.map(read, chunk))
            differences = [each.differs for each in found if each.differs is not None]
            items += len(found)
            versions += sum(each.versions for each in found)
            differ += len(differences)
            examples = [*examples, *differences][:NAMED]
            part = part.reached(found[-1].name)
            report(len(found), found[-1].name)
            if over():
                reached = part
                break
        return CopyCompared(reached, items, versions, differ, tuple(examples))

    return run_slices(one, [str(number) for number in range(len(parts))], stop, at_once)


def _reader(order: CompareOrder, archive: Archive, schema: KeySchema) -> Callable[[Pair], _Read]:
    def read(pair: Pair) -> _Read:
        history = pair.history
        versions = len(history.versions) if history else 0
        try:
            body = item_then(archive, history, order.moment, order.floor) if history else None
        except ArchiveError as error:
            return _Read(pair.name, versions, str(error))
        expected = digest(body) if body is not None else None
        present = pair.row.digest if pair.row else None
        differs = None if expected == present else _key(pair, body, schema)
        return _Read(pair.name, versions, differs)

    return read


def _key(pair: Pair, body: bytes | None, schema: KeySchema) -> str:
    """The key of an item that differs: of the row, otherwise of what the archive has."""
    if pair.row or body is None:
        return pair.row.key if pair.row else pair.name
    return key_json(schema.key_of(orjson.loads(body)))


def chunks(values: Iterator[Value], size: int) -> Iterator[list[Value]]:
    """Yields these values so many at a time."""
    while chunk := list(islice(values, size)):
        yield chunk
