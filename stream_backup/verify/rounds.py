"""Comparisons of the rows on which table and archive did not agree, until each is judged: a row is
read again, and then its history is listed and read again, until it is clear that no change was
merely on its way."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from stream_backup.archive.layout import History
from stream_backup.archive.slices import SLICES
from stream_backup.core.item import digest, encode
from stream_backup.core.witness import GRACE
from stream_backup.errors import ArchiveError
from stream_backup.verify.compare import Patience, Suspect, Wrong, depth, weigh
from stream_backup.verify.looks import Looks, newest_of
from stream_backup.verify.rows import SuspectSpool, close, spooled

PAUSE, LONGEST_PAUSE = 1.0, 4.0
"""Seconds between two rounds: twice as many each time, up to the longest."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Compares again what a first comparison (`looks`) has left open, and adds to its findings."""

    looks: Looks

    def settle(
        self,
        spools: list[SuspectSpool],
        rows: int,
        grace: float,
        judged: Callable[[], None],
    ) -> None:
        """Compares the rows that were left open again until all are judged; calls `judged` for
        each. Closes the spools."""
        digits, pause = depth(rows + self.looks.findings.versions), PAUSE
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
                lambda part: self._again(left[part], digits, patience, judged), self.looks.stop
            )
        finally:
            close(spools)

    def _again(
        self,
        suspects: Iterable[Suspect],
        digits: int,
        patience: Patience,
        judged: Callable[[], None],
    ) -> Iterator[Suspect]:
        for prefix, found in groupby(suspects, lambda suspect: suspect.name[:digits]):
            if self.looks.stop.is_set():
                return
            group = list(found)
            names = {suspect.name for suspect in group}
            live = list(
                self.looks.pool.map(self._live, group)
            )  # before the archive, which comes later
            histories = {
                history.name: history
                for history in self.looks.archive.histories(prefix)
                if history.name in names
            }

            def judge(
                suspect: Suspect, live: str | None, histories: dict[str, History] = histories
            ) -> Suspect | None:
                return self._judge(suspect, live, histories.get(suspect.name), patience)

            for left in self.looks.pool.map(judge, group, live):
                if left:
                    yield left
                else:
                    judged()

    def _judge(
        self, suspect: Suspect, live: str | None, history: History | None, patience: Patience
    ) -> Suspect | None:
        try:
            archived, _, at = self.looks.answer(history, self.looks.wide)
        except ArchiveError as error:
            self.looks.findings.found("unreadable", suspect.key, str(error))
            return None
        verdict = weigh(suspect, live, archived, newest_of(history), time.monotonic(), patience)
        if isinstance(verdict, Suspect):
            return verdict
        self.looks.findings.found(verdict, suspect.key)
        if self.looks.wrong is not None and verdict not in ("equal", "gone"):
            self.looks.wrong.add(Wrong(verdict, suspect.name, suspect.key, at))
        return None

    def _live(self, suspect: Suspect) -> str | None:
        """Returns the MD5 of the row's present content, None when there is no row."""
        request: dict[str, Any] = {
            "TableName": self.looks.archive.table,
            "Key": json.loads(suspect.key),
            "ConsistentRead": True,
        }
        answer = self.looks.dynamodb.call(
            "get_item", request | {"ReturnConsumedCapacity": "TOTAL"}
        ).data
        self.looks.stop.wait(
            self.looks.budget.spend(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
        )
        return digest(encode(answer["Item"])) if "Item" in answer else None
