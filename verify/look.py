"""Looks at table and archive: once at everything, by the listing, and again at what they did not agree on.

A row whose ETag in the listing is the MD5 of what was scanned needs no look of its own. Of the others the versions are read,
and where they still differ the row is read again, and its history listed and read again, until it is clear that nothing was
merely under way.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from threading import Event
from typing import Any

from backfill.capacity import Capacity
from restore.load import run_shards
from restore.order import GRACE
from stream_backup.archive import SHARDS, Archive, History
from stream_backup.dynamodb import DynamoDB
from stream_backup.errors import ArchiveError
from stream_backup.item import digest, encode
from stream_backup.key import key_json
from stream_backup.timeline import FOREVER, item_at
from verify.compare import Pair, Patience, Row, Suspect, depth, listed_equal, paired, weigh
from verify.rows import Rows, Spool
from verify.tally import Tally

CHUNK = 100
"""Items whose versions are read at the same time, of each shard."""

PAUSE, LONGEST_PAUSE = 1.0, 4.0
"""Seconds between one round of looks and the next: twice as many each time, up to the longest."""


@dataclass(frozen=True, slots=True)
class Looks:
    """`floor` of the epoch that holds the present; `lateness` as in `item_at`; `stop` ends it early."""

    dynamodb: DynamoDB
    archive: Archive
    pool: Executor
    capacity: Capacity
    stop: Event
    tally: Tally
    floor: int
    lateness: int = 0

    def compare(self, rows: Rows, reached: Callable[[str], None]) -> list[Spool]:
        """Every row with the listing; what is left open, shard by shard. `reached` is told each name."""
        return run_shards(lambda shard: Spool(self._walk(shard, rows.of(shard), reached)), SHARDS, self.stop)

    def settle(self, spools: list[Spool], rows: int, grace: float, judged: Callable[[], None]) -> None:
        """Looks again at what was left open until all of it is judged; `judged` is called for each. Closes the spools."""
        digits, pause = depth(rows + self.tally.versions), PAUSE
        patience = Patience(grace, time.monotonic() + grace + 2 * GRACE)
        while any(spool.count for spool in spools):
            spools = self._round(spools, digits, patience, judged)
            if any(spool.count for spool in spools):
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        for spool in spools:
            spool.close()

    def _round(self, spools: list[Spool], digits: int, patience: Patience, judged: Callable[[], None]) -> list[Spool]:
        left = dict(zip(SHARDS, spools, strict=True))
        try:
            return run_shards(lambda shard: Spool(self._again(left[shard], digits, patience, judged)), SHARDS, self.stop)
        finally:
            for spool in spools:
                spool.close()

    def _walk(self, shard: str, rows: Iterable[Row], reached: Callable[[str], None]) -> Iterator[Suspect]:
        for chunk in self._open(shard, rows, reached):
            yield from filter(None, self.pool.map(self._first, chunk))

    def _open(self, shard: str, rows: Iterable[Row], reached: Callable[[str], None]) -> Iterator[list[Pair]]:
        """What the listing alone does not answer, in order of name."""
        chunk: list[Pair] = []
        for pair in paired(rows, self.archive.histories(shard)):
            if self.stop.is_set():
                return
            self.tally.listed(len(pair.history.versions) if pair.history else 0)
            reached(pair.name)
            if not listed_equal(pair, self.floor, self.lateness):
                chunk.append(pair)
            elif pair.row:
                self.tally.found("equal")
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        yield chunk

    def _first(self, pair: Pair) -> Suspect | None:
        """Reads what the listing does not tell: where contents differ, where they came back, or where ETags are no MD5."""
        try:
            archived, key = self._answer(pair.history)
        except ArchiveError as error:
            self.tally.found("unreadable", pair.row.key if pair.row else "", str(error))
            return None
        live = pair.row.digest if pair.row else None
        if archived == live:
            self.tally.found("equal" if live else "gone")
            return None
        return Suspect(pair.name, pair.row.key if pair.row else key, (live,), _newest(pair.history), time.monotonic())

    def _again(
        self, suspects: Iterable[Suspect], digits: int, patience: Patience, judged: Callable[[], None]
    ) -> Iterator[Suspect]:
        for prefix, found in groupby(suspects, lambda suspect: suspect.name[:digits]):
            if self.stop.is_set():
                return
            group = list(found)
            names = {suspect.name for suspect in group}
            live = list(self.pool.map(self._live, group))  # before the archive, which follows
            histories = {history.name: history for history in self.archive.histories(prefix) if history.name in names}

            def judge(suspect: Suspect, live: str | None, histories: dict[str, History] = histories) -> Suspect | None:
                return self._judge(suspect, live, histories.get(suspect.name), patience)

            for left in self.pool.map(judge, group, live):
                if left:
                    yield left
                else:
                    judged()

    def _judge(self, suspect: Suspect, live: str | None, history: History | None, patience: Patience) -> Suspect | None:
        try:
            archived, _ = self._answer(history)
        except ArchiveError as error:
            self.tally.found("unreadable", suspect.key, str(error))
            return None
        verdict = weigh(suspect, live, archived, _newest(history), time.monotonic(), patience)
        if isinstance(verdict, Suspect):
            return verdict
        self.tally.found(verdict, suspect.key)
        return None

    def _live(self, suspect: Suspect) -> str | None:
        """What the row is now, as the MD5 of its content."""
        request: dict[str, Any] = {"TableName": self.archive.table, "Key": json.loads(suspect.key), "ConsistentRead": True}
        answer = self.dynamodb.call("get_item", request | {"ReturnConsumedCapacity": "TOTAL"}).data
        self.stop.wait(self.capacity.spend(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)))
        return digest(encode(answer["Item"])) if "Item" in answer else None

    def _answer(self, history: History | None) -> tuple[str | None, str]:
        """What the archive says the item is now: the MD5 of its content, and its key where a version had to be read."""
        found = item_at(history.versions, FOREVER, self.floor, self.archive.read, self.lateness) if history else None
        if found is None:
            return None, ""
        return None if found.body is None else digest(found.body), key_json(found.key)


def _newest(history: History | None) -> str:
    return history.versions[0].version_id if history else ""
