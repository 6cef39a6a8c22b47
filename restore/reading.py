"""One item's versions as a plan looks at them: each at most once, and a body only where it may be the answer.

What was written after the moment is asked for its stamp alone (a HEAD costs what a GET costs, and moves no body): it is the
answer only where S3's clock and DynamoDB's disagree, or a record came late.
"""

from stream_backup.archive import Archive, Stat
from stream_backup.change import Change
from stream_backup.store import Version
from stream_backup.timeline import SKEW


class Reading:
    """Raises ArchiveError, as the archive does, for what it cannot read."""

    def __init__(self, archive: Archive, moment: int) -> None:
        self._archive = archive
        self._moment = moment
        self._known: dict[str, Change | Stat] = {}

    def look(self, version: Version) -> Change | Stat:
        found = self._known.get(version.version_id)
        if found is None:
            found = self._archive.read(version) if version.written <= self._moment + SKEW else self._archive.stat(version)
            self._known[version.version_id] = found
        return found

    def whole(self, found: Change | Stat | None) -> Change | None:
        """With its body; None for nothing and, where only its stamp was asked for, for a tombstone."""
        if not isinstance(found, Stat):
            return found
        return None if found.stamp.kind == "remove" else self._archive.read(found.version)
