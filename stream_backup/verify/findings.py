"""What a verification has found so far."""

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

LISTED = 20
"""How many keys of each kind are named."""

WRONG = ("differs", "missing", "extra", "unreadable")
NAMED = (*WRONG, "late", "busy")
"""`late` is an item whose row may be equal: a version of it is later than its writer announced."""


class Example(NamedTuple):
    """A row that is not equal. `key` is empty where it is unknown: the row is gone, and its version
    cannot be read."""

    kind: str
    key: str
    reason: str


class Found(NamedTuple):
    """Findings as data: exact counts by kind, how many versions were listed, and examples."""

    counts: dict[str, int]
    versions: int
    examples: tuple[Example, ...]

    def record(self) -> dict[str, Any]:
        """Returns the findings as members of a JSON object."""
        examples = [each._asdict() for each in self.examples]
        return {"counts": self.counts, "versions": self.versions, "examples": examples}


@dataclass(slots=True)
class Findings:
    """The counts are exact; `examples` are the first of each kind that were found. Thread-safe."""

    counts: Counter[str] = field(default_factory=Counter)
    versions: int = 0
    examples: list[Example] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def listed(self, versions: int) -> None:
        """Counts versions that were listed."""
        with self._lock:
            self.versions += versions

    def found(self, kind: str, key: str = "", reason: str = "") -> None:
        """Counts a row, and keeps its key if it is one of the first of its kind."""
        with self._lock:
            self.counts[kind] += 1
            if kind in NAMED and self.counts[kind] <= LISTED:
                self.examples.append(Example(kind, key, reason))

    def add(self, found: Found) -> None:
        """Adds what was found in a part."""
        with self._lock:
            self.counts.update(found.counts)
            self.versions += found.versions
            named = Counter(example.kind for example in self.examples)
            for example in found.examples:
                named[example.kind] += 1
                if named[example.kind] <= LISTED:
                    self.examples.append(example)

    @property
    def found_so_far(self) -> Found:
        """The findings as data."""
        with self._lock:
            return Found(dict(self.counts), self.versions, tuple(self.examples))

    @property
    def wrong(self) -> int:
        """The number of rows that differ or cannot be read."""
        return sum(self.counts[kind] for kind in WRONG)
