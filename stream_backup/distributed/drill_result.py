"""The result of a distributed drill, from what its workers reported, and its end: the scratch table
is removed and the record is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stream_backup.archive.catalog import Catalog
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import translate
from stream_backup.core.drill import DrillRecord
from stream_backup.distributed.one_drill import (
    COMPARED,
    COMPARED_AGAIN,
    REWOUND,
    SCANNED,
    OneDrill,
)
from stream_backup.distributed.records import KEPT_FAILURES, JobFailure
from stream_backup.distributed.worker import last_round
from stream_backup.drill.compare import NAMED
from stream_backup.drill.facts import software
from stream_backup.drill.judgement import Done, how_compared, judge, troubles_of
from stream_backup.drill.scratch import Scratch, remove

STOPPED = "It was stopped before it was complete."
NOT_REMOVED = "Scratch table {name} could not be removed: {why}"


def result_of(
    one: OneDrill, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
) -> DrillRecord:
    """Returns the record of a drill that has ended, with these counts; `left` slices are not done,
    for instance because of these `failures`. One that was ended early has failed if something
    differs already, or if an error ended it."""
    record = _facts(one, counts)
    items, differ = (_both(counts, name) for name in ("items", "differ"))
    troubles = [
        *_troubles(one, counts, "restore", SCANNED),
        *_troubles(one, counts, "rewind", REWOUND + 1),
    ]
    result, reason = judge(differ, items, troubles)
    if not left:
        return replace(record, result=result, reason=reason)
    errors, why = _why_early(one, failures)
    result = "failed" if result == "failed" or errors else "interrupted"
    return replace(record, result=result, reason=" ".join(filter(None, [reason, why])))


def end_drill(connection: Connection, scratch: Scratch, record: DrillRecord) -> DrillRecord:
    """Removes the scratch table, writes the record, and returns it. A drill whose scratch table
    cannot be removed has failed: the next one removes it."""
    try:
        remove(connection.dynamodb, scratch)
    except Exception as error:  # noqa: BLE001 - whatever it is, the drill is put on record
        known = translate(error)
        why = NOT_REMOVED.format(name=scratch.name, why=known or type(error).__name__)
        reason = " ".join(filter(None, [record.reason, why]))
        record = replace(record, result="failed", reason=reason)
    record = replace(record, ended=connection.clock())
    Catalog(connection.archive(record.table)).write_drill(record)
    return record


def _facts(one: OneDrill, counts: Mapping[str, int]) -> DrillRecord:
    """What is known of a drill, whatever its result."""
    order, record = one.order, one.order.record
    begun = {number: one.bucket.stage(one.job.name, number) for number in range(1, 7)}
    last = max((number for number, start in begun.items() if start), default=0)
    versions = {f"worker {name}": known for name, known in software().items()}
    record = replace(record, versions={**(record.versions or {}), **versions})
    if start := begun[SCANNED]:
        rows = counts.get("restore written", 0)
        seconds = max(1, int(start.settings["restored"]) - order.restoring)
        speed = round(rows / seconds, 1)
        record = replace(record, rows=rows, restore_seconds=float(seconds), rows_per_second=speed)
    if last > COMPARED:
        record = replace(record, compared=how_compared(rewound=last > COMPARED_AGAIN))
    if order.rewind and last >= REWOUND:
        record = replace(record, rewound_to=order.rewind.moment)
    examples = _kept(one, "examples", *(COMPARED + 1, COMPARED_AGAIN + 1))
    return replace(
        record,
        compared_items=_both(counts, "items"),
        compared_versions=_both(counts, "compared_versions"),
        differences=_both(counts, "differ"),
        examples=tuple(dict.fromkeys(examples))[:NAMED],
    )


def _both(counts: Mapping[str, int], name: str) -> int:
    """A count of both comparisons."""
    return counts.get(f"compare {name}", 0) + counts.get(f"compare again {name}", 0)


def _troubles(one: OneDrill, counts: Mapping[str, int], stage: str, following: int) -> list[str]:
    """What a restore or a rewind reported as not done; the stage after it has the example."""
    left = "failed" if stage == "restore" else "left"
    what: Done = "restored" if stage == "restore" else "rewound"
    first = next(iter(_kept(one, "unreadable", following)), "it is named in no report.")
    unreadable = counts.get(f"{stage} unreadable", 0)
    return troubles_of(what, counts.get(f"{stage} {left}", 0), unreadable, first)


def _kept(one: OneDrill, name: str, *stages: int) -> Iterable[str]:
    """What the stages before these have kept under a name."""
    for stage in stages:
        for each in one.kept_for(stage):
            yield from each.get(name, ())


def _why_early(one: OneDrill, failures: Sequence[JobFailure]) -> tuple[bool, str]:
    """Returns whether an error ended a drill early, and why it ended."""
    if one.bucket.is_stopped(one.job.name):
        return False, STOPPED
    number = last_round(one.bucket, one.job.name)
    failed = one.bucket.failures(one.job.name, number, KEPT_FAILURES)
    texts = dict.fromkeys(each.text for each in [*failed, *failures])
    return bool(failed), " ".join(texts) or "Its workers did not get on with it."
