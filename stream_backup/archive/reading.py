"""One item's versions as a plan reads them: each at most once, and a body only where it may be the
answer.

A payload is decoded only if the version counts: one stamped before the floor may be of an earlier
table with another key. Of a version written after the moment only the stamp is read (a HEAD costs
what a GET costs, and transfers no body): it is the answer only where the clocks of S3 and DynamoDB
disagree, or where a record came late.
"""

from stream_backup.archive.layout import Archive, Loaded, Stat
from stream_backup.core.change import Change
from stream_backup.core.time_rule import written_by
from stream_backup.core.version import Version


class Reading:
    """Raises ArchiveError, as the archive does, for a version that it cannot read."""

    def __init__(self, archive: Archive, moment: int) -> None:
        self._archive = archive
        self._moment = moment
        self._known: dict[str, Loaded | Stat] = {}

    def at(self, moment: int) -> "Reading":
        """Returns a reading for another moment, which reads no version again."""
        other = Reading(self._archive, moment)
        other._known = self._known
        return other

    def look(self, version: Version) -> Loaded | Stat:
        """Returns the version with its payload, or only its stamp when it was written after the
        moment."""
        found = self._known.get(version.version_id)
        if found is None:
            early = written_by(version, self._moment)
            found = self._archive.load(version) if early else self._archive.stat(version)
            self._known[version.version_id] = found
        return found

    def whole(self, found: Loaded | Stat | None) -> Change | None:
        """Returns what was found with its body; None for nothing and, where only its stamp was
        read, for a tombstone."""
        if isinstance(found, Loaded):
            return self._archive.decode(found)
        if found is None:
            return None
        return None if found.stamp.removes else self._archive.read(found.version)
