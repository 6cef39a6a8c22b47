"""What `enable` reports."""

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from stream_backup.capture.enabler import Enabled
from stream_backup.cli.console import say
from stream_backup.core.moment import from_iso, iso
from stream_backup.errors import StreamBackupError


@dataclass(slots=True)
class Results:
    """What became of many tables. Thread-safe."""

    enabled: list[Enabled] = field(default_factory=list)
    failed: dict[str, StreamBackupError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def count(self) -> int:
        """How many tables are done with."""
        return len(self.enabled) + len(self.failed) + len(self.skipped)

    def add(self, found: Enabled) -> None:
        """Adds a table that is enabled."""
        with self._lock:
            self.enabled.append(found)

    def fail(self, table: str, error: StreamBackupError) -> None:
        """Adds a table that could not be enabled, and says why."""
        with self._lock:
            self.failed[table] = error
            say(f"{table}: {error}", *([f"  hint: {error.hint}"] if error.hint else ()))

    def skip(self, table: str, reason: str) -> None:
        """Adds a table that is left as it is, and says why."""
        with self._lock:
            self.skipped[table] = reason
            say(f"{table}: skipped, because {reason}.", f"  hint: stream-backup enable {table}")

    def show(self) -> None:
        """Prints how many tables were enabled, and what comes next."""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        say(
            f"{len(self.enabled)} tables enabled{skipped}. Next, for each: stream-backup backfill"
            " TABLE"
        )

    def record(self) -> dict[str, Any]:
        """Returns the results as a JSON object."""
        tables = [each.record() for each in sorted(self.enabled, key=lambda each: each.table)]
        failed = [
            {"table": table, "reason": str(error), "hint": error.hint}
            for table, error in sorted(self.failed.items())
        ]
        skipped = [
            {"table": table, "reason": reason} for table, reason in sorted(self.skipped.items())
        ]
        return {"tables": tables, "failed": failed, "skipped": skipped}


def show_enabled(found: Enabled) -> None:
    """Prints what became of one table, and what comes next."""
    table, mapping = found.table, found.mapping
    state = "is now on" if found.was_off else "was already on"
    say(f"The stream of {table} {state}, since {iso(from_iso(found.stream.label))}.")
    if mapping:
        say(f"Function {mapping.function} reads it (event source mapping {mapping.uuid}).")
        if found.filtered:
            say("The mapping had a filter, which skips changes. It was removed; this is a gap.")
        if not mapping.failures:
            say(
                "The mapping has no failures bucket: changes that the function cannot write within"
                " 24 hours are lost. The function of the stack has one."
            )
    else:
        say(f"Keep this running: stream-backup follow {table}")
    say(f"Next: stream-backup backfill {table}")
