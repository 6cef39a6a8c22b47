"""What `diff` reports: shapes, or each item, and a summary."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stream_backup.capture.point import RestorePoint
from stream_backup.cli.console import say, show
from stream_backup.core.difference import Difference, plain
from stream_backup.core.item import Item, Value, decode
from stream_backup.core.moment import iso
from stream_backup.core.plain import plain_item, plain_text
from stream_backup.errors import ArchiveError
from stream_backup.inspect.shapes import Fate, Shape, fate_of
from stream_backup.inspect.where import Where
from stream_backup.inspect.window import Changed, Examined

LISTED = 20
"""How many shapes of modified items are shown, and how many errors."""

ATTRIBUTES = 6
"""How many attributes of a shape are shown."""

LONGEST = 80
"""Characters of a value that are shown; `--json` shows all of it."""

WIDEST = 60
"""Characters up to which shapes are aligned."""

FATES: dict[Fate, str] = {
    "modify": "modified",
    "insert": "inserted",
    "remove": "removed",
    "expire": "expired",
}
"""What became of items, in words."""


class DiffReport:
    """Counts the items of a window, and reports them. `requests` are counted from now on. `shapes`
    are those that were shown, `lines` is what was shown."""

    def __init__(
        self, first: RestorePoint, last: RestorePoint, where: Where | None, requests: Counter[str]
    ) -> None:
        self._first, self._last = first, last
        self._where = where
        self._requests, self._before = requests, dict(requests)
        self._counts: Counter[str] = Counter()
        self.shapes: Sequence[Shape] = ()
        self.lines: list[str] = []

    def counts(self, changed: Changed) -> bool:
        """Counts an item that changed, and returns whether it is to be shown."""
        if not changed.differs:
            self._counts["same"] += 1
            return False
        self._counts["differ"] += 1
        if self._where and not self._where.matches(changed):
            return False
        self._counts["match"] += 1
        return True

    def show(self, shapes: Sequence[Shape]) -> None:
        """Prints shapes, one a line, on stdout."""
        self.shapes, self.lines = shapes, [*self._lines(shapes)]
        show(*self.lines)

    def _lines(self, shapes: Sequence[Shape]) -> Iterator[str]:
        modified = [shape for shape in shapes if shape.fate == "modify"]
        left = modified[LISTED:]
        texts = [shape_text(shape) for shape in modified[:LISTED]]
        others = [shape for shape in shapes if shape.fate != "modify"]
        width = min(max(map(len, texts + ["inserted"] * bool(others)), default=0), WIDEST)
        for shape, text in zip(modified, texts, strict=False):
            yield self._line(shape, text, width)
        if left:
            items = sum(shape.items for shape in left)
            yield f"… and {_counted(len(left), 'more shape')} ({_counted(items, 'item')})."
        for shape in others:
            yield self._line(shape, FATES[shape.fate], width)

    def _line(self, shape: Shape, text: str, width: int) -> str:
        first, last = self._time(shape.first), self._time(shape.last)
        items = _counted(shape.items, "item")
        return (
            f"{text:{width}}   {items}   first {first}   last {last}   e.g. {key_text(shape.key)}"
        )

    def _time(self, moment: int) -> str:
        """The time of day where the whole window is on one day."""
        text, days = iso(moment), {iso(each)[:10] for each in self._span}
        return text[11:19] if len(days) == 1 else text

    @property
    def _span(self) -> tuple[int, int]:
        return self._first.moment, self._last.moment

    def summarize(self, examined: Examined) -> None:
        """Prints counts on stderr."""
        since, until = map(iso, self._span)
        counts = self._counts
        verb = "differs" if counts["differ"] == 1 else "differ"
        text = f"{self._first.table} from {since} to {until}: "
        text += f"{_counted(counts['differ'], 'item')} {verb}"
        if self._where:
            text += f", {counts['match']:,} of them match --where"
        if counts["same"]:
            text += f"; {counts['same']:,} changed and ended as they began"
        say(f"{text}.")
        spent = (
            f"{self._requests[kind] - self._before.get(kind, 0):,} {kind.upper()}"
            for kind in ("list", "get", "head")
        )
        say(f"{examined.versions:,} versions listed; {', '.join(spent)}.")
        if self._where and self._where.hint and counts["differ"] and not counts["match"]:
            say(f"hint: {self._where.hint}")

    def complain(self, examined: Examined, *, incomplete_ok: bool) -> None:
        """Raises ArchiveError when items could not be read, unless that is accepted."""
        for error in examined.unreadable[:LISTED]:
            say(f"  {error}")
        if examined.unreadable and not incomplete_ok:
            raise ArchiveError(
                f"{_counted(len(examined.unreadable), 'item')} could not be read, and may differ"
                " too.",
                "They are listed above. Everything else is as reported.",
            )


def shape_text(shape: Shape) -> str:
    """Returns the attributes of a shape with their old and new values."""
    texts = [f"{path}: {_cut(old)} → {_cut(new)}" for path, old, new in shape.changes]
    left = texts[ATTRIBUTES:]
    more = [f"and {_counted(len(left), 'more attribute')}"] if left else []
    return ", ".join([*texts[:ATTRIBUTES], *more])


def item_lines(changed: Changed, found: Iterable[Difference]) -> Iterator[str]:
    """Yields what happened to one item: its key, and a line for each attribute that differs."""
    first, last = iso(changed.first), iso(changed.last)
    when = first if first == last else f"{first} to {last}"
    kinds = ", ".join(changed.kinds)
    by = f" by {', '.join(changed.by)}" if changed.by else ""
    yield f"{key_text(changed.key)}  {FATES[fate_of(changed)]}  {when}  ({kinds}{by})"
    for path, old, new in found:
        if path not in changed.key:
            yield f"    {path}: {short(old)} → {short(new)}"


def item_record(changed: Changed) -> dict[str, Any]:
    """Returns what happened to one item as a JSON object, with DynamoDB JSON for its key and its
    two states."""
    before, after = (
        None if body is None else decode(body) for body in (changed.before, changed.after)
    )
    return {
        "key": changed.key,
        "before": before,
        "after": after,
        "first": iso(changed.first),
        "last": iso(changed.last),
        "kinds": list(changed.kinds),
        "by": list(changed.by),
    }


def key_text(key: Item) -> str:
    """Returns a key as it can be typed."""
    return plain_text(plain_item(key))


def short(value: Value | None) -> str:
    """Returns a value as text, cut when it is long."""
    return _cut(plain(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
