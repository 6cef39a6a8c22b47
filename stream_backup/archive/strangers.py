"""Objects of somebody else under the prefix of an archive."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

from stream_backup.archive.layout import Archive, History

_HEX = frozenset("0123456789abcdef")

_BETWEEN = ("", "9~", "f~", "meta/~")
"""The names after which other objects may follow those of a slice, or the records."""


def strangers(archive: Archive) -> Iterator[History]:
    """Yields the objects under the prefix that are neither records nor begin with a hex digit, with
    their delete markers. It takes four LISTs more than there are pages of such objects."""
    for after in _BETWEEN:
        start = archive.root + after if after else ""
        versions = archive.store.versions(archive.root, after=start, markers=True)
        for path, group in groupby(versions, attrgetter("path")):
            name = path[len(archive.root) :]
            if name[:1] in _HEX and name[:1] > after[:1]:
                break
            if name.startswith("meta/"):
                if after[:1] != "m":
                    break
            elif name[:1] not in _HEX:
                yield History(name, tuple(group))
