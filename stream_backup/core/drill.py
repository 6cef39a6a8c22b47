"""The record of a drill: what was restored, when and by whom, how it was compared, and the result.

Keys of items are named where they differ. Contents of items are never in a record.
"""

from collections.abc import Mapping as Object
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from stream_backup.core.record import Record

DrillResult = Literal["passed", "failed", "interrupted", "refused"]
"""`failed`: something differed, or an error ended the drill. `refused`: the moment is outside
coverage, so nothing was restored. `interrupted`: it was ended before the comparison was complete,
which proves nothing."""


@dataclass(frozen=True, slots=True)
class DrillRecord(Record):
    """One drill of one table. `by` is the ARN of the caller.

    `moment` is what was restored, and `rewound_to` what the copy was rewound to afterwards; both
    are None where the drill did not come so far. `live` says that it was compared with the live
    table too. `scratch` is the name of the scratch table. `rows` counts the rows that were
    restored, `restore_seconds` is how long that took, from the creation of the table on.

    `exact_age` is the age in seconds of the newest exact second when the drill began, None where
    no second was exact. `compared` says in one sentence how both sides were compared, and
    `compared_items` and `compared_versions` how many; `differences` counts items, and `examples`
    are some of their keys. `reason` is one sentence, empty for a drill that passed. `removed` names
    the scratch tables of earlier drills that this one deleted. `versions` are those of the
    software.
    """

    name: str
    table: str
    archive: str
    began: int
    ended: int
    by: str
    result: DrillResult
    reason: str
    seed: int
    part: str
    moment: int | None = None
    rewound_to: int | None = None
    live: bool = False
    scratch: str = ""
    rows: int = 0
    restore_seconds: float = 0.0
    rows_per_second: float = 0.0
    exact_age: int | None = None
    compared: str = ""
    compared_items: int = 0
    compared_versions: int = 0
    differences: int = 0
    examples: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    versions: Object[str, str] | None = None

    TIMES: ClassVar = ("began", "ended", "moment", "rewound_to")

    @classmethod
    def of(cls, record: Object[str, Any]) -> Self:
        """Reads the record from its JSON object."""
        lists = {name: tuple(record.get(name, ())) for name in ("examples", "removed")}
        return super(DrillRecord, cls).of({**record, **lists})

    @property
    def passed(self) -> bool:
        """Whether everything was compared, and nothing differed."""
        return self.result == "passed"
