"""What a check reports."""

from dataclasses import dataclass
from typing import Any

from stream_backup.aws.several import Deliver
from stream_backup.capture.state import State
from stream_backup.cli.console import say
from stream_backup.core.moment import iso
from stream_backup.core.spans import spoken
from stream_backup.errors import ArchiveError
from stream_backup.verify.check import CheckResult, share_of
from stream_backup.verify.claims import Claims
from stream_backup.verify.faults import KINDS, Fault, FaultKind, moment

SHOWN = 20
"""How many findings of each kind are shown; `--json` has more."""

_KINDS: dict[FaultKind, str] = {
    "lost": "lost changes",
    "order": "items with an older version on top",
    "hidden": "rows and records under a delete marker",
    "future": "versions stamped later than they were written",
    "stamp": "versions without a valid stamp or content",
    "name": "versions whose name is not the hash of their key",
    "tombstone": "removals without a key",
    "foreign": "objects that do not belong to the archive",
    "record": "records that cannot be read",
    "late": "versions written late without announcement",
    "unannounced": "versions by a writer that does not announce",
    "retention": "dangers to what is kept",
}

_REPAIRED = ("order", "hidden", "late")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Of a table. `state` is None where the records of the archive cannot be read."""

    table: str
    found: CheckResult
    state: State | None
    deep: bool
    repair: bool

    def show(self, deliver: Deliver | None) -> None:
        """Prints what was found, and which part was checked; or gives it to `deliver` as a JSON
        object."""
        if deliver:
            deliver(self.record())
            return
        for kind in KINDS:
            self._show_kind(kind)
        faults, sent = self.found.faults, self.found.requests
        if self.deep:
            say(self._judged())
        for sentence in self._progress():
            say(sentence)
        said = ", ".join(f"{sent[kind]:,} {kind.upper()}" for kind in ("list", "get", "head"))
        say(f"{faults.items:,} items, {faults.versions:,} versions listed; {said}.")
        known, repaired = faults.known.total(), faults.repaired.total()
        told = [f"{faults.wrong:,} found"]
        told += [f"{repaired:,} repaired"] if repaired else []
        told += [f"{known:,} known"] if known else []
        say(f"{self.table}: {', '.join(told)}.")

    def record(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        faults, claims = self.found.faults, self._claims
        return {
            "table": self.table,
            "deep": self.deep,
            "repair": self.repair,
            "covered": self.found.covered,
            "round": self.found.round.record() if self.found.round else None,
            "items": faults.items,
            "versions_listed": faults.versions,
            "found": dict(faults.counts),
            "repaired": dict(faults.repaired),
            "known": dict(faults.known),
            "findings": [fault.record() for fault in self._ordered],
            "judged": [span.record() for span in claims.spans] if claims and self.deep else [],
            "unseen": list(self.state.unseen) if self.state else [],
            "requests": self.found.requests,
        }

    def complain(self) -> None:
        """Raises ArchiveError when something is wrong that is neither repaired nor known, with what
        to do about it."""
        faults = self.found.faults
        if not faults.wrong:
            return
        kinds = [kind for kind in KINDS if faults.counts[kind]]
        told = ", ".join(f"{faults.counts[kind]:,} {_KINDS[kind]}" for kind in kinds)
        raise ArchiveError(
            f"The archive of {self.table} has {told}.", " ".join(map(self._hint, kinds))
        )

    @property
    def _claims(self) -> Claims | None:
        return Claims(self.state.status, lambda: self.now) if self.state else None

    @property
    def now(self) -> int:
        """When the state was read, in epoch seconds."""
        return self.state.now if self.state else 0

    @property
    def _ordered(self) -> list[Fault]:
        return sorted(self.found.faults.examples, key=lambda each: (KINDS.index(each.kind), each))

    def _show_kind(self, kind: FaultKind) -> None:
        faults = self.found.faults
        every = [each for each in self._ordered if each.kind == kind]
        for each in every[:SHOWN]:
            state = " (repaired)" if each.repaired else " (known)" if each.known else ""
            where = f"{each.key or each.name}: " if each.name else ""
            say(f"  {where}{each.text}{state}")
        total = faults.counts[kind] + faults.known[kind] + faults.repaired[kind]
        if total > SHOWN:
            say(f"  {total - SHOWN:,} more {_KINDS[kind]}; --json lists up to 1,000.")

    def _judged(self) -> str:
        claims = self._claims
        spans = spoken(claims.spans) if claims else ""
        if not spans:
            return "Lost changes cannot be found: the archive is exact at no moment."
        return f"Lost changes were searched for {spans}, where the archive is exact."

    def _progress(self) -> list[str]:
        current = self.found.round
        if current is None:
            return []
        done = share_of(current.next)
        told = f"This check looked at {self.found.covered:.1%} of the items."
        if current.over:
            return [f"{told} The round that began at {iso(current.began)} is complete."]
        began = f"{done:.1%} of the round that began at {iso(current.began)}"
        if not self.found.saved:
            return [f"{told} That is not on record, so the next check looks at the same items."]
        return [f"{told} With it, {began} is done. The next check goes on from here."]

    def _hint(self, kind: FaultKind) -> str:
        table = self.table
        example = next(each for each in self._ordered if each.kind == kind and _counts(each))
        if kind in _REPAIRED and not self.repair:
            return f"To repair this, run: stream-backup check {table} --repair"
        if kind == "lost":
            after, until = _seconds(example)
            return (
                f"To put a lost change on record, run: stream-backup outage {table} --since {after}"
                f" --until {until}; then run a backfill, which begins a new epoch."
            )
        return _HINTS[kind]


_REMOVE = "Somebody who may use s3:DeleteObjectVersion can remove"
_OLD_RELEASE = "Deploy the function of this release."

_HINTS: dict[FaultKind, str] = {
    "order": "Others keep writing these items. Run the same command again later.",
    "hidden": "Others keep writing these items. Run the same command again later.",
    "future": f"Find out who wrote these versions. {_REMOVE} them; until then, restores refuse"
    " moments at which they would count.",
    "stamp": f"Find out who wrote these versions. {_REMOVE} them.",
    "name": f"Find out who wrote these versions. {_REMOVE} them.",
    "tombstone": f"Find out who wrote these versions. {_REMOVE} them.",
    "foreign": "Find out who wrote these objects, and remove them. No command reads them.",
    "record": f"Find out who wrote these records. {_REMOVE} the versions on top, so that the ones"
    " below them count again.",
    "late": "Run the same command again.",
    "unannounced": _OLD_RELEASE,
    "retention": "Correct the lifecycle rules of the bucket, and check that the watcher runs.",
}


def _counts(fault: Fault) -> bool:
    return not fault.known and not fault.repaired


def _seconds(fault: Fault) -> tuple[str, str]:
    """The two seconds between which a change was lost."""
    return moment((fault.since or fault.at or 0) - 1), moment(fault.at or 0)
