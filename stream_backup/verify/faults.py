"""What a check has found so far."""

import json
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, NamedTuple, get_args

from stream_backup.core.moment import iso

FaultKind = Literal[
    "lost",
    "order",
    "hidden",
    "future",
    "stamp",
    "name",
    "tombstone",
    "foreign",
    "record",
    "late",
    "unannounced",
    "retention",
]
"""`lost` is a change that the archive lacks. `order`: an older version is on top. `hidden`: a
delete marker is on top of a row or a record. `future`: stamped later than written. `stamp`: no
valid stamp or content. `name`: not the hash of the key. `tombstone`: a removal without a key.
`foreign`: not an object of stream-backup. `record`: an unreadable record. `late` and
`unannounced`: contradicts what its writer announced. `retention`: lifecycle rules that endanger
what is claimed."""

KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

LISTED = 1000
"""How many faults of each kind are kept."""

YEAR_9999 = 253_402_300_799


class Fault(NamedTuple):
    """Something that is wrong. `name` is that of the object after the table's, `key` its key as
    JSON where it is known; `at` the epoch second that it is about, None for none; `text` is one
    sentence. A change was lost after the second `since` and up to `at`. A fault that is `known` has
    a recorded reason, or ends without action; one that is `repaired` was put right."""

    kind: FaultKind
    name: str
    text: str
    at: int | None = None
    key: str = ""
    known: bool = False
    repaired: bool = False
    since: int | None = None

    def record(self) -> dict[str, Any]:
        """Returns the fault as a JSON object."""
        times = {
            name: None if second is None else moment(second)
            for name, second in (("at", self.at), ("since", self.since))
        }
        return self._asdict() | times | {"key": json.loads(self.key) if self.key else None}


def moment(second: int) -> str:
    """Returns a second that an archive holds in ISO-8601, or its number where it is no date."""
    return iso(second) if 0 <= second <= YEAR_9999 else f"second {second}"


@dataclass(slots=True)
class Faults:
    """The counts are exact; `examples` are the first of each kind that were found. `known` and
    `repaired` faults are counted apart. Thread-safe."""

    counts: Counter[FaultKind] = field(default_factory=Counter)
    known: Counter[FaultKind] = field(default_factory=Counter)
    repaired: Counter[FaultKind] = field(default_factory=Counter)
    examples: list[Fault] = field(default_factory=list)
    items: int = 0
    versions: int = 0
    _lock: Lock = field(default_factory=Lock)

    def listed(self, versions: int) -> None:
        """Counts an item with so many versions."""
        with self._lock:
            self.items += 1
            self.versions += versions

    def add(self, fault: Fault) -> None:
        """Counts a fault, and keeps it if it is one of the first of its kind."""
        with self._lock:
            which = self.repaired if fault.repaired else self.known if fault.known else self.counts
            which[fault.kind] += 1
            if which[fault.kind] <= LISTED:
                self.examples.append(fault)

    def keeps(self, kind: FaultKind) -> bool:
        """Returns whether more faults of this kind are kept, so that their keys are of use."""
        return max(each[kind] for each in (self.counts, self.known, self.repaired)) < LISTED

    @property
    def wrong(self) -> int:
        """The number of faults that are neither known nor repaired."""
        return self.counts.total()
