"""One run of the enroller: it enables the tables that the rule selects and nobody decided about,
and goes on with their backfills until its time is over.

Nothing is done twice: what was done is on record, a run that was killed is continued by the next
one, and a backfill continues where its checkpoints say. What happens to one table keeps no other
from its turn.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Lock
from typing import NamedTuple

from backfill.run import SEGMENTS, Backfill, confirm
from stream_backup.archive.catalog import Catalog
from stream_backup.aws.capacity import units_of
from stream_backup.aws.connection import Connection
from stream_backup.aws.several import Deliver, Several, TableOutcome, Translate
from stream_backup.aws.table import look_up, names, require, tags_of
from stream_backup.capture.enabler import Enabler
from stream_backup.capture.state import keep_holes
from stream_backup.core.key import KeySchema
from stream_backup.core.records import Live, Run
from stream_backup.drill.facts import caller
from stream_backup.enrol.rule import EnrolRule, Tags
from stream_backup.enrol.state import EnrolStep, begun, step_of
from stream_backup.errors import StreamBackupError

AT_ONCE = 8
"""Tables that are looked at and enabled at once, as by `enable --match`."""

ENABLING = 180.0
"""Seconds that must be left to enable a table: its stream and mapping take up to two minutes."""

SHORTEST = 60.0
"""Seconds that a backfill gets at least."""

TAGS_EVERY = 0.2
"""Seconds between two requests for tags. AWS takes ten a second of a whole account (Amazon DynamoDB
API Reference, "ListTagsOfResource"), and others need some of them."""

PAGE = 256
"""Read capacity units of the largest page: 1 MB, read consistently (Amazon DynamoDB Developer
Guide, "DynamoDB read and write operations")."""


class Enrolled(NamedTuple):
    """What a run did: the tables that it enabled, those whose backfill it completed, those that
    failed and why, and those whose turn did not come or whose backfill goes on in the next run."""

    enabled: tuple[str, ...]
    backfilled: tuple[str, ...]
    failed: dict[str, str]
    left: tuple[str, ...]


@dataclass(slots=True)
class EnrolRun:
    """`end` is when the run is over, in seconds of the monotonic clock. `note` receives a table and
    a sentence for each thing that is done about it, `warn` for each that needs somebody. `known`
    translates errors."""

    connection: Connection
    rule: EnrolRule
    end: float
    note: Callable[[str, str], None]
    warn: Callable[[str, str], None]
    known: Translate
    _steps: dict[str, EnrolStep] = field(default_factory=dict)
    _enabled: list[str] = field(default_factory=list)
    _left: list[str] = field(default_factory=list)
    _tags: Lock = field(default_factory=Lock)

    def run(self) -> Enrolled:
        """Does it. Raises what keeps it from learning which tables there are, and UsageError when
        the stack or its bucket is missing."""
        enabler = Enabler(self.connection, None, stream_only=False)
        # Created before there are threads. A missing stack is one error, not one of each table.
        _ = enabler.name, enabler.client, self.connection.store
        by = caller(self.connection)

        def work(table: str, _: Deliver) -> None:
            self._look(enabler, table, by)

        tables = sorted(names(self.connection.dynamodb))
        looked = Several(tables, work, known=self.known, at_once=AT_ONCE).run()
        done, failed = self._backfill_all(_failures(looked.named("failed")))
        return Enrolled(tuple(sorted(self._enabled)), done, failed, tuple(sorted(self._left)))

    def _look(self, enabler: Enabler, table: str, by: str) -> None:
        """Looks at one table, and enables it if that is its next step."""
        stack = enabler.stack
        live: Live | None = None

        def tags() -> Tags:
            nonlocal live
            if stack is None or not stack.reads(table):
                return {}  # The function cannot read its stream, so its tags do not matter.
            live, _ = look_up(self.connection.dynamodb, table)
            if live is None:
                return {}
            with self._tags:
                time.sleep(TAGS_EVERY)
                found = tags_of(self.connection.dynamodb, live.description["TableArn"])
            return {tag["Key"]: tag["Value"] for tag in found}

        why = self.rule.why(table, tags)
        live = live or (look_up(self.connection.dynamodb, table)[0] if why else None)
        if not why or live is None:
            return
        if stack:
            stack.require(table)
        step = step_of(self.connection, table, live)
        if step.step == "trouble":
            self.warn(table, f"Left alone, because {step.why}.")
        if step.step == "enable":
            step = self._enable(enabler, table, live, by, why)
        if step.step == "backfill":
            self._steps[table] = step
        elif step.step == "later":
            self._left.append(table)

    def _enable(self, enabler: Enabler, table: str, live: Live, by: str, why: str) -> EnrolStep:
        if self.end - time.monotonic() < ENABLING:
            return EnrolStep("later")
        catalog = Catalog(self.connection.archive(table))
        record = begun(live, self.connection.clock(), by, why)
        catalog.write_enrolment(record)
        try:
            enabler.enable(table)
        except Exception as error:
            if found := self.known(error):
                enabler.fail(table, found)
            raise
        catalog.write_enrolment(replace(record, enabled=self.connection.clock()))
        self._enabled.append(table)
        self.note(table, f"Enabled, because {why}.")
        return EnrolStep("backfill")

    def _backfill_all(self, failed: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """Goes on with each backfill, the one that was not worked on for the longest time first.
        Each gets its share of the time that is left."""
        waiting = sorted(self._steps, key=lambda table: (self._steps[table].worked, table))
        done: list[str] = []
        for index, table in enumerate(waiting):
            left = self.end - time.monotonic()
            if left < SHORTEST:
                self._left += waiting[index:]
                break
            seconds = max(SHORTEST, left / (len(waiting) - index))
            try:
                run = self._backfill(table, min(seconds, left))
            except Exception as error:  # noqa: BLE001 - whatever it is, the others have their turn
                failed[table] = _sentence(self.known(error), error)
                continue
            if run.complete:
                done.append(table)
            else:
                self._left.append(table)
        return tuple(done), failed

    def _backfill(self, table: str, seconds: float) -> Run:
        """Goes on with the backfill of one table for so many seconds, and returns its record."""
        dynamodb = self.connection.dynamodb
        live, _ = require(dynamodb, table)
        archive = self.connection.archive(table, KeySchema.of(live.description))
        units, until = units_of(live, self.rule.share), time.monotonic() + seconds

        def is_over() -> bool:
            return time.monotonic() >= until

        segments = self._segments(Catalog(archive), live, units, seconds)
        work = Backfill(dynamodb, archive, segments, units, lambda _: None, Event(), over=is_over)
        run, _ = work.begin(without_stream=False)
        run, counts = work.execute(run)
        if run.complete:
            run = confirm(dynamodb, archive, run)
            keep_holes(self.connection, table)
            self.note(table, f"Backfill complete: {counts.read:,} items read.")
        else:
            self.note(table, f"{counts.read:,} items read; the next run goes on.")
        return run

    def _segments(
        self, catalog: Catalog, live: Live, units: float | None, seconds: float
    ) -> int | None:
        """Those of the run that is resumed. A new run of a table with little read capacity has so
        few that a page of each is within it: every run reads one page of every segment."""
        begun_before = any(run.stream == live.label and not run.complete for run in catalog.runs())
        if units is None or begun_before:
            return None
        return max(1, min(SEGMENTS, int(units * seconds // PAGE)))


def _failures(found: list[TableOutcome]) -> dict[str, str]:
    return {each.table: each.reason for each in found}


def _sentence(known: StreamBackupError | None, error: Exception) -> str:
    return str(known) if known else type(error).__name__
