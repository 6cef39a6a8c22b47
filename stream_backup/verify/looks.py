"""Comparisons of table and archive: first of every row, by the listing, and again of those that
differ.

A row whose ETag in the listing is the MD5 of what was scanned needs no request of its own. Of the
others the versions are read. Where they still differ, the row is read again and its history is
listed and read again, until it is clear that no change was merely on its way.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from threading import Event
from typing import Any, NamedTuple

from stream_backup.archive.layout import Archive, History
from stream_backup.archive.slices import SLICES
from stream_backup.aws.capacity import ReadBudget
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.as_of import item_at
from stream_backup.core.item import digest, encode
from stream_backup.core.key import key_json
from stream_backup.core.time_rule import FOREVER, Lateness
from stream_backup.core.witness import GRACE
from stream_backup.errors import ArchiveError, LatenessError
from stream_backup.verify.compare import (
    Pair,
    Patience,
    Row,
    Suspect,
    Wrong,
    depth,
    listed_equal,
    paired,
    surely_equal,
    weigh,
)
from stream_backup.verify.findings import Findings
from stream_backup.verify.rows import Rows, SuspectSpool, WrongRows, close, spooled

CHUNK = 100
"""Items of each slice whose versions are read at the same time."""

PAUSE, LONGEST_PAUSE = 1.0, 4.0
"""Seconds between two rounds: twice as many each time, up to the longest."""


class _Answer(NamedTuple):
    """What an item is now according to the archive: the MD5 of its content, None for no item; and
    where a version was read, its key, and when it was stamped."""

    digest: str | None
    key: str
    at: int | None


_NOTHING = _Answer(None, "", None)


@dataclass(frozen=True, slots=True)
class Looks:
    """`floor` and `lateness` are those of the epoch that holds the present; `stop` ends it
    early. With `wrong`, nothing is taken for granted about the order in which versions were
    written, and the rows to repair are kept there."""

    dynamodb: DynamoDB
    archive: Archive
    pool: Executor
    budget: ReadBudget
    stop: Event
    findings: Findings
    floor: int
    lateness: Lateness = Lateness()  # noqa: RUF009 - it is frozen
    wrong: WrongRows | None = None

    def compare(self, rows: Rows, reached: Callable[[str], None]) -> list[SuspectSpool]:
        """Compares every row with the listing and returns the rows that are left open, slice by
        slice. Calls `reached` with each name."""
        return spooled(lambda part: self._walk(part, rows.of(part), reached), self.stop)

    def settle(
        self,
        spools: list[SuspectSpool],
        rows: int,
        grace: float,
        judged: Callable[[], None],
    ) -> None:
        """Compares the rows that were left open again until all are judged; calls `judged` for
        each. Closes the spools."""
        digits, pause = depth(rows + self.findings.versions), PAUSE
        patience = Patience(grace, time.monotonic() + grace + 2 * GRACE)
        try:
            while any(spool.count for spool in spools):
                spools = self._round(spools, digits, patience, judged)
                if any(spool.count for spool in spools):
                    time.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            close(spools)

    def _round(
        self,
        spools: list[SuspectSpool],
        digits: int,
        patience: Patience,
        judged: Callable[[], None],
    ) -> list[SuspectSpool]:
        left = dict(zip(SLICES, spools, strict=True))
        try:
            return spooled(
                lambda part: self._again(left[part], digits, patience, judged), self.stop
            )
        finally:
            close(spools)

    def _walk(
        self, part: str, rows: Iterable[Row], reached: Callable[[str], None]
    ) -> Iterator[Suspect]:
        for chunk in self._open(part, rows, reached):
            yield from filter(None, self.pool.map(self._first, chunk))

    def _open(
        self, part: str, rows: Iterable[Row], reached: Callable[[str], None]
    ) -> Iterator[list[Pair]]:
        """Yields what the listing alone does not answer, in order of name."""
        is_equal = listed_equal if self.wrong is None else surely_equal
        chunk: list[Pair] = []
        for pair in paired(rows, self.archive.histories(part)):
            if self.stop.is_set():
                return
            self.findings.listed(len(pair.history.versions) if pair.history else 0)
            reached(pair.name)
            if not is_equal(pair, self.floor, self.lateness):
                chunk.append(pair)
            elif pair.row:
                self.findings.found("equal")
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        yield chunk

    def _first(self, pair: Pair) -> Suspect | None:
        """Reads what the listing does not show: where contents differ, where a content came back,
        or where ETags are not MD5s."""
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
            _newest(pair.history),
            time.monotonic(),
        )

    def _again(
        self,
        suspects: Iterable[Suspect],
        digits: int,
        patience: Patience,
        judged: Callable[[], None],
    ) -> Iterator[Suspect]:
        for prefix, found in groupby(suspects, lambda suspect: suspect.name[:digits]):
            if self.stop.is_set():
                return
            group = list(found)
            names = {suspect.name for suspect in group}
            live = list(self.pool.map(self._live, group))  # before the archive, which comes later
            histories = {
                history.name: history
                for history in self.archive.histories(prefix)
                if history.name in names
            }

            def judge(
                suspect: Suspect, live: str | None, histories: dict[str, History] = histories
            ) -> Suspect | None:
                return self._judge(suspect, live, histories.get(suspect.name), patience)

            for left in self.pool.map(judge, group, live):
                if left:
                    yield left
                else:
                    judged()

    def _judge(
        self, suspect: Suspect, live: str | None, history: History | None, patience: Patience
    ) -> Suspect | None:
        try:
            archived, _, at = self._answer(history, self._wide)
        except ArchiveError as error:
            self.findings.found("unreadable", suspect.key, str(error))
            return None
        verdict = weigh(suspect, live, archived, _newest(history), time.monotonic(), patience)
        if isinstance(verdict, Suspect):
            return verdict
        self.findings.found(verdict, suspect.key)
        if self.wrong is not None and verdict not in ("equal", "gone"):
            self.wrong.add(Wrong(verdict, suspect.name, suspect.key, at))
        return None

    def _live(self, suspect: Suspect) -> str | None:
        """Returns the MD5 of the row's present content, None when there is no row."""
        request: dict[str, Any] = {
            "TableName": self.archive.table,
            "Key": json.loads(suspect.key),
            "ConsistentRead": True,
        }
        answer = self.dynamodb.call("get_item", request | {"ReturnConsumedCapacity": "TOTAL"}).data
        self.stop.wait(
            self.budget.spend(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
        )
        return digest(encode(answer["Item"])) if "Item" in answer else None

    @property
    def _wide(self) -> Lateness:
        return self.lateness.of_stream(announces=False)

    def _first_answer(self, pair: Pair) -> _Answer:
        """Returns `_answer`, and reports a version that is later than was announced."""
        try:
            return self._answer(pair.history, self.lateness)
        except LatenessError as error:
            answer = self._answer(pair.history, self._wide)
            self.findings.found("late", pair.row.key if pair.row else answer.key, str(error))
            return answer

    def _answer(self, history: History | None, lateness: Lateness) -> _Answer:
        if history is None:
            return _NOTHING
        found = item_at(history.versions, FOREVER, self.floor, self.archive.load, lateness)
        if found is None:
            # Nothing counts, or the version written last is a tombstone and the newest one.
            at = self.archive.stat(history.versions[0]).stamp.at if self.wrong is not None else None
            return _NOTHING._replace(at=at if at and at >= self.floor else None)
        change = self.archive.decode(found)
        body = None if change.body is None else digest(change.body)
        return _Answer(body, key_json(change.key), change.stamp.at)


def _newest(history: History | None) -> str:
    return history.versions[0].version_id if history else ""
