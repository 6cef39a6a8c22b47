"""What a restore reports at its end: the plan, what was done, and what could not be done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from restore.destination import Outcome
from restore.plan import Tally
from stream_backup.capture.consumers import Consumers
from stream_backup.capture.point import RestorePoint
from stream_backup.cli.console import data, say
from stream_backup.core.moment import iso
from stream_backup.errors import ArchiveError, IncompleteError

KINDS = ("list", "get", "head")
"""The kinds of requests that are reported."""

LISTED = 20
"""How many of the items that could not be restored are named."""


@dataclass(slots=True)
class RequestCount:
    """Counts the requests to an archive while its block runs, by kind: `list`, `get`, `head`.
    Blocks add up."""

    requests: Counter[str]
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    _before: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> None:
        self._before = Counter(self.requests)

    def __exit__(self, *_: object) -> None:
        for kind in KINDS:
            self.found[kind] += self.requests[kind] - self._before[kind]


def facts_of(point: RestorePoint) -> dict[str, Any]:
    """Returns what a report says of a moment, as members of a JSON object."""
    earliest, latest = point.bounds or (None, None)
    found: dict[str, Any] = {
        "table": point.table,
        "moment": iso(point.moment),
        "exact": point.epoch is not None,
    }
    found |= {"earliest": earliest and earliest.text, "latest": latest and latest.text}
    return found | {
        "earliest_why": earliest and earliest.why,
        "latest_why": latest and latest.why,
    }


@dataclass(frozen=True)
class RestoreReport:
    """`facts` are those of the moment (`facts_of`). `requests` has the numbers of requests by kind:
    `list`, `get`, `head`. `outcome` is None for a plan. `consumers` are those of the live table,
    None where it is not touched."""

    facts: Mapping[str, Any]
    tally: Tally
    requests: dict[str, int]
    outcome: Outcome | None
    consumers: Consumers | None

    def show(self, *, as_json: bool) -> None:
        """Prints the report: sentences on stderr, or JSON on stdout."""
        if as_json:
            data(self.record())
            return
        say(self._plan())
        if unknown := self.tally.steps["unknown"]:
            say(f"{unknown:,} rows have no version that old. They are left unchanged.")
        requests = (f"{self.requests[kind]:,} {kind.upper()}" for kind in KINDS)
        say(f"{self.tally.versions:,} versions listed; {', '.join(requests)}.")
        if self.outcome:
            say(str(self.outcome))
        elif not self.consumers:
            say(
                "This plan is for a new table or a file. Add --in-place to see what a rewind of the"
                " live table would change."
            )

    def record(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        tally = self.tally
        steps = {
            kind: tally.steps[kind] for kind in ("put", "delete", "unchanged", "absent", "unknown")
        }
        found = {**self.facts, **steps}
        found |= {"unreadable": len(tally.unreadable), "versions_listed": tally.versions}
        found |= {"requests": self.requests}
        found |= self.consumers.record() if self.consumers else {}
        return found | (self.outcome.record() if self.outcome else {})

    def _plan(self) -> str:
        steps = self.tally.steps
        plan = f"Plan: {self.facts['table']} at {self.facts['moment']}: {steps['put']:,}"
        if self.consumers:
            return (
                f"{plan} to put, {steps['delete']:,} to delete, {steps['unchanged']:,} unchanged, "
                f"{steps['absent']:,} existed neither then nor now."
            )
        return f"{plan} items to put; {steps['absent']:,} other known items did not exist then."


def complain(tally: Tally, outcome: Outcome | None, *, incomplete_ok: bool) -> None:
    """Raises what went wrong, the worst first; returns when nothing did."""
    left = outcome.left if outcome else ()
    for line in left[:LISTED]:
        say(f"  {line}")
    for error in tally.unreadable[:LISTED]:
        say(f"  {error}")
    if tally.unreadable and not incomplete_ok:
        raise ArchiveError(
            f"{len(tally.unreadable)} items have a version in the archive that cannot be read. "
            "They were not restored.",
            "They are listed above. Everything else is as reported.",
        )
    if left:
        raise IncompleteError(
            f"{len(left)} items are not as they were at that moment.",
            "They are listed above with the reason. Run the same command again to resume.",
        )
