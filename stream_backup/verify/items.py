"""One item of an archive held against the archive's own rules.

The listing alone answers most of it. A stamp is read where the listing leaves open which version is
the newest, or whether a delete marker hides a row. A deep check reads every version.
"""

from dataclasses import dataclass

from stream_backup.archive.layout import Archive, History, Stat
from stream_backup.archive.store import ConflictError
from stream_backup.capture.disorder import (
    about_same_time,
    marked,
    not_on_top,
    surely_in_order,
    without_markers,
)
from stream_backup.core.chain import Link, Loss, breaks, losses
from stream_backup.core.key import KeySchema
from stream_backup.core.time_rule import Lateness
from stream_backup.core.version import Version
from stream_backup.errors import ArchiveError
from stream_backup.verify.claims import Claims
from stream_backup.verify.faults import Faults, moment
from stream_backup.verify.versions import VersionReader, named

_WIDE = Lateness()


@dataclass(frozen=True, slots=True)
class ItemCheck:
    """Checks items. `claims` is None where the records of the archive cannot be read; `schemas` are
    the key schemas that the table had. With `repair`, the newest version of an item is put on top,
    and late versions are announced."""

    archive: Archive
    claims: Claims | None
    schemas: tuple[KeySchema, ...]
    faults: Faults
    deep: bool = False
    repair: bool = False

    @property
    def wide(self) -> Lateness:
        """How late any version may have been written."""
        return self.claims.status.lateness if self.claims else _WIDE

    def listed(self, history: History) -> bool:
        """Returns whether the listing leaves nothing open about this item."""
        versions = without_markers(history)
        if any("-" in version.etag for version in versions):
            return False
        if self.deep or not versions:
            return not versions
        covered = history.versions[0].marker and versions[0].size
        return not covered and surely_in_order(versions, self.wide)

    def examine(self, history: History) -> str:
        """Reads what the listing leaves open, and counts what is wrong. Returns the item's name."""
        self._item(history).examine()
        return history.name

    def sample(self, version: Version) -> None:
        """Reads one version of an item about which the listing leaves nothing open."""
        name = version.path[len(self.archive.root) :]
        self._item(History(name, (version,))).sample()

    def _item(self, history: History) -> "_Item":
        known = (self.claims, self.schemas, self.repair)
        return _Item(self, history, VersionReader(self.archive, history.name, *known))


@dataclass(slots=True)
class _Item:
    check: ItemCheck
    history: History
    reader: VersionReader

    @property
    def versions(self) -> tuple[Version, ...]:
        return without_markers(self.history)

    def sample(self) -> None:
        self.reader.load(self.versions[0])
        self._tell()

    def examine(self) -> None:
        self._parts()
        if self.check.deep:
            self._chain([*filter(None, map(self.reader.load, self.versions))])
        try:
            if not self._hidden():
                self._order()
        except (ArchiveError, FileNotFoundError):
            pass  # A version that cannot be read is among the faults; one that has expired is none.
        self._tell()

    def _tell(self) -> None:
        kept = [each for each in self.reader.found if self.check.faults.keeps(each.kind)]
        if kept and not self.reader.key:
            self.reader.load(self.versions[0])
        for fault in self.reader.found:
            self.check.faults.add(fault._replace(key=self.reader.key))

    def _parts(self) -> None:
        for version in self.versions:
            if "-" in version.etag:
                text = f"{named(version)} was uploaded in parts, which stream-backup never does."
                self.reader.note("foreign", text, version.written)

    def _hidden(self) -> bool:
        """Notes a delete marker on top of a row. Returns whether there is one."""
        over = [each for each in marked(self.history, self.reader.stat) if each.until is None]
        for since, _ in over:
            repaired = self.check.repair and self._reassert()
            text = "A delete marker is on top of the row, so it does not exist for other readers."
            self.reader.note("hidden", text, since, repaired=repaired)
        return bool(over)

    def _order(self) -> None:
        versions, wide = self.versions, self.check.wide
        if surely_in_order(versions, wide):
            return
        best = not_on_top(self.history, self.reader.stat, wide)
        if best is None:
            return
        on_top = best.version.version_id == versions[0].version_id
        about = on_top or about_same_time((versions[0], best.version))
        repaired = self.check.repair and self._reassert()
        if about and not repaired:
            return  # The listing does not show for certain that another version is on top.
        why = "" if repaired else self._harmless(best)
        text = (
            f"The version on top was written at {moment(versions[0].written)}, but the newest one,"
            f" of {moment(best.stamp.at)}, was written at {moment(best.version.written)}."
        )
        said = f"{text} {why}".rstrip()
        self.reader.note("order", said, best.stamp.at, known=bool(why), repaired=repaired)

    def _harmless(self, best: Stat) -> str:
        """Returns why an older version on top of the newest does no harm, empty where it may."""
        top = self.versions[0]
        if not best.stamp.streamed:
            found = [self.reader.load(each) for each in (top, best.version)]
            if found[0] and found[1] and found[0].content == found[1].content:
                return "Both have the same content."
        return self.check.claims.settles(top, best.stamp) if self.check.claims else ""

    def _reassert(self) -> bool:
        """Puts the newest version on top. Returns whether that was done; it is not where others
        keep writing the item, whose last version is then the newest."""
        try:
            return self.check.archive.reassert(self.history.name, self.check.wide)
        except ConflictError:
            return False

    def _chain(self, links: list[Link]) -> None:
        claims = self.check.claims
        if claims is None:
            return
        lost = {loss for claim in claims.exact for loss in losses(links, claim)}
        for loss in sorted(lost):
            self.reader.note("lost", _lost(loss), loss.until, since=loss.after)
        for loss in sorted({*breaks(links)} - lost):
            if why := claims.reason(loss):
                text = f"{_lost(loss)} {why}"
                self.reader.note("lost", text, loss.until, since=loss.after, known=True)


def _lost(loss: Loss) -> str:
    if loss.after == loss.until:
        return f"A change of the second {moment(loss.until)} was lost."
    return f"A change was lost after {moment(loss.after)} and up to {moment(loss.until)}."
