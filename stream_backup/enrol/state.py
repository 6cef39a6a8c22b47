"""What is to be done about one table that the rule selects."""

from dataclasses import dataclass
from typing import Literal

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.capture.left_alone import reason_to_skip
from stream_backup.core.records import Enrolment, Live, Stream

Step = Literal["enable", "backfill", "nothing", "trouble", "later"]


@dataclass(frozen=True, slots=True)
class EnrolStep:
    """`enable` it, `backfill` it, do `nothing`, or look at it `later`; `trouble` is nothing too,
    but somebody should look at it. `why` says why nothing is done. `worked` is when its backfill
    was last worked on, in epoch seconds, 0 if it was not begun."""

    step: Step
    why: str = ""
    worked: int = 0


def step_of(connection: Connection, table: str, live: Live) -> EnrolStep:
    """Returns the next step for a table that the rule selects. What somebody decided comes first: a
    table that was disabled, or whose stream was switched off without `disable`, is left alone until
    somebody enables it. Only what the stack enabled is backfilled."""
    status = live.description.get("TableStatus")
    if status in ("CREATING", "DELETING", "ARCHIVING", "ARCHIVED"):
        return EnrolStep("later")
    if reason := reason_to_skip(connection, table):
        return EnrolStep("nothing", reason)
    catalog, identity = Catalog(connection.archive(table)), live.description.get("TableId", "")
    newest = next(reversed(catalog.streams()), None)
    enrolment = catalog.enrolment(identity)
    if newest is None or newest.table_id != identity:
        return EnrolStep("enable" if status == "ACTIVE" else "later")
    if enrolment is None and newest.label == live.label:
        return EnrolStep("nothing")  # Somebody enabled it, and decides about its backfill.
    if enrolment and not enrolment.enabled:
        return EnrolStep("enable" if status == "ACTIVE" else "later")
    if newest.label != live.label:
        return EnrolStep("trouble", "its stream was switched off without `disable`")
    return _backfill(catalog, newest)


def _backfill(catalog: Catalog, stream: Stream) -> EnrolStep:
    runs = [run for run in catalog.runs() if run.stream == stream.label]
    if any(run.complete for run in runs):
        return EnrolStep("nothing")
    return EnrolStep("backfill", worked=max((run.answered for run in runs), default=0))


def begun(live: Live, now: int, by: str, why: str) -> Enrolment:
    """Returns the record to write before a table is enabled: if that is interrupted, it shows that
    the table was not enabled by a person, and is to be enabled completely."""
    return Enrolment(live.description.get("TableId", ""), now, 0, by, why)
