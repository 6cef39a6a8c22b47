"""What the records of drills show over a period, as evidence for an auditor."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stream_backup.core.drill import DrillRecord
from stream_backup.core.moment import iso


@dataclass(frozen=True, slots=True)
class Pause:
    """A time without a drill that passed, from `since` to `until`, in epoch seconds."""

    since: int
    until: int

    @property
    def seconds(self) -> int:
        """Its length."""
        return self.until - self.since

    def record(self) -> dict[str, Any]:
        """Returns the pause as a JSON object."""
        return {"from": iso(self.since), "to": iso(self.until), "seconds": self.seconds}


@dataclass(frozen=True, slots=True)
class DrillEvidence:
    """The drills of `table` that ended in a period, in order of time. `since` is None where the
    period begins with the first drill."""

    table: str
    archive: str
    drills: tuple[DrillRecord, ...]
    since: int | None
    until: int

    @property
    def counts(self) -> dict[str, int]:
        """How many drills had each result."""
        found = Counter(each.result for each in self.drills)
        return {name: found[name] for name in ("passed", "failed", "interrupted", "refused")}

    @property
    def passed(self) -> tuple[DrillRecord, ...]:
        """The drills that passed."""
        return tuple(each for each in self.drills if each.passed)

    @property
    def longest(self) -> Pause | None:
        """The longest time without a drill that passed: between two of them, before the first, or
        after the last. None where the period has no beginning and no drill passed."""
        ends = [each.ended for each in self.passed]
        begin = [self.since] if self.since is not None else []
        edges = [*begin, *ends, self.until]
        found = [Pause(*pair) for pair in pairwise(edges)]
        return max(found, key=lambda each: each.seconds) if found and (begin or ends) else None

    def record(self) -> dict[str, Any]:
        """Returns the evidence as a JSON object. Contents of items are not part of it."""
        longest, passed = self.longest, self.passed
        return {
            "table": self.table,
            "archive": self.archive,
            "from": None if self.since is None else iso(self.since),
            "to": iso(self.until),
            "summary": {
                "drills": len(self.drills),
                **self.counts,
                "rows_restored": sum(each.rows for each in passed),
                "longest_without_a_passed_drill": longest.record() if longest else None,
                "longest_restore_seconds": _most(each.restore_seconds for each in passed),
                "slowest_rows_per_second": _least(each.rows_per_second for each in passed),
                "oldest_exact_age_seconds": _most(each.exact_age for each in self.drills),
            },
            "drills": [each.record() for each in self.drills],
        }


def evidence(
    table: str,
    archive: str,
    drills: Sequence[DrillRecord],
    now: int,
    since: int | None = None,
    until: int | None = None,
) -> DrillEvidence:
    """Returns the evidence of the drills that ended from `since` to `until`, in epoch seconds;
    without them, of all until `now`."""
    last = now if until is None else min(until, now)
    chosen = [
        each for each in drills if each.ended <= last and (since is None or each.ended >= since)
    ]
    return DrillEvidence(table, archive, tuple(chosen), since, last)


def _most(values: Any) -> Any:
    return max((each for each in values if each is not None), default=None)


def _least(values: Any) -> Any:
    return min((each for each in values if each is not None), default=None)
