"""What each version of an item says of itself: its stamp, its content, and the key in it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stream_backup.archive.catalog import Catalog
from stream_backup.archive.layout import Archive, Stat
from stream_backup.capture.disorder import doubt
from stream_backup.core.announcement import missing
from stream_backup.core.chain import Link
from stream_backup.core.change import Change
from stream_backup.core.item import digest
from stream_backup.core.key import KeySchema, key_json
from stream_backup.core.stamp import Stamp
from stream_backup.core.time_rule import is_ahead, settled
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError, foreign
from stream_backup.verify.claims import Claims
from stream_backup.verify.faults import Fault, FaultKind, moment

INVALID = (ValueError, KeyError, TypeError, AttributeError)
"""What is raised for an object that is not in format 1."""


@dataclass(slots=True)
class VersionReader:
    """Reads versions of the item under `name` and keeps what is wrong with them in `found`. `key`
    is the item's key as JSON once a version showed it. `schemas` are the key schemas that the table
    had. With `repair`, late versions are announced."""

    archive: Archive
    name: str
    claims: Claims | None
    schemas: tuple[KeySchema, ...]
    repair: bool
    key: str = ""
    found: list[Fault] = field(default_factory=list)
    _stamps: dict[str, Stamp | ArchiveError] = field(default_factory=dict)

    def note(
        self,
        kind: FaultKind,
        text: str,
        at: int | None = None,
        *,
        since: int | None = None,
        known: bool = False,
        repaired: bool = False,
    ) -> None:
        """Keeps a fault, once."""
        fault = Fault(kind, self.name, text, at, known=known, repaired=repaired, since=since)
        if fault not in self.found:
            self.found.append(fault)

    def load(self, version: Version) -> Link | None:
        """Reads a version whole; returns None when that is not possible, or when it has expired
        since it was listed."""
        try:
            payload, metadata = self.archive.store.get(version.path, version.version_id)
            stamp = self._inspect(version, metadata)
        except (ArchiveError, FileNotFoundError):
            return None
        self._check_key(version, stamp, payload, metadata)
        return Link(stamp, None if stamp.removes else digest(payload))

    def stat(self, version: Version) -> Stat:
        """Reads the stamp of a version, once. Raises ArchiveError when it has no valid stamp, and
        FileNotFoundError when it has expired since it was listed."""
        known = self._stamps.get(version.version_id)
        if known is None:
            metadata = self.archive.store.stat(version.path, version.version_id)
            known = self._inspect(version, metadata)
            if known.removes and version.size == 0:
                self._check_key(version, known, b"", metadata)
        if isinstance(known, ArchiveError):
            raise known
        return Stat(known, version)

    def _inspect(self, version: Version, metadata: Mapping[str, str]) -> Stamp:
        """Returns the stamp in the metadata of a version, and notes what is wrong with it."""
        try:
            stamp = Stamp.of(dict(metadata))
        except ValueError as error:
            wrong = foreign(version.path, error)
            self._stamps[version.version_id] = wrong
            self.note("stamp", f"{named(version)} has no valid stamp: {error}.", version.written)
            raise wrong from error
        if version.version_id in self._stamps:
            return stamp
        self._stamps[version.version_id] = stamp
        if is_ahead(version, stamp.at) or settled(version, stamp.seen - 1):
            ahead = max(stamp.at, stamp.seen) - version.written
            self.note(
                "future",
                f"{named(version)} is stamped {ahead:,} seconds after S3 wrote it.",
                stamp.at,
            )
        elif self.claims:
            self._check_lateness(self.claims, version, stamp)
        return stamp

    def _check_lateness(self, claims: Claims, version: Version, stamp: Stamp) -> None:
        found = doubt(claims.status, version, stamp)
        if found == "unannounced":
            text = f"{named(version)} was written by a release that does not announce late changes"
            self.note(found, f"{text}, although its stream was enabled for one that does.")
        elif found == "late":
            late = version.written - stamp.at
            if self.repair:
                Catalog(self.archive).announce(*missing(version, stamp.at))
            self.note(
                found,
                f"{named(version)} was written {late:,} seconds after its change, which its writer"
                " did not announce.",
                stamp.at,
                repaired=self.repair,
            )

    def _check_key(
        self, version: Version, stamp: Stamp, payload: bytes, metadata: Mapping[str, str]
    ) -> None:
        """Checks that the name of the object is the hash of the key that it holds."""
        if stamp.removes:
            try:
                self._check_name(version, stamp, Change.stored(payload, dict(metadata)))
            except INVALID as error:
                text = f"{named(version)} is a removal without a valid key: {error}."
                self.note("tombstone", text, stamp.at)
            return
        try:
            change = Change.stored(payload, dict(metadata))
            json.loads(payload)
        except INVALID as error:
            self.note("stamp", f"{named(version)} holds no item: {error}.", stamp.at)
            return
        keyed = list(self._keyed(payload, metadata))
        matching = (each for each in keyed if each.name == self.name)
        if self.schemas:
            self._check_name(version, stamp, next(matching, keyed[0] if keyed else change))

    def _keyed(self, payload: bytes, metadata: Mapping[str, str]) -> Iterator[Change]:
        for schema in self.schemas:
            try:
                yield Change.stored(payload, dict(metadata), schema)
            except INVALID:
                continue

    def _check_name(self, version: Version, stamp: Stamp, change: Change) -> None:
        if change.key and change.name == self.name:
            self.key = self.key or key_json(change.key)
        elif not self._before_every_stream(stamp):
            held = key_json(change.key) if change.key else "no key of this table"
            self.note(
                "name",
                f"The name of {named(version)} is not the hash of its key: {held}.",
                stamp.at,
            )

    def _before_every_stream(self, stamp: Stamp) -> bool:
        """Whether the version may be of an earlier table, of whose key nothing is known."""
        streams = self.claims.status.streams if self.claims else []
        return bool(streams) and stamp.at < streams[0].floor


def named(version: Version) -> str:
    """Returns how a sentence about a version begins."""
    return f"Version {version.version_id}, written at {moment(version.written)},"
