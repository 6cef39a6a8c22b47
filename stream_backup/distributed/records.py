"""What the parts of a distributed run tell each other, as JSON in the work bucket: the job, what
became of a slice, and how the job stands and ends."""

from collections.abc import Iterable
from collections.abc import Mapping as Object
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from stream_backup import errors
from stream_backup.core.record import Record
from stream_backup.core.slice import Slice, slice_of
from stream_backup.errors import StreamBackupError

TaskName = Literal["backfill", "restore", "verify", "drill"]

LATEST = frozenset({"seen"})
"""Counts that are not added up: of these the greatest counts."""

KEPT_FAILURES = 20
"""How many failures are kept of a job."""


@dataclass(frozen=True, slots=True)
class DistributedJob(Record):
    """A distributed run of one table: `slices` at its start, at most `at_once` of them worked on at
    once. `read_units` and `write_units` are the capacity units a second that all workers together
    may use, None for no limit. `settings` are those of the task."""

    name: str
    task: TaskName
    table: str
    slices: int
    at_once: int
    read_units: float | None
    write_units: float | None
    settings: Object[str, Any]


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
    says whether anything was done at all. `failures` are the first things that could not be
    done."""

    slice: Slice
    counts: Object[str, int]
    advanced: bool
    pending: Object[str, int] = field(default_factory=dict)
    failures: tuple[JobFailure, ...] = ()

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the report from its JSON object."""
        return cls(
            slice_of(record["slice"]),
            record["counts"],
            record["advanced"],
            record["pending"],
            tuple(JobFailure.of(each) for each in record["failures"]),
        )

    def record(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        return {
            "slice": self.slice.record(),
            "counts": dict(self.counts),
            "advanced": self.advanced,
            "pending": dict(self.pending),
            "failures": [each.record() for each in self.failures],
        }


@dataclass(frozen=True, slots=True)
class Standing(Record):
    """How a job stands after a round: the `counts` of everything that is done, whether each round
    `advanced`, and how many slices are left."""

    counts: Object[str, int]
    advanced: list[bool]
    left: int


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended: `counts`, the slices that are `left`, what the task recorded in `result`,
    and the failure of one that is not complete."""

    counts: Object[str, int]
    left: int
    result: Object[str, Any]
    failure: JobFailure | None = None

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the end from its JSON object."""
        found = record["failure"]
        failure = JobFailure.of(found) if found else None
        return cls(record["counts"], record["left"], record["result"], failure)

    def record(self) -> dict[str, Any]:
        """Returns the end as a JSON object."""
        failure = self.failure.record() if self.failure else None
        kept = {"counts": dict(self.counts), "left": self.left, "result": dict(self.result)}
        return kept | {"failure": failure}


def add(counts: Iterable[Object[str, int]]) -> dict[str, int]:
    """Adds up counts by name; of LATEST the greatest counts."""
    whole: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            before = whole.get(name, 0)
            whole[name] = max(before, count) if name in LATEST else before + count
    return whole
