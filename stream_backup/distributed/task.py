"""What a task gives to a distributed run: its stages, the work on one slice of each, and the end.

The rounds of a job belong to successive *stages*, each with slices of its own. A backfill and a
restore have one. A task with more is its own first stage, whose slices are given to
`DistributedRun.start`, and returns the others as `later`: once nothing is left of a stage, the last
step of its last round asks the next one for its slices (`begin`), and the state machine goes on as
after any other round. So its definition is the same for every task.

What a stage has found goes to the next one through the work bucket. A worker writes objects whose
names nobody else uses, and says in `Report.kept` what it wrote; only what a report says exists,
because a worker may have been killed, or called twice. The first report of a slice is the one that
counts. The next stage is given the `kept` of all reports of its predecessor (`begin`), and its
workers read the same from the work bucket (`WorkBucket.stage`). The `kept` of the last stage is in
the end of the job (`JobEnd.kept`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stream_backup.core.slice import Slice
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.records import JobFailure, Report


@dataclass(frozen=True, slots=True)
class Begun:
    """How a stage begins: its slices, and what its workers must know besides (`settings`, a JSON
    object)."""

    slices: Sequence[Slice]
    settings: Mapping[str, Any] = field(default_factory=dict)


class JobStage(Protocol):
    """A stage of one job. Its methods may be called again for what they have done already, in
    another process and at the same time, and then change nothing."""

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Does as much of a slice as the limits allow."""

    def record(self, left: Sequence[Slice]) -> None:
        """Records after a round that left something what that is, where a later run finds it."""


class LaterStage(JobStage, Protocol):
    """A stage that begins when nothing is left of the one before it."""

    def begin(self, counts: Mapping[str, int], kept: Sequence[Mapping[str, Any]]) -> Begun:
        """Returns how the stage begins, after the stages before it with these `counts`; `kept` is
        what the last of them has kept. For the same arguments the slices are the same. Of the
        `settings` the first ones count. A stage without slices is passed over."""


class JobTask(JobStage, Protocol):
    """A task of one job, which is its own first stage."""

    @property
    def later(self) -> Sequence[LaterStage]:
        """The stages after the first one."""

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        """Does the last step and returns the record of the run. `failures` are the things that
        could not be done; `left` is how many slices are not done. Raises StreamBackupError when the
        run is not complete."""


def stages_of(task: JobTask) -> list[JobStage]:
    """Returns every stage of a task."""
    return [task, *task.later]
