"""`stream-backup status --check`: what needs attention, for a monitoring system."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import ClientError

from stream_backup.archive.location import Location
from stream_backup.aws.connection import Connection
from stream_backup.aws.errors import is_denied
from stream_backup.capture.attention import BEHIND, AttentionFinding, AttentionLimits, attention
from stream_backup.capture.drilled import wanted
from stream_backup.cli.console import data, say, show
from stream_backup.errors import AttentionError, UsageError


@dataclass(frozen=True, slots=True)
class CheckedStatus:
    """What was found of each table, by its name."""

    found: dict[str, tuple[AttentionFinding, ...]]

    @classmethod
    def of(cls, connection: Connection, tables: Sequence[str], limits: AttentionLimits) -> Self:
        """Looks at these tables, one after another. Raises UsageError when there is none: an
        archive that is not there must not look well."""
        if not tables:
            raise UsageError(
                f"There is no table in the archive {connection.location}.",
                "Check --archive, and enable a table first: stream-backup enable TABLE",
            )
        return cls({table: attention(connection, table, limits) for table in tables})

    @property
    def wrong(self) -> list[str]:
        """The tables that need attention."""
        return [table for table, findings in self.found.items() if findings]

    def show(self, *, as_json: bool) -> None:
        """Prints one line for each finding on stdout, or all as one JSON value."""
        if as_json:
            data(self.record())
            return
        for table, findings in self.found.items():
            for each in findings:
                show(f"{table}: {each.kind}: {each.reason}")
                if each.hint:
                    say(f"  hint: {each.hint}")

    def record(self) -> dict[str, Any]:
        """Returns what was found as a JSON object."""
        return {
            "exit_code": AttentionError.exit_code if self.wrong else 0,
            "tables": [
                {"table": table, "findings": [each.record() for each in findings]}
                for table, findings in self.found.items()
            ],
        }

    def complain(self) -> None:
        """Raises AttentionError when a table needs attention, and says so when none does."""
        if self.wrong:
            raise AttentionError(
                f"{len(self.wrong):,} of {len(self.found):,} tables need attention.",
                "The findings are listed above. `stream-backup status TABLE` shows more.",
            )
        say(f"{len(self.found):,} tables were checked. None needs attention.")


def limits_of(
    connection: Connection, behind: int | None, drill_days: int | None
) -> AttentionLimits:
    """Returns the limits: those that were given, and otherwise the default and what the stack of
    this archive says about drills."""
    seconds = BEHIND if behind is None else behind
    if drill_days is not None:
        return AttentionLimits(seconds, drill_days)
    try:
        stack = connection.stack
    except ClientError as error:
        if not is_denied(error):
            raise
        say(
            "No permission to describe the stack, so it is unknown whether drills are scheduled."
            " To check them, pass --drill-days DAYS."
        )
        return AttentionLimits(seconds)
    if stack is None or Location.parse(stack.archive) != connection.location:
        return AttentionLimits(seconds)
    names = wanted(stack.drill_tables) if stack.drill_tables else None
    return AttentionLimits(seconds, stack.drill_days, names)
