"""What a task gives to a distributed run: the work on one slice, and the end."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stream_backup.core.slice import Slice
from stream_backup.distributed.limits import Limits
from stream_backup.distributed.records import JobFailure, Report


class JobTask(Protocol):
    """A task of one job. Its methods may be called again for what they have done already, in
    another process and at the same time, and then change nothing."""

    def work(self, piece: Slice, limits: Limits) -> Report:
        """Does as much of a slice as the limits allow."""

    def record(self, left: Sequence[Slice]) -> None:
        """Records after a round what is left, where a later run finds it."""

    def finish(
        self, counts: Mapping[str, int], failures: Sequence[JobFailure], *, left: int
    ) -> Mapping[str, Any]:
        """Does the last step and returns the record of the run. `failures` are the things that
        could not be done; `left` is how many slices are not done. Raises StreamBackupError when the
        run is not complete."""
