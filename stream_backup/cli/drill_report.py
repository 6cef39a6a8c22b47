"""What a drill reports."""

from stream_backup.aws.several import Deliver
from stream_backup.cli.console import say
from stream_backup.core.drill import DrillRecord
from stream_backup.core.moment import iso
from stream_backup.errors import ArchiveError, IncompleteError


def report(found: DrillRecord, deliver: Deliver | None) -> None:
    """Prints what a drill found; or gives it to `deliver` as a JSON object."""
    if deliver:
        deliver(found.record())
        return
    if found.moment is not None and found.restore_seconds:
        say(
            f"Restored {found.rows:,} rows of {found.table} as of {iso(found.moment)} in"
            f" {found.restore_seconds:,.1f} s ({found.rows_per_second:,.1f} rows a second)."
        )
    if found.rewound_to is not None:
        say(f"Rewound the copy to {iso(found.rewound_to)}.")
    if found.compared:
        live = " The present was compared with the live table." if found.live else ""
        say(f"{found.compared}{live}")
        say(
            f"Compared {found.compared_items:,} items with {found.compared_versions:,} versions:"
            f" {found.differences:,} differences."
        )
    for example in found.examples:
        say(f"  differs: {example}")
    if found.exact_age is not None:
        say(f"The newest exact second was {found.exact_age:,} s old.")
    say(f"Drill {found.name}: {found.result}.")


def complain(found: DrillRecord) -> None:
    """Raises ArchiveError when a drill failed, and IncompleteError when its time was over."""
    if found.result == "failed":
        at = f" --at {iso(found.moment)}" if found.moment is not None else ""
        raise ArchiveError(
            f"The drill of {found.table} failed: {found.reason}",
            "Do not rely on restores of this table until the cause is known. To make the same"
            f" choices again: stream-backup drill {found.table}{at} --seed {found.seed}; to compare"
            f" the present: stream-backup verify {found.table}",
        )
    if found.result == "interrupted":
        raise IncompleteError(
            f"The drill of {found.table} is not complete: {found.reason}",
            "Run it again, or restore a part: --sample P, or on one machine --rows N.",
        )
