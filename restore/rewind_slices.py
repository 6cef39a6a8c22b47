"""Rewinds a copy of a table slice by slice: what one worker does, in any process.

Nobody else writes a copy, so nothing is confirmed, no receipt is written, and the plan of a slice
is carried out a chunk at a time. A slice may be done twice, also by two workers at the same time: a
row that already matches is not written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Self

from restore.plan import Counted, Rewind, Step, Tally, step_chunks
from restore.rewind import Rewound, rewind
from stream_backup.archive.layout import Archive
from stream_backup.archive.pool import RequestPool
from stream_backup.archive.selection import Selection
from stream_backup.archive.slices import never, run_slices
from stream_backup.aws.dynamodb import DynamoDB
from stream_backup.core.lateness_record import lateness_of, lateness_record
from stream_backup.core.slice import NameSlice
from stream_backup.core.time_rule import Lateness


@dataclass(frozen=True, slots=True)
class RewindOrder:
    """Table `copy` has the rows of the moment `present`, and is changed to what they were at
    `moment`, by the rule of time that `floor` and `lateness` complete (`Rewind`). Both moments are
    exact, and of one epoch. Every worker must be given the same order."""

    copy: str
    present: int
    moment: int
    floor: int
    lateness: Lateness

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Reads an order from its JSON object. Raises KeyError, TypeError or ValueError when the
        object is none."""
        return cls(
            str(record["copy"]),
            int(record["present"]),
            int(record["moment"]),
            int(record["floor"]),
            lateness_of(record["lateness"]),
        )

    def record(self) -> dict[str, Any]:
        """Returns the order as a JSON object."""
        return {
            "copy": self.copy,
            "present": self.present,
            "moment": self.moment,
            "floor": self.floor,
            "lateness": lateness_record(self.lateness),
        }

    def plan(self, archive: Archive) -> Rewind:
        """Returns the plan, which reads this archive."""
        floors = self.floor, self.floor
        return Rewind(archive, self.moment, *floors, self.lateness, present=self.present)


@dataclass(frozen=True, slots=True)
class SliceRewound:
    """What was done of one slice: the `slice` as it is to be continued, how many rows were `done`,
    how many `already` matched, what the plan counted, and a line for each row that was `left`, with
    its key and the reason. The counts are those of this call."""

    slice: NameSlice
    done: int
    already: int
    counted: Counted
    left: tuple[str, ...] = ()

    @property
    def versions(self) -> int:
        """How many versions were listed."""
        return self.counted.versions

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many rows were rewound, already matched, and were left, how many items could
        not be read, and how many versions were listed."""
        return {
            "rewound": self.done,
            "matched": self.already,
            "left": len(self.left),
            "unreadable": len(self.counted.unreadable),
            "versions": self.counted.versions,
        }


def rewind_slices(
    order: RewindOrder,
    parts: Sequence[NameSlice],
    dynamodb: DynamoDB,
    archive: Archive,
    stop: Event,
    over: Callable[[], bool] = never,
    at_once: int | None = None,
) -> list[SliceRewound]:
    """Does as much of these slices as there is time for, all at once: of each at least one chunk.
    With `at_once`, so many are done at once, and one that was not begun when the time is over is
    left as it is. An item that cannot be read is counted, and its row is left as it is. Raises
    UnavailableError when AWS is out of reach for too long."""
    chosen, plan, most = Selection(archive), order.plan(archive), at_once or len(parts)
    with RequestPool() as pool:

        def one(number: str) -> SliceRewound:
            part, tally, whole = parts[int(number)], Tally(), Rewound()
            if int(number) >= most and (stop.is_set() or over()):
                return SliceRewound(part, 0, 0, tally.counted())
            reached = part.finished()
            for chunk in step_chunks(plan, chosen.within(part), pool, tally):
                if stop.is_set():
                    reached = part
                    break
                steps = (step for step in chunk if isinstance(step, Step))
                whole.add(rewind(dynamodb, archive, steps, pool, table=order.copy))
                part = part.reached(chunk[-1].name)
                if over():
                    reached = part
                    break
            left = tuple(f"{key}: {reason}" for key, reason in whole.left)
            return SliceRewound(reached, whole.done, whole.already, tally.counted(), left)

        return run_slices(one, [str(number) for number in range(len(parts))], stop, at_once)
