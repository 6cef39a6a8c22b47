"""What a listing alone shows about a row, and how repeated comparisons of a row are judged. No
request is made here.

The version written last stands for the present state of an item, because a stream is read in order
and `redrive` writes the newest version again on top. Two things break that order. A listing shows
one of them: a part of a stream that was read again, so that a content comes back that was followed
by another. The other is an older life of the table, whose changes arrive late. What was written
soon after the floor may be of either life, so it is read (`may_be_older`).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from stream_backup.archive.layout import History
from stream_backup.core.time_rule import Lateness, latest_stamp
from stream_backup.core.version import Version

Verdict = Literal["equal", "gone", "differs", "missing", "extra", "busy"]
"""`missing` is in the table and not in the archive, `extra` in the archive and not in the table,
`gone` in neither. `busy` was still changing and was not compared."""

_WIDE = Lateness()

PAGE = 1000
"""Versions on one page of a listing."""


class Row(NamedTuple):
    """A scanned row: the name of its object, the MD5 of its content, its key as JSON."""

    name: str
    digest: str
    key: str


class Pair(NamedTuple):
    """One item in table and archive; None where there is no row, or the archive has no version of
    it."""

    name: str
    row: Row | None
    history: History | None


class Suspect(NamedTuple):
    """An item on which table and archive did not agree. `live` is every content that it had in the
    table, in order (None: no row); `newest` is the id of the version written last. Both have been
    unchanged since `since`."""

    name: str
    key: str
    live: tuple[str | None, ...]
    newest: str
    since: float


class Wrong(NamedTuple):
    """A row that the archive has wrong, or that kept changing. `at` is the stamp of its newest
    version in the epoch, None where there is none."""

    kind: str
    name: str
    key: str
    at: int | None


class Patience(NamedTuple):
    """A difference is final when nothing has changed on either side for `grace` seconds; what still
    changes at `until` is busy."""

    grace: float
    until: float


def paired(rows: Iterable[Row], histories: Iterable[History]) -> Iterator[Pair]:
    """Pairs both, which are in order of name; yields each name once."""
    left, right = iter(rows), iter(histories)
    row, history = next(left, None), next(right, None)
    while row or history:
        name = min(each.name for each in (row, history) if each)
        here = row if row and row.name == name else None
        there = history if history and history.name == name else None
        yield Pair(name, here, there)
        row, history = next(left, None) if here else row, next(right, None) if there else history


def listed_equal(pair: Pair, floor: int, lateness: Lateness = _WIDE) -> bool:
    """Whether the listing alone shows that both sides agree; where it does not, versions must be
    read. `lateness` is that of `item_at`."""
    if pair.history is None:
        return False
    versions = pair.history.versions
    live = pair.row.digest if pair.row else ""
    if latest_stamp(versions[0]) < floor:
        return not live  # all of it belongs to an older life
    return live == _content(versions[0]) and not _came_back(versions, lateness)


def may_be_older(pair: Pair, floor: int, older: Lateness | None) -> bool:
    """Whether the version written last may be of an older life, so that it says nothing about the
    present. `older` is how late changes of older lives may have been written, None when there are
    none. A row that exists in neither is the same in both lives."""
    if older is None or pair.history is None:
        return False
    versions = pair.history.versions
    exists = pair.row is not None or any(_content(version) for version in versions)
    return exists and older.earliest(versions[0]) < floor <= latest_stamp(versions[0])


def surely_equal(pair: Pair, floor: int, lateness: Lateness = _WIDE) -> bool:
    """Whether the listing proves that both sides agree, in whatever order the versions were
    written. It leaves more to be read than `listed_equal`."""
    if pair.history is None:
        return False
    newest, *older = pair.history.versions
    live = pair.row.digest if pair.row else ""
    if latest_stamp(newest) < floor:
        return not live
    first = lateness.surely_earliest(newest)
    last = not older or latest_stamp(older[0]) < first
    return live == _content(newest) and last and floor <= lateness.earliest(newest)


def weigh(
    suspect: Suspect,
    live: str | None,
    archived: str | None,
    newest: str,
    now: float,
    patience: Patience,
) -> Verdict | Suspect:
    """Returns the verdict of another comparison, or the suspect as it is now while there is none.

    The archive follows the table, so it is right when it has what the row was in this comparison or
    any before it.
    """
    if archived in (*suspect.live, live):
        return "gone" if archived is None else "equal"
    moved = live != suspect.live[-1] or newest != suspect.newest
    since = now if moved else suspect.since
    if not moved and now - since >= patience.grace:
        return "differs" if live and archived else "missing" if live else "extra"
    if now >= patience.until:
        return "busy"
    seen = suspect.live if live == suspect.live[-1] else (*suspect.live, live)
    return Suspect(suspect.name, suspect.key, seen, newest, since)


def depth(items: int) -> int:
    """Returns how many digits of a name select about one page of a listing, where so many items and
    versions are spread evenly."""
    return next(digits for digits in range(1, 33) if items <= PAGE * 16**digits)


def _content(version: Version) -> str:
    """Returns what a listing shows of a version's content: its ETag, and nothing for a
    tombstone."""
    return version.etag if version.size else ""


def _came_back(versions: Sequence[Version], lateness: Lateness) -> bool:
    """Whether the version written last may be an older one written again, while another between
    them counts."""
    newest = versions[0]
    others = (
        index for index, version in enumerate(versions) if _content(version) != _content(newest)
    )
    between = next(others, len(versions))
    older = versions[between:]
    counts = bool(older) and latest_stamp(older[0]) >= lateness.surely_earliest(newest)
    return counts and any(_content(version) == _content(newest) for version in older)
