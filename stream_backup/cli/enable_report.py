"""What `enable` reports."""

from stream_backup.aws.several import TableOutcomes
from stream_backup.capture.enabler import Enabled
from stream_backup.cli.console import say
from stream_backup.cli.several import summary
from stream_backup.core.moment import from_iso, iso


def show_all_enabled(found: TableOutcomes) -> None:
    """Prints what became of several tables, and what comes next."""
    for each in found.named("skipped"):
        say(f"To enable it all the same: stream-backup enable {each.table}")
    summary(found)
    done, skipped = len(found.named("done")), len(found.named("skipped"))
    left = f", {skipped:,} skipped" if skipped else ""
    say(f"{done:,} tables enabled{left}. Next: stream-backup backfill --match PATTERN")


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
