"""What the parts of a distributed run tell each other, as JSON in the work bucket: the job, what
became of a slice, and how the job stands and ends."""

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Object
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from stream_backup import errors
from stream_backup.core.record import Record
from stream_backup.core.slice import Slice, slice_of
from stream_backup.errors import StreamBackupError

TaskName = Literal["backfill", "restore", "verify", "drill"]

RESUMED = frozenset({"backfill", "restore"})
"""The tasks of which another run does only what is left."""

LATEST = frozenset({"seen"})
"""Counts that are not added up: of these the greatest counts."""

KEPT_FAILURES = 20
"""How many failures are kept of a job."""


def noun_of(task: TaskName) -> str:
    """Returns the name of a task in a sentence."""
    return "verification" if task == "verify" else task


def again(task: TaskName) -> str:
    """Returns what to do when a run did not complete."""
    if task in RESUMED:
        return "Run the same command again: only what is left is done again."
    return f"Run the same command again: it begins another {noun_of(task)}."


@dataclass(frozen=True, slots=True)
class DistributedJob(Record):
    """A distributed run of one table: `slices` at its start, at most `at_once` of them worked on at
    once. `read_units` and `write_units` are the capacity units a second that all workers together
    may use, None for no limit. `settings` are those of the task, which has so many `stages`."""

    name: str
    task: TaskName
    table: str
    slices: int
    at_once: int
    read_units: float | None
    write_units: float | None
    settings: Object[str, Any]
    stages: int = 1


@dataclass(frozen=True, slots=True)
class JobFailure(Record):
    """An error, so that another process can raise it: its class in `errors.py`, its sentence and
    its hint."""

    kind: str
    text: str
    hint: str = ""

    @classmethod
    def of_error(cls, error: StreamBackupError) -> Self:
        """Returns the error as a failure."""
        return cls(type(error).__name__, str(error), error.hint)

    def error(self) -> StreamBackupError:
        """Returns the failure as an error of the same class, or of the base class if this release
        does not know it."""
        kind = getattr(errors, self.kind, StreamBackupError)
        known = isinstance(kind, type) and issubclass(kind, StreamBackupError)
        return (kind if known else StreamBackupError)(self.text, self.hint)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a slice: `slice` as it is now, and the `counts` of what is finally done of it.
    `pending` are counts that another worker will report again, because it is not done. `advanced`
    says whether anything was done at all. `failures` are the first things that could not be done.
    `kept` are JSON objects that say what the worker has put into the work bucket for the next
    stage, or for whoever reads the end."""

    slice: Slice
    counts: Object[str, int]
    advanced: bool
    pending: Object[str, int] = field(default_factory=dict)
    failures: tuple[JobFailure, ...] = ()
    kept: Sequence[Object[str, Any]] = ()

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the report from its JSON object."""
        return cls(
            slice_of(record["slice"]),
            record["counts"],
            record["advanced"],
            record["pending"],
            tuple(JobFailure.of(each) for each in record["failures"]),
            tuple(record.get("kept", ())),
        )

    def record(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        return {
            "slice": self.slice.record(),
            "counts": dict(self.counts),
            "advanced": self.advanced,
            "pending": dict(self.pending),
            "failures": [each.record() for each in self.failures],
            "kept": list(self.kept),
        }


@dataclass(frozen=True, slots=True)
class Standing(Record):
    """How a job stands after a round: the `counts` of everything that is done, whether each round
    `advanced`, and how many slices are left. `stage` is the number of the stage that goes on, from
    0, and `kept` is what its reports have kept so far."""

    counts: Object[str, int]
    advanced: list[bool]
    left: int
    stage: int = 0
    kept: Sequence[Object[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class StageStart(Record):
    """How a stage after the first one began: the number of slices in its first round, its
    `settings`, and what the stage before it has `kept`."""

    slices: int
    settings: Object[str, Any]
    kept: Sequence[Object[str, Any]]


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended: `counts`, the slices that are `left`, what the task recorded in `result`,
    the failure of one that is not complete, and what its last stage has `kept`."""

    counts: Object[str, int]
    left: int
    result: Object[str, Any]
    failure: JobFailure | None = None
    kept: Sequence[Object[str, Any]] = ()

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the end from its JSON object."""
        found = record["failure"]
        failure = JobFailure.of(found) if found else None
        kept = tuple(record.get("kept", ()))
        return cls(record["counts"], record["left"], record["result"], failure, kept)

    def record(self) -> dict[str, Any]:
        """Returns the end as a JSON object."""
        failure = self.failure.record() if self.failure else None
        found = {"counts": dict(self.counts), "left": self.left, "result": dict(self.result)}
        return found | {"failure": failure, "kept": list(self.kept)}


def add(counts: Iterable[Object[str, int]]) -> dict[str, int]:
    """Adds up counts by name; of LATEST the greatest counts."""
    whole: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            before = whole.get(name, 0)
            whole[name] = max(before, count) if name in LATEST else before + count
    return whole
