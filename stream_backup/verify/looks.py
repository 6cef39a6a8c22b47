"""Comparisons of table and archive: first of every row, by the listing, and again of those that
differ.

A row whose ETag in the listing is the MD5 of what was scanned needs no request of its own. Of the
others the versions are read. Where they still differ, the row is read again and its history is
listed and read again, until it is clear that no change was merely on its way.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.selection import histories_of
from stream_backup.archive.slices import SLICES, never
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.as_of import item_at
from stream_backup.core.item import digest
from stream_backup.core.key import key_json
from stream_backup.core.slice import NameSlice, cut_names
from stream_backup.core.time_rule import FOREVER, Lateness
from stream_backup.errors import ArchiveError, LatenessError
from stream_backup.verify.compare import (
    Pair,
    Row,
    Suspect,
    listed_equal,
    may_be_older,
    paired,
    surely_equal,
)
from stream_backup.verify.findings import Findings
from stream_backup.verify.rows import Rows, SuspectSpool, WrongRows, spooled

CHUNK = 100
"""Items of each slice whose versions are read at the same time."""

TURN = 1000
"""Items of each slice that are compared in one turn, even if few of them must be read: about as
many as a page of a listing has."""


class Archived(NamedTuple):
    """What an item is now according to the archive: the MD5 of its content, None for no item; and
    where a version was read, its key, and when it was stamped."""

    digest: str | None
    key: str
    at: int | None


_NOTHING = Archived(None, "", None)


class Looked(NamedTuple):
    """A turn of a comparison: how many items were compared, the slice as it is then, and the items
    that are left open."""

    items: int
    slice: NameSlice
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """`floor` and `lateness` are those of the epoch that holds the present. `older` is the lateness
    of older lives of the table, None when there are none. `stop` ends it early. With `wrong`,
    nothing is taken for granted about the order in which versions were written, and the rows to
    repair are kept there."""

    dynamodb: DynamoDB
    archive: Archive
    pool: Executor
    budget: ReadBudget
    stop: Event
    findings: Findings
    floor: int
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen
    wrong: WrongRows | None = None
    older: Lateness | None = None

    def compare(self, rows: Rows, reached: Callable[[str], None]) -> list[SuspectSpool]:
        """Compares every row with the listing and returns the rows that are left open, slice by
        slice. Calls `reached` with each name."""

        def suspects(digit: str) -> Iterator[Suspect]:
            part = cut_names(len(SLICES))[SLICES.index(digit)]
            for looked in self.walk(part, rows.within(part), reached):
                yield from looked.suspects

        return spooled(suspects, self.stop)

    def walk(
        self,
        part: NameSlice,
        rows: Iterable[Row],
        reached: Callable[[str], None] = lambda _: None,
        over: Callable[[], bool] = never,
    ) -> Iterator[Looked]:
        """Compares the `rows` of a slice with its histories in the listing, both in order of name,
        and yields how far it has come after each chunk. It ends with a slice that is done, or once
        `stop` is set, or after a chunk when the time is `over`. Calls `reached` with each name."""
        is_equal = listed_equal if self.wrong is None else surely_equal
        chunk: list[Pair] = []
        count = 0
        for pair in paired(rows, histories_of(self.archive, part)):
            if self.stop.is_set():
                return
            self.findings.listed(len(pair.history.versions) if pair.history else 0)
            reached(pair.name)
            count += 1
            unsure = may_be_older(pair, self.floor, self.older)
            if unsure or not is_equal(pair, self.floor, self.lateness):
                chunk.append(pair)
            elif pair.row:
                self.findings.found("equal")
            if len(chunk) >= CHUNK or count >= TURN:
                # Not every server can begin a listing after a name that does not exist.
                part = part.reached(pair.name) if pair.history else part
                yield Looked(count, part, self._read(chunk))
                chunk, count = [], 0
                if pair.history and over():
                    return
        yield Looked(count, part.finished(), self._read(chunk))

    def _read(self, chunk: list[Pair]) -> tuple[Suspect, ...]:
        return tuple(filter(None, self.pool.map(self._first, chunk)))

    def _first(self, pair: Pair) -> Suspect | None:
        """Reads what the listing does not show: where contents differ, where a content came back or
        may be of an older life, or where ETags are not MD5s."""
        try:
            archived, key, _ = self._first_answer(pair)
        except ArchiveError as error:
            self.findings.found("unreadable", pair.row.key if pair.row else "", str(error))
            return None
        live = pair.row.digest if pair.row else None
        if archived == live:
            self.findings.found("equal" if live else "gone")
            return None
        return Suspect(
            pair.name,
            pair.row.key if pair.row else key,
            (live,),
            newest_of(pair.history),
            time.monotonic(),
        )

    @property
    def wide(self) -> Lateness:
        """The bound that holds whether or not writers announce."""
        return self.lateness.of_stream(announces=False)

    def _first_answer(self, pair: Pair) -> Archived:
        """Returns `_answer`, and reports a version that is later than was announced."""
        try:
            return self.answer(pair.history, self.lateness)
        except LatenessError as error:
            answer = self.answer(pair.history, self.wide)
            self.findings.found("late", pair.row.key if pair.row else answer.key, str(error))
            return answer

    def answer(self, history: History | None, lateness: Lateness) -> Archived:
        """Returns what an item is now according to its history. Raises ArchiveError when a version
        that it needs cannot be read."""
        if history is None:
            return _NOTHING
        found = item_at(history.versions, FOREVER, self.floor, self.archive.load, lateness)
        if found is None:
            # Nothing counts, or the version written last is a tombstone and the newest one.
            at = self.archive.stat(history.versions[0]).stamp.at if self.wrong is not None else None
            return _NOTHING._replace(at=at if at and at >= self.floor else None)
        change = self.archive.decode(found)
        body = None if change.body is None else digest(change.body)
        return Archived(body, key_json(change.key), change.stamp.at)


def newest_of(history: History | None) -> str:
    """Returns the id of the version written last, empty where there is none."""
    return history.versions[0].version_id if history else ""
